"""Channel pruning at equal fine-tuning: ours beside the peers, every engine in one interleaved session.

    jetpress run R.toml --target host --set prune.scope='"measured"' --set prune.latency=0.5
    python -m benchmarks.pruning peer torch-pruning R.toml OUT --share 0.5 --multiple 8
    python -m benchmarks.pruning peer fastnas R.toml OUT --share 0.5 --multiple 8
    python -m benchmarks.pruning table R.toml OUT/*.onnx runs/*-host-*

A peer gets the recipe's network, data and fine-tuning. ``table`` takes peers' ONNX files and folders of runs; the
first run's dense network is the baseline. torch-pruning and nvidia-modelopt are not dependencies of jetpress.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import onnx
import torch

from benchmarks.compare import compare
from benchmarks.peers import pruning as peers
from deploy.device import open as open_device
from deploy.probe import identity, probe
from deploy.targets import find
from pipeline import export, models
from pipeline.baseline import source
from pipeline.bench import Bench
from pipeline.bundle import BundleConfig
from pipeline.content import SourceConfig, content
from pipeline.data import batches, load
from pipeline.finetune import recalibrate
from pipeline.measure import Place
from pipeline.models import Network
from pipeline.pruning import trials
from pipeline.recipe import Plan, Recipe, resolve
from pipeline.steps import Doing
from pipeline.store import Store
from pipeline.train import fit
from pipeline.training.evaluate import evaluate
from pipeline.training.settings import settings


def dense_of(plan: Plan, store: Path) -> Network:
    """The dense network of a recipe that brings its weights."""
    recipe = plan.recipe
    config = SourceConfig(recipe.model, recipe.data, recipe.seed, content(recipe))
    return models.load(Doing(Store(store)).step("source", source, config))


def peer(tool: str, path: Path, out: Path, share: float, multiple: int, ignore: list[str]) -> None:
    """Prune with a peer, fine-tune as the recipe says, and write ``OUT/<tool>-<share>.onnx`` and ``.json``."""
    plan = resolve(Recipe.load(path), find("host"))
    network = dense_of(plan, out / "store")
    inputs = models.example_inputs(network.model.inputs)
    data = load(network.data, network.seed)
    before, started = peers.macs(network.module, inputs), time.monotonic()
    if tool == "torch-pruning":
        network.module = peers.torch_pruning(network.module, inputs, share, multiple, ignore)
    else:
        judged = data.validation.subset(torch.arange(0, len(data.validation), 3))

        def score(module: Any) -> float:
            return evaluate(Network(module, network.model, network.data), judged, "score")

        some = [batch for _, batch in zip(range(peers.BATCHES), batches(data.train, 0), strict=False)]
        out.mkdir(parents=True, exist_ok=True)
        network.module = peers.fastnas(network.module, inputs, share, some, score, out, multiple)
    seconds = time.monotonic() - started
    recalibrate(network, data)
    free = evaluate(network, data.validation, "recalibrated")
    state = out / f"{tool}-{share:g}-state"
    fit(network, data, settings(plan.recipe.finetune), state=state, what=tool, start=free)
    shutil.rmtree(state, ignore_errors=True)
    after = peers.macs(network.module, inputs)
    test = evaluate(network, data.test, "test")
    facts = {"name": f"{tool} {share:g}", "test": test, "macs": after / before, "seconds": seconds}
    proto = export.to_onnx(network.module, network.model.inputs, (), plan.recipe.export)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{tool}-{share:g}.onnx").write_bytes(proto.SerializeToString())
    (out / f"{tool}-{share:g}.json").write_text(json.dumps(facts))
    print(json.dumps(facts), flush=True)


def table(places: list[Path], recipe: Path) -> str:
    """Markdown: test accuracy, MACs and the speed-up over the dense engine of every method."""
    plan = resolve(Recipe.load(recipe), find("host"))
    protos: dict[str, onnx.ModelProto] = {}
    facts: dict[str, dict[str, Any]] = {}
    for number, place in enumerate(places):
        if place.suffix == ".onnx":
            protos[f"m{number}"], facts[f"m{number}"] = (
                onnx.load(place),
                json.loads(place.with_suffix(".json").read_text()),
            )
            continue
        report = json.loads((place / "report.json").read_text())
        if "dense" not in protos:
            protos["dense"] = onnx.load(place / "bundle" / "dense.onnx")
            facts["dense"] = {"name": "dense", "test": report["dense"]["test"], "macs": 1.0, "seconds": 0.0}
        protos[f"m{number}"] = onnx.load(place / "bundle" / "model.onnx")
        share = report["compressed"]["macs"] / report["dense"]["macs"]
        facts[f"m{number}"] = {
            "name": _name(report["recipe"]["prune"]),
            "test": report["compressed"]["test"],
            "macs": share,
        }
    with tempfile.TemporaryDirectory() as folder:
        network = dense_of(plan, Path(folder) / "store")
        packing = BundleConfig("pruning", plan.target, plan.recipe.build, plan.recipe.benchmark, 0)
        bench = Bench(Place(None, identity(probe(open_device(None)))), packing, plan.recipe.export)
        timed = trials.profiles(bench, protos, network, Path(folder))
    lines = [
        "| method | test, % | MACs left | median, ms | times as fast as dense (95 %) |",
        "|---|---|---|---|---|",
    ]
    rounds = {name: [[ms] for ms in one["rounds_ms"]] for name, one in timed.items()}
    for name, one in sorted(
        facts.items(), key=lambda item: median(timed[item[0]]["rounds_ms"]), reverse=True
    ):
        ratio = compare(rounds["dense"], rounds[name]).ratio
        said = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        taken = f"{median(timed[name]['rounds_ms']):.3f}"
        lines.append(f"| {one['name']} | {one['test']:.2f} | {100 * one['macs']:.0f} % | {taken} | {said} |")
    return "\n".join(lines)


def _name(prune: dict[str, Any]) -> str:
    goal = next(
        (f"{k} {prune[k]:g}" for k in ("latency", "macs", "params") if prune.get(k)),
        f"ratio {prune['ratio']:g}",
    )
    return f"jetpress {prune['scope']}, {prune['criterion']}, {goal}"


def main() -> None:
    """``peer`` or ``table``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("peer")
    one.add_argument("tool", choices=["torch-pruning", "fastnas"])
    one.add_argument("recipe", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--share", type=float, default=0.5, help="of the MACs that goes")
    one.add_argument("--multiple", type=int, default=8)
    one.add_argument("--ignore", nargs="*", default=[], help="modules that torch-pruning cannot prune")
    every = commands.add_parser("table")
    every.add_argument("recipe", type=Path)
    every.add_argument("places", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "peer":
        peer(options.tool, options.recipe, options.out, options.share, options.multiple, options.ignore)
    else:
        print(table(options.places, options.recipe))


if __name__ == "__main__":
    main()
