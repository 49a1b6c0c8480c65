"""``--target a,b``: each target with its device, one after the other, and one table at the end.

What does not depend on the target is done once, the store has it: the data, the weights, training, pruning and
fine-tuning. Widths are in multiples that fill the hardware of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetpress.deploy import console
from jetpress.deploy.errors import DeviceError, RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.deploy.targets import BOARD, Target, find

if TYPE_CHECKING:
    from jetpress.pipeline.listing import Listed
    from jetpress.pipeline.recipe.reading import Recipe

WORST = (6, 4, 5, 3, 2, 8, 7, 9, 0)
"""Exit codes, the worst first: what broke, then what was not given, then what was not reached."""


@dataclass(frozen=True)
class Pair:
    """A target, and the device that is one."""

    target: str
    device: str | None = None


def pairs(targets: str, devices: Sequence[str]) -> list[Pair]:
    """The targets of ``--target a,b`` with the devices of ``--device``.

    Args:
        targets: names with commas between them.
        devices: each ``user@host``, or ``target=user@host`` and several of those with commas between them.

    Raises:
        RecipeError: an unknown target, or it is not clear which target a device is.
    """
    names = list(dict.fromkeys(name.strip() for name in targets.split(",")))
    for name in names:
        if name != BOARD:
            find(name)
    given: dict[str, str] = {}
    for one in (part.strip() for device in devices for part in device.split(",")):
        target, named, host = one.rpartition("=")
        if not named and len(names) > 1:
            raise RecipeError(
                f"--device {one} with {len(names)} targets: it does not say which of them it is",
                f"for example --device {names[0]}={one}; a target without a device is built as without --device",
            )
        target = target or names[0]
        if target not in names:
            raise RecipeError(
                f"--device {one}: {target!r} is not among the targets {', '.join(names)}",
                did_you_mean(target, names) or f"add it to --target, or write one of {', '.join(names)}",
            )
        if not host or target in given:
            what = f"names no device for {target}" if not host else f"is a second device for {target}"
            raise RecipeError(f"--device {one} {what}", f"give one: --device {target}=user@host")
        given[target] = host
    return [Pair(name, given.get(name)) for name in names]


@dataclass(frozen=True)
class Ended:
    """How the run for one target ended."""

    row: Listed
    """Of the table."""
    plain: dict[str, Any]
    """For ``--json``: the report, or the error."""
    exit_code: int


def run_each(recipe: Recipe, chosen: Sequence[Pair]) -> list[Ended]:
    """Run a recipe for each target; where one is refused or its device fails, the others still run.

    Raises:
        JetpressError: the only one was refused, or it is nothing that hangs on the target.
    """
    from jetpress.benchmarks.report.headline import shown
    from jetpress.pipeline import listing
    from jetpress.pipeline.run import run

    found = [_target(one) for one in chosen]
    recipe = shared(
        recipe, [one for one in found if isinstance(one, Target)]
    )  # refused before the first of them runs
    ended = []
    for one, target in zip(chosen, found, strict=True):
        try:
            if isinstance(target, DeviceError):
                raise target
            report = run(recipe, target, one.device)
        except (DeviceError, RecipeError) as error:
            if len(chosen) == 1:
                raise
            console.conclude(f"jetpress: error: {one.target}: {error}")
            plain = {
                "target": one.target,
                "error": error.what,
                "hint": error.hint,
                "exit_code": error.exit_code,
            }
            row = listing.failed(one.target, recipe.name, error.what, error.exit_code)
            ended.append(Ended(row, plain, error.exit_code))
        else:
            row = listing.of(report, report.folder or Path())
            ended.append(Ended(row, report.to_dict(), shown(report).exit_code))
    return ended


def _target(pair: Pair) -> Target | DeviceError:
    """What the device is asked for; why it does not answer, to be said in its turn."""
    from jetpress.pipeline.flow.devices import target_of

    try:
        return target_of(pair.target, pair.device)
    except DeviceError as error:
        return error


def shared(recipe: Recipe, targets: Sequence[Target]) -> Recipe:
    """The recipe for all targets; says so where one of them would be pruned otherwise by itself.

    Raises:
        RecipeError: a target refuses the recipe.
    """
    from jetpress.pipeline.recipe.resolve import for_all

    common = for_all(recipe, targets)
    if common is not recipe:
        console.say(
            f"jetpress: one pruned network for {len(targets)} targets: widths in multiples of "
            f"{common.prune.channel_multiple}, which fill the hardware of each (--set prune.channel_multiple=N decides)"
        )
    return common


def worst(codes: Sequence[int]) -> int:
    """The exit code of several runs."""
    return min(codes, key=WORST.index)
