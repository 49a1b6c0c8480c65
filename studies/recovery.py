"""What brings the accuracy back after channel pruning, on real trained networks and real images.

    python -m studies.recovery cifar DATA --out FOLDER [--images 5000] [--epochs 6] [--seed 0] [--only NAME]
    python -m studies.recovery imagenet DATA --out FOLDER [--images 1500] [--epochs 4] [--size 224]
    python -m studies.recovery table cifar --out FOLDER

`cifar`: a ResNet-20 to half of its multiply-adds, in one shot against rounds against rounds with distillation, with the
same number of epochs in all; with `--sparse N` after N epochs of sparse training at several strengths, of which 0 is
the twin that was trained as long. `imagenet`: MobileNetV2, pruned alone, with BatchNorm recalibrated, then fine-tuned
on a small training set. DATA is the folder of `studies.real`. The stages are jetpress's own, in a store below FOLDER:
run again, it goes on. FOLDER/cifar-*.json hold every figure and curve, one file for each scheme and seed; `table`
prints what is there, as means over the seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jetpress.deploy.console import say
from jetpress.pipeline.data.digests import input_digests
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.configs import RegularizeConfig, SensitivityConfig, SourceConfig
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.retraining import finetuning
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, TrainConfig
from jetpress.pipeline.stages import finetune, prune, source
from jetpress.pipeline.stages.regularize import regularize
from jetpress.pipeline.stages.sensitivity import sensitivity
from jetpress.pipeline.store.artifact import Artifact, Checkpoint
from jetpress.pipeline.store.store import Store
from jetpress.pipeline.training.evaluate import evaluate

ROUNDS = 3
STRENGTHS = (0.003, 0.01, 0.03)
"""Of sparse training."""
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Scheme:
    """A way to come from the dense network to the pruned one."""

    name: str
    rounds: int
    tuning: FinetuneConfig
    """Of each round."""
    fitted: bool = False
    """Every layer to what it gave before the cut."""
    sparse_epochs: int = 0
    """Of sparse training before the first round."""
    strength: float = 0.0
    """Of its pull."""
    how: PruneConfig = field(default_factory=PruneConfig)
    """What is cut: scope and criterion."""


def dense_of(recipe: Recipe, store: Store) -> Checkpoint:
    """The network with the weights given, checked against the data."""
    config = SourceConfig(recipe.model, recipe.data, recipe.seed, input_digests(recipe))
    return store.make(source.source, config)[0]


def pruned_by(
    scheme: Scheme, share: float, multiple: int, dense: Checkpoint, store: Store
) -> list[Checkpoint]:
    """What the first round begins with, and the network after each; ``share`` of the multiply-adds is gone at last."""
    found = [dense]
    tuning = finetuning(scheme.tuning, TrainConfig())
    if scheme.sparse_epochs:
        training = replace(tuning.training, epochs=scheme.sparse_epochs)
        sparse = RegularizeConfig(training, tuning.distillation, scheme.strength, multiple)
        found = [store.make(regularize, sparse, dense, dense)[0]]
    for number in range(1, scheme.rounds + 1):
        config = replace(
            scheme.how,
            macs=share * number / scheme.rounds,
            channel_multiple=multiple,
            reconstruct=scheme.fitted,
        )
        smaller = cut(config, found[-1], store)
        found.append(store.make(finetune.finetune, tuning, smaller, dense)[0])
        facts = found[-1].facts
        say(f"  {scheme.name}, round {number}: {facts.macs / 1e6:.1f} M MACs, {facts.validation:.2f} %")
    return found


def cut(config: PruneConfig, model: Checkpoint, store: Store) -> Checkpoint:
    """``model`` without the channels that matter least."""
    worth = store.make(sensitivity, SensitivityConfig.of(config), model)[0]
    return store.make(prune.prune, config, model, worth)[0]


@dataclass(frozen=True)
class TestedFacts:
    """Points of a network."""

    test: float


class Tested(Artifact[TestedFacts]):
    """A network's accuracy on the test split."""


def judged(config: None, model: Checkpoint, draft: Path) -> Tested:
    """Stage: accuracy on the test split, once for each network."""
    network = models.load(model)
    return Tested(
        draft, TestedFacts(evaluate(network, load(network.data, network.seed, network.task).test, "test"))
    )


def row(name: str, seed: int, dense: Checkpoint, made: Checkpoint, store: Store) -> dict[str, Any]:
    """Figures of one network."""
    test, dense_test = (store.make(judged, None, one)[0].facts.test for one in (made, dense))
    facts = made.facts
    return {
        "scheme": name,
        "seed": seed,
        "macs": facts.macs,
        "dense_macs": dense.facts.macs,
        "test": test,
        "dense_test": dense_test,
        "after_pruning": facts.recovery.after_pruning if facts.recovery else None,
        "after_recalibration": facts.recovery.after_recalibration if facts.recovery else None,
        "validation": facts.validation,
        "curve": [asdict(entry) for entry in facts.training.curve] if facts.training else [],
    }


def cifar(given: argparse.Namespace, store: Store) -> Iterator[dict[str, Any]]:
    """One shot, rounds, and both with the dense network as teacher; the same epochs in all."""
    each = given.epochs // ROUNDS
    labels = FinetuneConfig(
        epochs=given.epochs, learning_rate=given.rate or 0.02, distill=0.0, precision=given.precision
    )
    taught = replace(labels, distill=0.7, temperature=5.0)
    schemes: tuple[Scheme, ...] = (
        Scheme("one shot", 1, labels),
        Scheme("rounds", ROUNDS, replace(labels, epochs=each)),
        Scheme("rounds, distilled", ROUNDS, replace(taught, epochs=each)),
        Scheme(
            "rounds, distilled 0.5 at T 4", ROUNDS, replace(taught, epochs=each, distill=0.5, temperature=4.0)
        ),
        Scheme("one shot, distilled", 1, taught),
        Scheme("rounds, distilled, attention", ROUNDS, replace(taught, epochs=each, attention=10.0)),
        Scheme("one shot, fitted", 1, labels, fitted=True),
        Scheme("one shot, fitted, distilled", 1, taught, fitted=True),
        Scheme("rounds, fitted, distilled", ROUNDS, replace(taught, epochs=each), fitted=True),
    )
    if given.sparse:
        schemes = tuple(
            Scheme(
                f"after {given.sparse} epochs at {strength:g}{how}",
                1,
                taught,
                fitted=not how,
                sparse_epochs=given.sparse,
                strength=strength,
            )
            for how in ("", ", not fitted")
            for strength in (0.0, *STRENGTHS)
        )
    yield from cifar_rows(chosen(schemes, given), given, store)


def cifar_rows(
    schemes: Sequence[Scheme], given: argparse.Namespace, store: Store
) -> Iterator[dict[str, Any]]:
    """Figures of each scheme with the ResNet-20."""
    model = ModelConfig(
        builder=f"{HERE / 'resnet_cifar.py'}:resnet",
        arguments={"depth": 20},
        weights=str(given.data / "weights" / "cifar10_resnet20_jpegft2ep.pth"),
    )
    data = DataConfig(source=source_of(given, "cifar"), size=32, batch_size=128)
    dense = dense_of(Recipe(name="cifar", seed=given.seed, model=model, data=data), store)
    for scheme in schemes:
        start, *rounds = pruned_by(scheme, given.macs or 0.5, 2, dense, store)
        made = row(scheme.name, given.seed, dense, rounds[-1], store)
        made["start_test"] = store.make(judged, None, start)[0].facts.test
        trained = [one.facts.training.curve for one in rounds if one.facts.training]
        made["curve"] = [asdict(entry) for curve in trained for entry in curve]
        assert rounds[0].facts.recovery is not None
        made |= asdict(rounds[0].facts.recovery)
        yield made


def imagenet(given: argparse.Namespace, store: Store) -> Iterator[dict[str, Any]]:
    """Pruned alone, recalibrated, fine-tuned with labels, fine-tuned with the dense network alone as teacher."""
    weights = str(given.data / "weights" / "imagenet_mobilenet_v2_tvV1.pth")
    model = ModelConfig(builder="torchvision:mobilenet_v2", weights=weights)
    data = DataConfig(source=source_of(given, "imagenet_small", given.size), size=given.size, batch_size=32)
    dense = dense_of(Recipe(name="imagenet", seed=given.seed, model=model, data=data), store)
    goal = PruneConfig(macs=given.macs or 0.1, scope="global", criterion="taylor", channel_multiple=8)
    pruned = cut(goal, dense, store)
    labels = FinetuneConfig(
        epochs=given.epochs,
        learning_rate=given.rate or 2e-4,
        weight_decay=4e-5,
        distill=0.0,
        precision="float32",
    )
    schemes = (
        Scheme("pruned alone", 0, labels),
        Scheme("BatchNorm recalibrated", 1, replace(labels, epochs=0)),
        Scheme("then fine-tuned, labels", 1, labels),
        Scheme("then fine-tuned, labels and teacher", 1, replace(labels, distill=0.7, temperature=5.0)),
        Scheme("then fine-tuned, teacher alone", 1, replace(labels, distill=1.0, temperature=2.0)),
    )
    for scheme in chosen(schemes, given):
        made = (
            store.make(finetune.finetune, finetuning(scheme.tuning, TrainConfig()), pruned, dense)[0]
            if scheme.rounds
            else pruned
        )
        yield row(scheme.name, given.seed, dense, made, store)


def chosen(schemes: Sequence[Scheme], given: argparse.Namespace) -> list[Scheme]:
    """Those that ``--only`` names; all, without it."""
    return [one for one in schemes if not given.only or one.name in given.only]


def source_of(given: argparse.Namespace, function: str, *sizes: int) -> str:
    """A data file of a study, with its data and counts of images: they are part of what results are known by."""
    arguments = ", ".join(map(repr, (str(given.data), given.images, given.tested, *sizes)))
    text = (
        f"from studies.recovery_data import {function}\n\n\ndef load():\n    return {function}({arguments})\n"
    )
    file = given.out / f"{function}.py"
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
    return f"{file}:load"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; means over the seeds, and each seed's test figure where there are several."""
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
        if len(some) > 1:
            shown[-1] += " (" + ", ".join(f"{row['test']:.2f}" for row in some) + ")"
        lost = (mean("test") or 0.0) - (mean("dense_test") or 0.0)
        lines.append(f"| {name} | {left:.0f} % | {' | '.join(shown)} | {lost:+.2f} |")
    return "\n".join(lines)


def curves(rows: list[dict[str, Any]]) -> str:
    """Markdown; validation points after each epoch, a mean over the seeds."""
    trained = [row for row in rows if row["curve"]]
    most = max((len(row["curve"]) for row in trained), default=0)
    lines = ["| scheme | " + " | ".join(str(n + 1) for n in range(most)) + " |", "|---" * (most + 1) + "|"]
    for name in dict.fromkeys(row["scheme"] for row in trained):
        some = [[entry["validation"] for entry in row["curve"]] for row in trained if row["scheme"] == name]
        means = [sum(each) / len(some) for each in zip(*some, strict=True)]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run a study, or go on with it; or print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=("cifar", "imagenet", "table"))
    parser.add_argument("data", type=Path, help="folder of the images; of `table` the study's name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--tested", type=int, default=10_000, help="test images, at most")
    parser.add_argument("--epochs", type=int, help="in all")
    parser.add_argument("--size", type=int, default=224, help="of the images, imagenet only")
    parser.add_argument("--macs", type=float, help="share of the multiply-adds that goes")
    parser.add_argument("--rate", type=float, help="of learning")
    parser.add_argument("--precision", default="bf16", help="of fine-tuning, cifar only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sparse", type=int, default=0, help="epochs of sparse training before, cifar only")
    parser.add_argument("--only", action="append", default=[], help="name of a scheme")
    given = parser.parse_args()
    if given.study == "table":
        rows = [json.loads(file.read_text()) for file in sorted(given.out.glob(f"{given.data}-*.json"))]
        print(table(rows), curves(rows), sep="\n\n")
        return
    usual = {"cifar": (5_000, 6), "imagenet": (1_500, 4)}[given.study]
    given.images, given.epochs = given.images or usual[0], given.epochs or usual[1]
    given.data, given.out = given.data.resolve(), given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = {key: str(value) for key, value in vars(given).items()}
    for one in (cifar if given.study == "cifar" else imagenet)(given, Store(given.out / "store")):
        say(f"{one['scheme']}: test {one['test']:.2f} %, dense {one['dense_test']:.2f} %")
        name = f"{given.study}-{given.seed}-{one['scheme'].replace(' ', '-').replace(',', '')}.json"
        (given.out / name).write_text(json.dumps({**one, "settings": settings}, indent=1))


if __name__ == "__main__":
    main()
