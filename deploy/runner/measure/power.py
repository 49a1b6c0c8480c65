"""bench --power-modes: what each power mode of the board gives and takes, and which one to choose for a budget.

The engine is the one that was built: a product ships one, and its mode is chosen for it. (Engines that are built anew
in each mode may be a little faster there.) Modes that were measured are kept in power.json: where the board had to
restart for one of them, the same command goes on.
"""

import os
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..board import clocks, power_modes
from ..board.identity import Board
from ..board.power_modes import Mode
from ..engines.manifest import Bundle
from ..system import processes
from ..system.events import emit, plain, tell
from ..system.failures import BenchmarkInvalid, BundleError
from ..system.files import make_folder, read_json, write, write_json
from . import latencies, power_plot, session
from .bench import Asked, words_of
from .power_plot import Point
from .session import Subject, count, spent

SETTLE_S = 3.0  # after a change of mode, before anything is measured
FILE, PLOT = "power.json", "power.svg"


class Limits(NamedTuple):
    """The budget."""

    watts: Optional[float]
    millijoules: Optional[float]


class Terms(NamedTuple):
    """What is asked for."""

    modes: str
    may_reboot: bool
    limits: Limits
    video: Sequence[str] = ()  # words of `bench --video`; empty: the engine alone


def run(bundle: Bundle, engines: str, out: str, asked: Asked, terms: Terms) -> None:
    """A `power_mode` event for each, then `power`, which chooses.

    Raises BenchmarkInvalid where no mode could be measured, or none is within the budget.
    """
    if terms.may_reboot and not out:
        raise BundleError(
            "--allow-reboot needs --out", "what was measured before the board restarts is kept there"
        )
    board = Board()
    wanted = power_modes.chosen(board, terms.modes)
    events = _earlier(out) if terms.may_reboot else []
    with power_modes.kept(board, terms.may_reboot) as before:
        for mode in wanted:
            if mode.name not in {event["name"] for event in events}:
                events.append(_of_mode(board, mode, bundle, engines, asked, terms))
                if out:
                    write_json(os.path.join(make_folder(out), FILE), events)
        told, limits = choice(events, terms.limits), terms.limits
        if out:  # before the mode of before comes back: the board may have to restart for it
            write(os.path.join(out, PLOT), power_plot.svg(measured(events), limits.watts).encode("utf-8"))
    after = board.power_mode()
    emit("power", before=before.name, after=after, **limits._asdict(), **told)
    tell("power: %s; the board is in %s again" % (told["why"], after))
    if told["mode"] is None:
        raise BenchmarkInvalid(str(told["why"]), "allow more watts, or a faster network")


def _earlier(out: str) -> List[Dict[str, Any]]:
    """What was measured before the board restarted; a finished run is done again."""
    path = os.path.join(out, FILE)
    if not os.path.exists(path) or os.path.exists(os.path.join(out, PLOT)):
        return []
    known = read_json(path)
    events = known if isinstance(known, list) else []
    if events:
        tell("%d power modes were measured before: they are not measured again" % len(events))
    return events


def _of_mode(
    board: Board, mode: Mode, bundle: Bundle, engines: str, asked: Asked, terms: Terms
) -> Dict[str, Any]:
    tell("power mode %d, %s ..." % mode)
    try:
        power_modes.enter(board, mode, terms.may_reboot)
    except power_modes.Refused as refused:
        tell("  %s: %s" % (mode.name, refused))
        return emit("power_mode", id=mode.id, name=mode.name, reason=str(refused), engines={}, video=None)
    time.sleep(SETTLE_S)
    with clocks.locked(board, asked.lock_clocks) as locked:
        asked_once = asked._replace(sessions=1)
        words = words_of([Subject("", bundle, engines)], asked_once.terms(len(bundle.models), locked, 1), ())
        seen = session.read(processes.run(words + ["--any-power-mode"])["engines"])
        video = _of_video(terms.video)
    found = {name: _of_engine(one) for name, one in seen.items()}
    told = emit("power_mode", id=mode.id, name=mode.name, reason="", engines=found, video=video)
    for name, one in found.items():
        tell("  %s" % in_words(name, one))
    return told


def _of_engine(one: session.Observed) -> Dict[str, Any]:
    """Throughput and power in this mode, and what speaks against believing them."""
    times = [value for block in one.blocks for value in block.series["latency"]]
    return {
        "frames_per_s": one.batch * count(one.blocks) / spent(one.blocks),
        "median_ms": latencies.percentiles(times).get("p50", times[len(times) // 2]),
        "power": one.power,
        "faults": one.faults + one.doubts,
    }


def _of_video(words: Sequence[str]) -> Optional[Dict[str, Any]]:
    """The application in this mode, its stages side by side, with the chosen network."""
    if not words:
        return None
    told = processes.run(list(words) + ["--any-power-mode", "--only-chosen"])
    return {name: told[name] for name in ("frames_per_s", "dropped", "power")}


def in_words(name: str, one: Dict[str, Any]) -> str:
    """One engine in one mode."""
    words = "%s: %.4g frames/s, median %.4g ms" % (name, one["frames_per_s"], one["median_ms"])
    power = plain(one["power"])
    if isinstance(power, dict):
        words += ", %.2f W, %.3g mJ a frame" % (power["watts"], power["millijoules_per_inference"])
        if power["hottest_celsius"] is not None:
            words += ", %.1f C" % power["hottest_celsius"]
    return words + (" (%s)" % "; ".join(one["faults"]) if one["faults"] else "")


def measured(events: Sequence[Mapping[str, Any]]) -> List[Point]:
    """Of the modes that could be measured: the application where there is a video, else the engine alone."""
    points = []
    for event in events:
        if event["engines"]:
            name = "compressed" if "compressed" in event["engines"] else sorted(event["engines"])[0]
            one = event["video"] or event["engines"][name]
            power = one["power"] or {}
            watts, each = power.get("watts"), power.get("millijoules_per_inference")
            points.append(
                Point(event["name"], one["frames_per_s"], watts, each, power.get("hottest_celsius"))
            )
    return points


def choice(events: Sequence[Mapping[str, Any]], limits: Limits) -> Dict[str, Any]:
    """The fastest mode within the budget, and the one that takes least for a frame."""
    points = measured(events)
    if not points:
        return {"mode": None, "frugal": None, "why": "no power mode could be measured"}
    within = [one for one in points if _meets(one, limits)]
    thrifty = [one for one in points if one.millijoules is not None]
    frugal = min(thrifty, key=lambda one: one.millijoules or 0.0).name if thrifty else None
    words = ["%g W" % limits.watts] if limits.watts else []
    words += ["%g mJ a frame" % limits.millijoules] if limits.millijoules else []
    of = " of those within %s" % " and ".join(words) if words else ""
    if not within:
        return {"mode": None, "frugal": frugal, "why": "no power mode is within %s" % " and ".join(words)}
    best = max(within, key=lambda one: one.frames_per_s)
    why = "%s is the fastest%s: %.4g frames/s" % (best.name, of, best.frames_per_s)
    if best.watts is not None:
        why += " at %.2f W" % best.watts
    return {
        "mode": best.name,
        "frugal": frugal,
        "why": why + (", least a frame: %s" % frugal if frugal else ""),
    }


def _meets(one: Point, limits: Limits) -> bool:
    """A budget is met by what was measured, not by what is not known."""
    return all(
        limit is None or (found is not None and found <= limit)
        for found, limit in ((one.watts, limits.watts), (one.millijoules, limits.millijoules))
    )
