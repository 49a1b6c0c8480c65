"""Networks that take hours to train on a processor, trained and pruned on a GPU: `PIECE=NAME studies/gpu.sh`.

    python -m studies.gpu_training run vgg16 DATA OUT [--limit 540] [--earlier vgg16.json] [--epochs 30] [--small]
    python -m studies.gpu_training run mobilenetv2 DATA OUT [...]

`vgg16`: VGG-16 on CIFAR-10, three rounds to 8 % of its parameters. `mobilenetv2`: with ImageNet's weights for the ten
classes of imagenette (:mod:`studies.pruning_imagenette`), 40 % of its parameters gone. Widths as measured, every layer
fitted, the dense network as teacher; what is lost is the result, so there is no budget to stop at. Beside it the
honest twin: the dense network alone, trained for as many epochs as the pruned one in all. DATA is the folder of
:mod:`studies.real`.

Each is one step, a run of jetpress in WORK: what a call could not end the next one goes on with, where WORK still is.
OUT/NAME.json holds what ended, and a call with it does not do that again. ``--small``: a narrow network, a few hundred
images, one epoch, on the CPU, to try it all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetpress.benchmarks.report.record import RunReport
from studies import pruning_imagenette
from studies.gpu_steps import Step, done

HERE = Path(__file__).resolve().parent
TARGET = "orin-nano"
"""Its bundle is made and nothing is measured: this is about accuracy."""
JUDGED = 2000
"""Of CIFAR's training images, not trained on."""
COMMON = """
[prune]
scope = "measured"
criterion = "l2" # no worse than "obs" (studies/log/recovery.md), which takes a system of 4608 columns
steps = "even"
rounds = {rounds}
first_step = 1.0
{goal}

[sparsify]
mode = "off"

[budget]
accuracy_drop = 100.0 # every round is kept, to be judged
"""
VGG = """name = "vgg16"

[model]
builder = "{here}/vgg_cifar.py:vgg16"
arguments = {{ share = {share} }}

[data]
source = "images.py:load"
size = 32
batch_size = 128
workers = {workers}

[train]
epochs = {dense}
learning_rate = 0.05

[finetune]
epochs = {each}
learning_rate = 0.01
"""
IMAGES = """from studies.recovery_data import cifar


def load():
    return cifar({data!r}, {images}, {tested}, {judged})
"""
TUNED = """
[train]
epochs = {dense}
optimizer = "adamw"
learning_rate = 0.001
weight_decay = 0.01

[finetune]
epochs = {each}
learning_rate = 0.001
"""


@dataclass(frozen=True)
class Piece:
    """A network, its data, and what is to go."""

    recipe: Callable[[Path, Path, Asked], str]
    """Data, folder and what is asked -> the recipe but for what is pruned; its files beside it."""
    rounds: int
    params: float
    trained: bool
    """Whether the dense network is trained; else its weights are given."""

    def epochs(self, pruned: bool, epochs: int) -> tuple[int, int]:
        """Of the dense network, and of each round: the twin has as many as the pruned network in all."""
        each = max(1, epochs // self.rounds)
        dense = epochs if self.trained else 0
        return (dense, each) if pruned else (dense + self.rounds * each, each)


@dataclass(frozen=True)
class Asked:
    """Epochs of the dense network and of each round, and whether it is a trial."""

    dense: int
    each: int
    small: bool

    @property
    def workers(self) -> int:
        """Processes that make batches."""
        return 0 if self.small else min(12, os.cpu_count() or 1)


def vgg16(data: Path, folder: Path, asked: Asked) -> str:
    """Untrained, and CIFAR-10 with validation images that nobody trains on."""
    images, tested, judged = (256, 128, 64) if asked.small else (50_000 - JUDGED, 10_000, JUDGED)
    text = IMAGES.format(data=str(data), images=images, tested=tested, judged=judged)
    (folder / "images.py").write_text(text)
    share = 0.125 if asked.small else 1.0
    return VGG.format(here=HERE, share=share, workers=asked.workers, dense=asked.dense, each=asked.each)


def mobilenetv2(data: Path, folder: Path, asked: Asked) -> str:
    """With its weights, and imagenette at 128 pixels."""
    root, size = data / "imagenette224", 128
    pruning_imagenette.prepare(data, folder, size, asked.each)
    if asked.small:
        root, size = few(root, folder / "few"), 32
    text = pruning_imagenette.RECIPE.format(root=root, size=size)
    return f"{text}workers = {asked.workers}\n" + TUNED.format(dense=asked.dense, each=asked.each)


def few(root: Path, folder: Path) -> Path:
    """Links to some images of each class."""
    for split in ("train", "val"):
        for group in sorted((root / split).iterdir()):
            (folder / split / group.name).mkdir(parents=True, exist_ok=True)
            for path in sorted(group.iterdir())[:24]:
                link = folder / split / group.name / path.name
                link.unlink(missing_ok=True)
                link.symlink_to(path)
    return folder


PIECES = {
    "vgg16": Piece(vgg16, rounds=3, params=0.92, trained=True),
    "mobilenetv2": Piece(mobilenetv2, rounds=1, params=0.4, trained=False),
}


def steps(given: argparse.Namespace, work: Path) -> list[Step]:
    """The pruned network, then its twin: each is given all the time that is left."""
    words = (str(given.data), str(work), "--epochs", str(given.epochs), *["--small"][: given.small])
    return [
        Step(
            f"{given.piece} {which}",
            given.limit,
            (sys.executable, "-m", "studies.gpu_training", which, given.piece, *words),
        )
        for which in ("pruned", "twin")
    ]


def written(piece: Piece, data: Path, folder: Path, asked: Asked, pruned: bool) -> str:
    """The whole recipe; its files are in ``folder``."""
    goal = f"params = {piece.params}" if pruned else "ratio = 0.0"
    return piece.recipe(data, folder, asked) + COMMON.format(rounds=piece.rounds, goal=goal)


def result(piece: Piece, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """One run of jetpress, and its figures."""
    import torch

    import jetpress
    from jetpress.pipeline.recipe.reading import Recipe

    if not given.small and not torch.cuda.is_available():
        sys.exit("no GPU that PyTorch sees; SMALL=1 tries the script without one")
    pruned = name == "pruned"
    dense, each = piece.epochs(pruned, 1 if given.small else given.epochs)
    folder = given.out / f"{given.piece}-{name}{'-small' * given.small}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text(written(piece, given.data, folder, Asked(dense, each, given.small), pruned))
    report = jetpress.run(Recipe.load(path), TARGET, home=given.out / "runs")
    return {"epochs": {"dense": dense, "each round": each}, **figures(report)}


def figures(report: RunReport) -> dict[str, Any]:
    """Of both networks, and the change on the same test images with its interval."""
    networks = {"dense": report.dense, "compressed": report.compressed}
    change = report.verdict.change
    return {
        name: {"test": one.test, "validation": one.validation, "parameters": one.parameters, "macs": one.macs}
        for name, one in networks.items()
    } | {
        "change": [change.value, change.low, change.high] if change else None,
        "seconds": {stage.name: stage.seconds for stage in report.stages if stage.seconds},
        "gpu": report.machine.gpu,
    }


def main() -> None:
    """All steps, or one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("run", "pruned", "twin"))
    parser.add_argument("piece", choices=PIECES)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="of the results; of a step, where it works")
    parser.add_argument("--epochs", type=int, default=30, help="of training; the rounds have as many in all")
    parser.add_argument("--limit", type=float, default=540.0)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    given.data, given.out = given.data.resolve(), given.out.resolve()
    if given.do != "run":
        print(json.dumps(result(PIECES[given.piece], given.do, given)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    work = Path(os.environ.get("WORK", str(given.out / "work"))).resolve()
    plan = steps(given, work)
    done(given.out / f"{given.piece}.json", lambda known: plan, given.limit, given.earlier)


if __name__ == "__main__":
    main()
