"""A release on many devices: one first, then a tenth, then the rest; it ends where too many have failed.

No more devices are at work at any moment than may still fail, so the budget is never exceeded. What became of each is
written down before the next one begins: the same command goes on where it ended, and tries those again that failed.
"""

from __future__ import annotations

import json
import os
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from jetpress.deploy import console
from jetpress.deploy.device.ssh import parse as parse_name
from jetpress.deploy.errors import DeviceError, JetpressError, RecipeError
from jetpress.deploy.fields import Fields, Malformed, parse

CANARIES = 1
TENTH = 10
AT_ONCE = 8
State = Literal["good", "failed", "begun", "untried"]
STATES: tuple[State, ...] = ("good", "failed", "begun", "untried")
Deploy = Callable[[str], str]
"""Brings the release to the device of this name and returns what is to be said of it; raises JetpressError."""


@dataclass(frozen=True)
class Outcome:
    """What became of one device."""

    device: str
    state: State
    said: str = ""
    """The slot, or why it failed."""
    exit_code: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Fleet:
    """What became of all of them."""

    outcomes: tuple[Outcome, ...]
    """In the order of the list of devices."""
    stopped: str
    """Why the rest was not begun; empty: nothing was left out."""

    def count(self, state: State) -> int:
        """How many ended so."""
        return sum(one.state == state for one in self.outcomes)


class Journal:
    """One line of JSON for each change, on the disk before anything goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def read(self) -> dict[str, Outcome]:
        """The last word on each device. A line that was cut by a power failure is the last one, and left out."""
        known = dict[str, Outcome]()
        try:
            lines = self.path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return known
        for line in lines:
            fields = Fields(parse(line) or {})
            try:
                one = Outcome(
                    fields.text("device"),
                    fields.choice("state", STATES),
                    fields.text("said"),
                    fields.integer("exit_code"),
                    fields.number("seconds"),
                )
            except Malformed:
                continue
            known[one.device] = one
        return known

    def write(self, outcome: Outcome) -> None:
        """Add a line."""
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                cut = file.tell() and not self._ends_whole()
                file.write(b"\n" * bool(cut) + json.dumps(asdict(outcome)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def devices(path: Path) -> tuple[str, ...]:
    """The names in a file of TOML: ``devices = ["user@host", "user@other:2222"]``.

    Raises:
        RecipeError: it is no such file, or a name is given twice.
        DeviceError: a name cannot be a device.
    """
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path} cannot be read: {error!s:.200}", EXAMPLE) from None
    names = told.get("devices")
    if set(told) != {"devices"} or not isinstance(names, list) or not names:
        raise RecipeError(f"{path} must hold one list, devices", EXAMPLE)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise RecipeError(f"{path}: each device is one text, once", EXAMPLE)
    for name in names:
        if name != "local":
            parse_name(name)
    return tuple(names)


EXAMPLE = 'write: devices = ["user@host", "user@other:2222"]'


def waves(names: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """One device, a tenth of them, the rest."""
    tenth = max(1, -(-len(names) // TENTH))
    first, second = min(CANARIES, len(names)), min(CANARIES + tenth, len(names))
    parts = [("canary", names[:first]), ("10 %", names[first:second]), ("rest", names[second:])]
    return [(title, part) for title, part in parts if part]


def roll_out(
    names: Sequence[str], act: Deploy, journal: Journal, max_failures: int, at_once: int = AT_ONCE
) -> Fleet:
    """Deploy wave by wave. A wave begins when the one before it has ended, and had a device that is good.

    Args:
        names: all devices, the canary first.
        act: for one device.
        journal: of an earlier call, too: devices that are good are not touched again.
        max_failures: so many devices may fail; with the last of them it ends.
        at_once: devices at a time, at most.

    Raises:
        RecipeError: the numbers make no sense.
    """
    if max_failures < 1 or at_once < 1:
        raise RecipeError(
            "--max-failures and --at-once must be 1 or more", "2 and 8 are what they are by default"
        )
    known = {name: one for name, one in journal.read().items() if one.state == "good" and name in names}
    outcomes = dict[str, Outcome](known)
    failed, stopped = 0, ""
    if known:
        console.say(f"{len(known)} of {len(names)} devices have this release already")
    with ThreadPoolExecutor(at_once) as pool:
        for title, wave in waves(names):
            todo = [name for name in wave if name not in outcomes]
            if todo:
                console.say(f"{title}: {len(todo)} devices")
            for one in _wave(todo, act, journal, pool, max_failures - failed, at_once):
                outcomes[one.device] = one
                failed += one.state == "failed"
                _say(one, len(outcomes), len(names))
            if failed >= max_failures:
                stopped = f"{failed} devices failed, and {max_failures} may (--max-failures)"
                break
            if not any(outcomes[name].state == "good" for name in wave):
                stopped = f"no device of the wave {title!r} is good"
                break
    left = tuple(outcomes.get(name, Outcome(name, "untried")) for name in names)
    return Fleet(left, stopped if any(one.state == "untried" for one in left) or failed else "")


def _wave(
    todo: Sequence[str], act: Deploy, journal: Journal, pool: ThreadPoolExecutor, budget: int, at_once: int
) -> Iterable[Outcome]:
    """The outcomes as they come; no device is begun while those at work could spend the budget."""
    waiting, running, failed = list(todo), set[Future[Outcome]](), 0
    while waiting or running:
        while waiting and len(running) < min(at_once, budget - failed):
            running.add(pool.submit(_one, waiting.pop(0), act, journal))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            outcome = future.result()
            failed += outcome.state == "failed"
            yield outcome


def _one(name: str, act: Deploy, journal: Journal) -> Outcome:
    started = time.monotonic()
    journal.write(Outcome(name, "begun"))
    try:
        outcome = Outcome(name, "good", act(name))
    except JetpressError as error:
        outcome = Outcome(name, "failed", error.what, error.exit_code)
    except OSError as error:
        outcome = Outcome(name, "failed", str(error), DeviceError.exit_code)
    outcome = replace(outcome, seconds=round(time.monotonic() - started, 2))
    journal.write(outcome)
    return outcome


def _say(one: Outcome, done: int, of: int) -> None:
    console.say(
        f"  [{done}/{of}] {one.device}: {one.state}{f', {one.said}' if one.said else ''} ({one.seconds:.1f} s)"
    )


def table(fleet: Fleet) -> list[str]:
    """What became of each, for people; those that failed alike are one line."""
    groups = dict[tuple[State, str], list[str]]()
    for one in fleet.outcomes:
        why = (
            one.said.replace(f" on {one.device}", "").replace(f"{one.device}: ", "").replace(one.device, "it")
        )
        groups.setdefault((one.state, why if one.state == "failed" else ""), []).append(one.device)
    lines = [f"{'state':<8} {'devices':>7}  which, why"]
    for (state, said), names in groups.items():
        which = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"{state:<8} {len(names):>7}  {which}{f': {said}' if said else ''}")
    return lines
