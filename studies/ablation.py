"""Which part of the method wins what: one of them at a time is taken away.

    python -m studies.ablation run DATA --out FOLDER [--macs 0.58] [--epochs 1] [--seeds 0 1 2] [--only NAME]
    python -m studies.ablation table --out FOLDER [--epochs 1]

The ResNet-20 of :mod:`studies.recovery` on CIFAR-10, cut to the same multiply-adds in every row and trained for the
same epochs on the same images. The whole method is widths by what they were measured to lose, channels by what is lost
once the others have taken over (`obs`), every layer fitted to what it gave before, the dense network as teacher, one
shot. A seed decides the images that are fitted and judged on and the order of training; all rows of a seed have the
same. FOLDER/EPOCHS-SEED-NAME.json is a row; `table` prints means and the 95 % interval of each difference from the
whole: Student's t over the seeds, paired. It says nothing of other test images: they are the same in all.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student  # type: ignore[import-untyped]

from jetpress.deploy.console import say
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig
from jetpress.pipeline.store.store import Store
from studies.recovery import ROUNDS, Scheme, cifar_rows
from studies.table import row, title

WHOLE = "whole"
RATE = 0.02
STARTS = ("after_pruning", "after_recalibration")
"""Points of validation before training, of the first round."""


def schemes(epochs: int) -> list[Scheme]:
    """The whole method, and without each of its parts; rounds only where every one gets an epoch."""
    taught = FinetuneConfig(epochs=epochs, learning_rate=RATE, precision="float32")
    labels = replace(taught, distill=0.0)
    measured = PruneConfig(scope="measured", criterion="obs")
    uniform, l2 = replace(measured, scope="uniform"), replace(measured, criterion="l2")
    found = [
        Scheme(WHOLE, 1, taught, fitted=True, how=measured),
        Scheme("widths uniform", 1, taught, fitted=True, how=uniform),
        Scheme("channels by l2", 1, taught, fitted=True, how=l2),
        Scheme("not fitted", 1, taught, how=measured),
        Scheme("no teacher", 1, labels, fitted=True, how=measured),
        Scheme("blocks stay", 1, taught, fitted=True, how=replace(measured, blocks=False)),
        Scheme("none of it", 1, labels, how=PruneConfig()),
    ]
    if epochs >= ROUNDS:
        each = replace(taught, epochs=epochs // ROUNDS)
        found.append(Scheme("three rounds", ROUNDS, each, fitted=True, how=measured))
    return found


def table(folder: Path, epochs: int) -> None:
    """Markdown."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{epochs}-*.json"))]
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for one in rows:
        by_name.setdefault(one["scheme"], {})[one["seed"]] = one
    title(
        "",
        "MACs left, %",
        "as it came",
        "BatchNorm anew",
        "test, %",
        "seeds",
        "against the whole",
        "95 % interval",
    )
    whole = by_name[WHOLE]
    for name in [scheme.name for scheme in schemes(ROUNDS) if scheme.name in by_name]:
        some = by_name[name]
        left = mean(100 * one["macs"] / one["dense_macs"] for one in some.values())
        starts = [mean(one[key] for one in some.values()) for key in STARTS]
        tests = [one["test"] for one in some.values()]
        apart = [one["test"] - whole[seed]["test"] for seed, one in some.items() if seed in whole]
        shown = ", ".join(f"{test:.2f}" for test in tests)
        cells = [f"{left:.1f}", *(f"{start:.1f}" for start in starts), f"{mean(tests):.2f}", shown]
        row(name, *cells, *_against(name, apart))


def _against(name: str, apart: list[float]) -> tuple[str, str]:
    """Mean difference, and its interval where there are several."""
    if name == WHOLE:
        return "", ""
    if len(apart) < 2:
        return f"{mean(apart):+.2f}", ""
    half = float(student.ppf(0.975, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5
    return f"{mean(apart):+.2f}", f"{mean(apart) - half:+.2f} to {mean(apart) + half:+.2f}"


def main() -> None:
    """Run what is not there yet, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("run", "table"))
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5_000, help="training images")
    parser.add_argument("--tested", type=int, default=5_000, help="test images")
    parser.add_argument("--epochs", type=int, default=1, help="in all")
    parser.add_argument("--macs", type=float, default=0.58, help="share of the multiply-adds that goes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", action="append", default=[], help="name of a row")
    given = parser.parse_args()
    if given.do == "table":
        table(given.out, given.epochs)
        return
    given.data, given.out = given.data.resolve(), given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in schemes(given.epochs) if not given.only or one.name in given.only]
    for seed in given.seeds:
        asked = argparse.Namespace(**vars(given), seed=seed)
        for one in cifar_rows(chosen, asked, Store(given.out / "store")):
            say(f"{one['scheme']}, seed {one['seed']}: test {one['test']:.2f} %")
            name = f"{given.epochs}-{seed}-{one['scheme'].replace(' ', '-')}.json"
            (given.out / name).write_text(json.dumps(one))


if __name__ == "__main__":
    main()
