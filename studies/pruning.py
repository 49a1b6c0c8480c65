"""Channel pruning at equal fine-tuning: ours beside the peers, every engine in one interleaved session.

    python -m studies.pruning ours R.toml OUT --set prune.scope=measured --set prune.latency=0.5
    python -m studies.pruning free R.toml OUT --set prune.scope=measured --set prune.macs=0.5
    python -m studies.pruning peer torch-pruning R.toml OUT --share 0.5 --multiple 8
    python -m studies.pruning peer fastnas R.toml OUT --share 0.5 --multiple 8
    python -m studies.pruning peer nothing R.toml OUT
    python -m studies.pruning table R.toml OUT/*.onnx

Every one takes ``--set KEY=VALUE``, such as another seed. Each gets the recipe's network (trained once, where the
recipe trains it), data, fine-tuning and teacher, and leaves an ONNX file with its figures beside; ``nothing`` is the
dense network, trained as long as the others; ``free`` is cut without an image and not trained. What ours removes it
measures on the machine as it is then: with ``--set finetune.epochs=0`` first, while that is quiet.
torch-pruning and nvidia-modelopt are not dependencies of jetpress.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import onnx
import torch

import jetpress
from jetpress.benchmarks.ratio import compare
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.device.probe import identity, probe
from jetpress.deploy.targets import find
from jetpress.pipeline.data.digests import source_config
from jetpress.pipeline.data.loading import batches, load
from jetpress.pipeline.engine import trials
from jetpress.pipeline.engine.contents import write_samples
from jetpress.pipeline.flow.devices import bench_for_pruning
from jetpress.pipeline.flow.rounds import prune_in_rounds
from jetpress.pipeline.graph import exporting
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.configs import Bench, BundleConfig, Place
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.stages.finetune import recalibrate
from jetpress.pipeline.stages.source import source
from jetpress.pipeline.stages.train import train
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import Store
from jetpress.pipeline.training.distill import taught_by
from jetpress.pipeline.training.evaluate import evaluate
from jetpress.pipeline.training.fit import fit
from studies.peers import pruning as peers


def dense_of(plan: Plan, walk: Doing) -> Checkpoint:
    """The dense network of a recipe, trained where that says so."""
    dense = walk.step("source", source, source_config(plan.recipe))
    return walk.step("train", train, plan.recipe.train, dense) if plan.recipe.train.epochs else dense


def ours(plan: Plan, out: Path) -> None:
    """Prune and fine-tune as a run does, and write ``OUT/jetpress-<goal>.onnx`` and ``.json``."""
    walk = Doing(Store(out / ".store"))
    recipe, dense = plan.recipe, dense_of(plan, walk)
    packing = BundleConfig(recipe.name, plan.target, recipe.build, recipe.benchmark, recipe.seed)
    bench = bench_for_pruning(plan, here(), packing)
    best, _ = prune_in_rounds(plan, dense, bench, walk)
    network = models.load(best)
    name = named(as_table(recipe.prune), taught=recipe.finetune.distill > 0)
    found = best.facts
    facts = {
        "name": name,
        "macs": found.macs / dense.facts.macs,
        "time": as_table(found.pruning.time) if found.pruning else None,
        "blocks": found.pruning.blocks if found.pruning else (),
        "curve": [asdict(entry) for entry in found.training.curve] if found.training else [],
        "after_recalibration": found.recovery.after_recalibration if found.recovery else None,
    }
    written(network, {**facts, "epochs": recipe.finetune.epochs}, recipe.export, out)


def free(plan: Plan, out: Path) -> None:
    """Prune without an image, train nothing, and write ``OUT/jetpress-<goal>-no-images.onnx`` and ``.json``."""
    dense, config = dense_of(plan, Doing(Store(out / ".store"))), plan.recipe.prune
    network = models.load(dense)
    keys = ("ratio", "macs", "params", "scope", "criterion", "channel_multiple")
    how: dict[str, Any] = {key: getattr(config, key) for key in keys}
    slim = jetpress.prune(network.module, models.example_inputs(network.model.inputs), **how)
    name = f"{named(as_table(config), taught=False)}, no images"
    share = slim.size.macs / slim.dense.macs
    found = replace(network, module=slim.module)
    written(found, {"name": name, "macs": share, "epochs": 0}, plan.recipe.export, out)


def here() -> Place:
    """This machine."""
    device = open_device(None)
    return Place(device.name, identity(probe(device)))


def written(network: Network, facts: dict[str, Any], config: ExportConfig, out: Path) -> None:
    """The network as ONNX, and its figures, with the accuracy on the test split."""
    test = evaluate(network, load(network.data, network.seed, network.task).test, "test")
    proto = exporting.to_onnx(network.module, network.model.inputs, (), config)
    out.mkdir(parents=True, exist_ok=True)
    place = out / re.sub(r"[^a-z0-9.]+", "-", facts["name"].lower())
    Path(f"{place}.onnx").write_bytes(proto.SerializeToString())
    Path(f"{place}.json").write_text(json.dumps({**facts, "test": test}))
    print(json.dumps({**facts, "test": test}), flush=True)


def peer(tool: str, plan: Plan, out: Path, share: float, multiple: int, ignore: list[str]) -> None:
    """Prune with a peer, fine-tune as the recipe says, and write ``OUT/<tool>-<share>.onnx`` and ``.json``."""
    dense = dense_of(plan, Doing(Store(out / ".store")))
    network, teacher = models.load(dense), taught_by(dense, plan.finetune.distillation)
    inputs = models.example_inputs(network.model.inputs)
    data = load(network.data, network.seed, network.task)
    before, started = peers.macs(network.module, inputs), time.monotonic()
    if tool == "torch-pruning":
        network.module = peers.torch_pruning(network.module, inputs, share, multiple, ignore)
    elif tool == "fastnas":
        judged = data.validation.subset(torch.arange(0, len(data.validation), 3))

        def score(module: Any) -> float:
            return evaluate(replace(network, module=module), judged, "score")

        some = [batch for _, batch in zip(range(peers.BATCHES), batches(data.train, 0), strict=False)]
        out.mkdir(parents=True, exist_ok=True)
        network.module = peers.fastnas(network.module, inputs, share, some, score, out, multiple)
    seconds = time.monotonic() - started
    recalibrate(network, data)
    free = evaluate(network, data.validation, "recalibrated")
    state = out / f"{tool}-{share:g}-state"
    how = plan.finetune.training
    fitted = fit(network, data, how, state=state, what=tool, teacher=teacher, start=free)
    shutil.rmtree(state, ignore_errors=True)
    name = f"{tool} {share:g}" if tool != "nothing" else "dense, trained as long"
    name += ", with a teacher" * (teacher is not None)
    facts = {"name": name, "macs": peers.macs(network.module, inputs) / before}
    facts |= {
        "seconds": seconds,
        "curve": [asdict(entry) for entry in fitted.training.curve],
        "after_recalibration": free,
    }
    written(network, {**facts, "epochs": plan.recipe.finetune.epochs}, plan.recipe.export, out)


def table(places: list[Path], plan: Plan) -> str:
    """Markdown: test accuracy, MACs and the speed-up over the dense engine of every method."""
    facts = {f"m{n}": json.loads(place.with_suffix(".json").read_text()) for n, place in enumerate(places)}
    protos = {f"m{n}": onnx.load(place) for n, place in enumerate(places)}
    with tempfile.TemporaryDirectory() as folder:
        network = models.load(dense_of(plan, Doing(Store(places[0].parent / ".store"))))
        test = evaluate(network, load(network.data, network.seed, network.task).test, "test")
        facts["dense"] = {"name": "dense", "test": test, "macs": 1.0}
        protos["dense"] = exporting.to_onnx(network.module, network.model.inputs, (), plan.recipe.export)
        packing = BundleConfig("pruning", plan.target, plan.recipe.build, plan.recipe.benchmark, 0)
        bench = Bench(here(), packing, plan.recipe.export)
        timed = trials.profiles(bench, protos, partial(write_samples, network), Path(folder))
    lines = [
        "| method | test, points | MACs left | median, ms | times as fast as dense (95 %) |",
        "|---|---|---|---|---|",
    ]
    rounds = {name: [[ms] for ms in one.rounds] for name, one in timed.items()}
    for name, one in sorted(facts.items(), key=lambda item: median(timed[item[0]].rounds), reverse=True):
        ratio = compare(rounds["dense"], rounds[name]).ratio
        said = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        taken = f"{median(timed[name].rounds):.3f}"
        lines.append(f"| {one['name']} | {one['test']:.2f} | {100 * one['macs']:.0f} % | {taken} | {said} |")
    return "\n".join(lines)


def named(prune: dict[str, Any], *, taught: bool) -> str:
    """A method of ours in words."""
    goal = next(
        (f"{k} {prune[k]:g}" for k in ("latency", "macs", "params") if prune.get(k)),
        f"ratio {prune['ratio']:g}",
    )
    how = ", reconstructed" * bool(prune["reconstruct"]) + ", with a teacher" * taught
    return f"jetpress {prune['scope']}, {prune['criterion']}, {goal}{how}"


def main() -> None:
    """``ours``, ``free``, ``peer`` or ``table``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    own = commands.add_parser("ours")
    own.add_argument("recipe", type=Path)
    own.add_argument("out", type=Path)
    blind = commands.add_parser("free")
    blind.add_argument("recipe", type=Path)
    blind.add_argument("out", type=Path)
    one = commands.add_parser("peer")
    one.add_argument("tool", choices=["torch-pruning", "fastnas", "nothing"])
    one.add_argument("recipe", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--share", type=float, default=0.5, help="of the MACs that goes")
    one.add_argument("--multiple", type=int, default=8)
    one.add_argument("--ignore", nargs="*", default=[], help="modules that torch-pruning cannot prune")
    every = commands.add_parser("table")
    every.add_argument("recipe", type=Path)
    every.add_argument("places", type=Path, nargs="+")
    for command in (own, blind, one, every):
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    plan = resolve(Recipe.load(options.recipe, options.set), find("host"))
    if options.command == "ours":
        ours(plan, options.out)
    elif options.command == "free":
        free(plan, options.out)
    elif options.command == "peer":
        peer(options.tool, plan, options.out, options.share, options.multiple, options.ignore)
    else:
        print(table(options.places, plan))


if __name__ == "__main__":
    main()
