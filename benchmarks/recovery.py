"""What brings the accuracy back after channel pruning, on real trained networks and real images.

    python -m benchmarks.recovery cifar DATA --out FOLDER [--images 10000] [--epochs 9] [--seeds 1]
    python -m benchmarks.recovery imagenet DATA --out FOLDER [--images 1500] [--epochs 4]

`cifar`: a ResNet-20 to half of its multiply-adds, in one shot against rounds against rounds with distillation, with the
same number of epochs in all. `imagenet`: MobileNetV2, pruned alone, with BatchNorm recalibrated, then fine-tuned on a
small training set. DATA is the folder of `benchmarks.real`. The stages are jetpress's own, in a store below FOLDER: run
again, it goes on. FOLDER/results.json holds every figure and curve; the table is printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.console import say
from pipeline import baseline, finetune, models, prune
from pipeline.artifact import Assessment, Checkpoint
from pipeline.content import content
from pipeline.data import load
from pipeline.recipe import Recipe
from pipeline.sections import DataConfig, FinetuneConfig, ModelConfig, PruneConfig
from pipeline.store import Store
from pipeline.training.evaluate import evaluate

ROUNDS = 3
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Scheme:
    """A way to come from the dense network to the pruned one."""

    name: str
    rounds: int
    tuning: FinetuneConfig
    """Of each round."""


def dense_of(recipe: Recipe, store: Store) -> Checkpoint:
    """The network with the weights given, checked against the data."""
    config = baseline.SourceConfig(recipe.model, recipe.data, recipe.seed, content(recipe))
    return store.make(baseline.source, config)[0]


def pruned_by(
    scheme: Scheme, share: float, multiple: int, dense: Checkpoint, store: Store
) -> list[Checkpoint]:
    """The network after each round; of the multiply-adds ``share`` is gone after the last."""
    found = [dense]
    for number in range(1, scheme.rounds + 1):
        config = PruneConfig(macs=share * number / scheme.rounds, channel_multiple=multiple)
        smaller = store.make(prune.prune, config, found[-1])[0]
        found.append(store.make(finetune.finetune, scheme.tuning, smaller, dense)[0])
        facts = found[-1].facts
        say(f"  {scheme.name}, round {number}: {facts['macs'] / 1e6:.1f} M MACs, {facts['validation']:.2f} %")
    return found[1:]


def judged(config: None, model: Checkpoint, draft: Path) -> Assessment:
    """Stage: accuracy on the test split, once for each network."""
    network = models.load(model)
    return Assessment(draft, {"test": evaluate(network, load(network.data, network.seed).test, "test")})


def row(
    study: str, name: str, seed: int, dense: Checkpoint, made: Checkpoint, store: Store
) -> dict[str, Any]:
    """Figures of one network."""
    test, dense_test = (store.make(judged, None, one)[0].facts["test"] for one in (made, dense))
    return {
        "study": study,
        "scheme": name,
        "seed": seed,
        "macs": made.facts["macs"],
        "dense_macs": dense.facts["macs"],
        "test": test,
        "dense_test": dense_test,
        "after_pruning": made.facts.get("after_pruning"),
        "after_recalibration": made.facts.get("after_recalibration"),
        "validation": made.facts.get("validation"),
        "curve": made.facts.get("curve", []),
    }


def cifar(given: argparse.Namespace, store: Store) -> Iterator[dict[str, Any]]:
    """One shot, rounds, and both with the dense network as teacher; the same epochs in all."""
    each = given.epochs // ROUNDS
    labels = FinetuneConfig(epochs=given.epochs, learning_rate=0.02, distill=0.0)
    taught = replace(labels, distill=FinetuneConfig.distill, temperature=FinetuneConfig.temperature)
    schemes = (
        Scheme("one shot", 1, labels),
        Scheme("one shot, distilled", 1, taught),
        Scheme("rounds", ROUNDS, replace(labels, epochs=each)),
        Scheme("rounds, distilled", ROUNDS, replace(taught, epochs=each)),
        Scheme("rounds, distilled, attention", ROUNDS, replace(taught, epochs=each, attention=10.0)),
    )
    model = ModelConfig(
        builder=f"{HERE / 'resnet_cifar.py'}:resnet",
        arguments={"depth": 20},
        weights=str(given.data / "weights" / "cifar10_resnet20_jpegft2ep.pth"),
    )
    for seed in range(given.seeds):
        data = DataConfig(source=_source(given, "cifar"), size=32, batch_size=128)
        recipe = Recipe(name="cifar", seed=seed, model=model, data=data)
        dense = dense_of(recipe, store)
        for scheme in schemes:
            rounds = pruned_by(scheme, given.macs or 0.5, 4, dense, store)
            made = row("cifar", scheme.name, seed, dense, rounds[-1], store)
            made["curve"] = [entry for one in rounds for entry in one.facts["curve"]]
            made |= {key: rounds[0].facts[key] for key in ("after_pruning", "after_recalibration")}
            yield made


def imagenet(given: argparse.Namespace, store: Store) -> Iterator[dict[str, Any]]:
    """Pruned alone, recalibrated, fine-tuned with labels, fine-tuned with the dense network alone as teacher."""
    weights = str(given.data / "weights" / "imagenet_mobilenet_v2_tvV1.pth")
    model = ModelConfig(builder="torchvision:mobilenet_v2", weights=weights)
    data = DataConfig(source=_source(given, "imagenet_small"), size=224, batch_size=16)
    dense = dense_of(Recipe(name="imagenet", model=model, data=data), store)
    config = PruneConfig(macs=given.macs or 0.2, channel_multiple=8)
    pruned = store.make(prune.prune, config, dense)[0]
    yield row("imagenet", "pruned", 0, dense, pruned, store)
    labels = FinetuneConfig(epochs=given.epochs, learning_rate=0.002, weight_decay=4e-5, distill=0.0)
    for name, tuning in (
        ("BatchNorm recalibrated", replace(labels, epochs=0)),
        ("then fine-tuned, labels", labels),
        ("then fine-tuned, dense network as teacher", replace(labels, distill=1.0, temperature=2.0)),
    ):
        tuned = store.make(finetune.finetune, tuning, pruned, dense)[0]
        yield row("imagenet", name, 0, dense, tuned, store)


def _source(given: argparse.Namespace, function: str) -> str:
    """A data file of this study: its sizes are part of what the stages' results are known by."""
    file = given.out / f"{function}.py"
    file.write_text(
        f"from benchmarks.recovery_data import {function}\n\n\n"
        f"def load():\n    return {function}({str(given.data)!r}, {given.images}, {given.tested})\n"
    )
    return f"{file}:load"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; a mean over the seeds."""
    lines = [
        "| scheme | MACs left | after pruning | BatchNorm recalibrated | validation | test | against dense |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["scheme"] for row in rows):
        some = [row for row in rows if row["scheme"] == name]

        def mean(key: str, some: list[dict[str, Any]] = some) -> float | None:
            known = [row[key] for row in some if row[key] is not None]
            return sum(known) / len(known) if known else None

        left = 100 * (mean("macs") or 0.0) / some[0]["dense_macs"]
        cells = [mean(key) for key in ("after_pruning", "after_recalibration", "validation", "test")]
        shown = ["" if cell is None else f"{cell:.2f}" for cell in cells]
        lost = (mean("test") or 0.0) - (mean("dense_test") or 0.0)
        lines.append(f"| {name} | {left:.0f} % | {' | '.join(shown)} | {lost:+.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run a study, or go on with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=("cifar", "imagenet"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--tested", type=int, default=10_000, help="test images, at most")
    parser.add_argument("--epochs", type=int, help="in all")
    parser.add_argument("--macs", type=float, help="share of the multiply-adds that goes")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    usual = {"cifar": (10_000, 9), "imagenet": (1_500, 4)}[given.study]
    given.images, given.epochs = given.images or usual[0], given.epochs or usual[1]
    given.data, given.out = given.data.resolve(), given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    store, rows = Store(given.out / "store"), []
    for one in (cifar if given.study == "cifar" else imagenet)(given, store):
        rows.append(one)
        say(f"{one['scheme']}: test {one['test']:.2f} %, dense {one['dense_test']:.2f} %")
        settings = {key: str(value) for key, value in vars(given).items()}
        text = json.dumps({"settings": settings, "rows": rows}, indent=1)
        (given.out / f"results-{given.study}.json").write_text(text)
    print(table(rows))


if __name__ == "__main__":
    main()
