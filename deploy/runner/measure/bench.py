"""bench: how long the engines of a bundle take and how many times as fast one is as another, so that it can be trusted.

Sessions (see `session`) are repeated in fresh processes until the ratios are known well enough, or the time is up; all
of them count, none is thrown away. See `intervals` for the rule and `results` for the verdicts.
"""

from math import ceil
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..board import clocks, machine
from ..board.identity import Board
from ..engines.manifest import Bundle
from ..system import clock, processes
from ..system.events import emit, tell
from ..system.failures import BenchmarkInvalid, BundleError
from . import concurrent, intervals, results, session, trtexec
from .results import RUNS, SECONDS
from .session import Observed, Subject, Terms

ROUNDS = 16  # blocks an engine at least, where there is one session: enough pairs for an interval
SESSION_ROUNDS = 8  # where there are several, each gives one number
MAX_SECONDS = 60.0
WARMUP_MS, WARMUP_MAX_MS = 200.0, 60000.0
# Two measurements that differ in one of these say nothing about their engines.
RULER = (
    "backend",
    "version",
    "threads",
    "batch",
    "transfers",
    "spin_wait",
    "cuda_graph",
    "overlap",
    "streams",
    "power_mode",
    "clocks_locked",
)


class Asked(NamedTuple):
    """How it is to be measured."""

    seconds: float  # of each engine at least, in all sessions together
    runs: int
    sessions: Optional[int] = None  # exactly so many; None: until it is known
    max_seconds: float = MAX_SECONDS  # from the first session on
    lock_clocks: bool = False
    against: str = ""
    concurrent: bool = False
    warmup_ms: float = WARMUP_MS
    warmup_max_ms: float = WARMUP_MAX_MS

    def terms(self, engines: int, locked: bool, number: int) -> Terms:
        """Of each session its share; half of the time at most is spent on warming up.

        Every other session goes backward: what hangs on which engine comes first then differs between sessions,
        and is in the interval instead of in the ratio.
        """
        sessions = self.sessions or intervals.LEAST_SESSIONS
        most = min(self.warmup_max_ms, 1000 * self.max_seconds) / (
            1 if sessions == 1 else 2 * sessions * engines
        )
        return Terms(
            seconds=self.seconds / sessions,
            runs=int(ceil(self.runs / float(sessions))),
            rounds=ROUNDS if sessions == 1 else SESSION_ROUNDS,
            warmup_ms=self.warmup_ms,
            warmup_max_ms=max(most, min(self.warmup_ms, self.warmup_max_ms)),
            locked=locked,
            varied=number == 0,
            backward=number % 2 == 1,
        )


Pair = Tuple[str, str]  # names of two engines: how many times as fast the first one is


def run(bundle: Bundle, engines: str, out: str, asked: Asked, places: Sequence[str] = ()) -> None:
    """Measure the models of a bundle, judge, print one `result` each and one `ratio` a pair.

    Raises BenchmarkInvalid where the numbers do not tell what was asked; they are all said and written before.
    """
    bundle.also_mapped()
    pairs = [("compressed", "dense")]
    pairs += [(model.twin_of, name) for name, model in bundle.models.items() if model.twin_of]
    pairs += [(name, model.placed_from) for name, model in bundle.models.items() if model.placed_from]
    pairs += [(name, model.mapped_from) for name, model in bundle.models.items() if model.mapped_from]
    of_bundle = [(of, to) for of, to in pairs if of != to and {of, to} <= set(bundle.models)]
    _measured([Subject("", bundle, engines)], sorted(bundle.models), of_bundle, asked, out, places)


def compare(subjects: Sequence[Subject], out: str, asked: Asked) -> None:
    """One engine of each of several bundles, side by side, each against the first.

    Raises BenchmarkInvalid when their knobs differ (the list says which), and like `run`.
    """
    names = [subject.name for subject in subjects]
    _measured(subjects, names, [(name, names[0]) for name in names[1:]], asked, out, ())


def _measured(
    subjects: Sequence[Subject],
    names: Sequence[str],
    pairs: Sequence[Pair],
    asked: Asked,
    out: str,
    places: Sequence[str],
) -> None:
    board = Board()
    before = machine.look(board)
    events = [emit("machine", is_busy=before.is_busy(), line=before.in_words(), **before._asdict())]
    tell("machine: %s" % before.in_words())
    with machine.measuring() as others, clocks.locked(board, asked.lock_clocks) as locked:
        beside: List[str] = []

        def look_around() -> None:
            if others() and not beside:
                beside.append("another benchmark ran on this machine at the same time")
                tell("warning: another benchmark runs on this machine now: both disturb each other")

        def begin(number: int) -> Dict[str, Observed]:
            look_around()
            terms = asked.terms(len(names), locked, number)
            if asked.sessions == 1:  # it needs no other process to be a fresh one
                return session.read(session.as_plain(session.run(subjects, terms)))
            return session.read(processes.run(_words(subjects, terms, places))["engines"])

        sessions = _sessions(begin, pairs, asked)
        look_around()
        remedy = machine.remedy(before, clocks.held(board) is not None)
        disturbed = beside + (
            ["the machine was busy before: %s" % before.in_words()] if before.is_busy() else []
        )
        found = [results.result(name, sessions, disturbed, remedy) for name in names]
        for one in found:
            wanted = {"seconds": asked.seconds, "runs": asked.runs}
            events.append(emit("result", asked=wanted, **one._asdict()))
            tell("%s: %s" % (one.model, results.in_words(one)))
        if asked.against or asked.concurrent:
            events += _beside(session.opened(subjects), asked, locked)
    faults = {one.model: one.faults for one in found}
    ratios = [emit("ratio", **results.ratio(sessions, of, to, _both(faults, of, to))) for of, to in pairs]
    results.publish(found, ratios, events + ratios, out)


def _both(faults: Dict[str, List[str]], of: str, to: str) -> List[str]:
    """What went wrong with either of them, once."""
    return faults[of] + [fault for fault in faults[to] if fault not in faults[of]]


def _sessions(
    begin: Callable[[int], Dict[str, Observed]], pairs: Sequence[Pair], asked: Asked
) -> List[Dict[str, Observed]]:
    """One after the other, until the ratios are known well enough or the time is up."""
    sessions: List[Dict[str, Observed]] = []
    ratios: List[List[intervals.Pairs]] = [[] for _ in pairs]
    rule, started = intervals.Rule(asked.sessions, asked.max_seconds), clock.seconds()
    while not rule.is_over(ratios, len(sessions), clock.seconds() - started):
        sessions.append(begin(len(sessions)))
        _refuse_unlike(sessions[0])  # said at once, not after the last session
        for (of, to), ratio in zip(pairs, ratios):  # noqa: B905 - Python 3.6
            ratio.append(results.pairs_of(sessions[-1], of, to))
        said = [
            "%s against %s %.3f times" % (of, to, intervals.session_ratio(ratio[-1]))
            for (of, to), ratio in zip(pairs, ratios)  # noqa: B905 - Python 3.6
        ]
        tell("session %d: %s" % (len(sessions), ", ".join(said) or "measured"))
    return sessions


def _words(subjects: Sequence[Subject], terms: Terms, places: Sequence[str]) -> List[str]:
    """The command line of one session."""
    words = ["session"]
    for subject in subjects:
        words += ["--subject", subject.name, subject.bundle.root, subject.engines]
    for name, value in terms._asdict().items():
        words += ["--%s" % name.replace("_", "-"), str(int(value) if isinstance(value, bool) else value)]
    return words + (["--places", ",".join(places)] if places else [])


def _refuse_unlike(engines: Dict[str, Observed]) -> None:
    """Engines that were not measured alike are not compared."""
    names = sorted(engines)
    first = engines[names[0]].knobs
    for name in names[1:]:
        other = engines[name].knobs
        unlike = [
            "%s: %s and %s" % (key, first[key], other[key]) for key in RULER if first[key] != other[key]
        ]
        if unlike:
            raise BenchmarkInvalid(
                "%s and %s are not measured alike: %s" % (names[0], name, "; ".join(unlike)),
                "make both with the same knobs",
            )


def _beside(entries: Dict[str, session.Entry], asked: Asked, locked: bool) -> List[Dict[str, object]]:
    """What is asked for beside the sessions: trtexec in turns with ours, all places at once."""
    for name, entry in entries.items():
        entry.session.bind(entry.feeds)
        if asked.against == "trtexec" and not entry.mapped:  # which copies
            knobs = session.knobs_of(entry, len(entries), None, locked)
            core = _core(entry, name)
            trtexec.compare(name, entry.session, entry.file, entry.bundle.inputs, knobs, asked.seconds, core)
    return [_at_once(entries, asked.seconds)] if asked.concurrent else []


def _core(entry: session.Entry, name: str) -> Optional[int]:
    """The core of the DLA that an engine is for; engines that are compared have letters for names."""
    models = entry.bundle.models
    return (models.get(name) or models[entry.bundle.chosen()]).dla_core


def _at_once(entries: Dict[str, session.Entry], seconds: float) -> Dict[str, object]:
    """The chosen model on all its places at once."""
    bundle = next(iter(entries.values())).bundle
    model = bundle.chosen()
    placed = [name for name, placed in bundle.models.items() if (placed.placed_from or name) == model]
    if len(placed) < 2:
        raise BundleError("--concurrent needs more than one place", "for example --places gpu,dla0,dla1")
    together = concurrent.run({name: entries[name].session for name in placed}, seconds)
    tell("%s at once: %.5g/s" % (" and ".join(sorted(placed)), together.throughput_per_s))
    return emit("concurrent", **together._asdict())


def _number(bundle: Bundle, key: str, default: float) -> float:
    value = bundle.part("benchmark").get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400000:
        raise BundleError("plan.json: benchmark.%s must be a number" % key)
    return float(value)


def asked(
    bundle: Bundle,
    seconds: Optional[float] = None,
    runs: Optional[int] = None,
    sessions: Optional[int] = None,
    max_seconds: Optional[float] = None,
    lock: bool = False,
    against: str = "",
    concurrent: bool = False,
) -> Asked:
    """How long, how many and with what: the command line, else the plan, else 3 s and 64 runs."""
    if sessions is None and bundle.part("benchmark").get("sessions") is not None:
        sessions = max(int(_number(bundle, "sessions", 1)), 1)
    return Asked(
        seconds=_number(bundle, "seconds", SECONDS) if seconds is None else float(seconds),
        runs=int(_number(bundle, "runs", RUNS)) if runs is None else int(runs),
        sessions=sessions,
        max_seconds=_number(bundle, "max_seconds", MAX_SECONDS)
        if max_seconds is None
        else float(max_seconds),
        lock_clocks=lock or bundle.part("benchmark").get("lock_clocks") is True,
        against=against,
        concurrent=concurrent,
        warmup_ms=_number(bundle, "warmup_ms", WARMUP_MS),
        warmup_max_ms=_number(bundle, "warmup_max_ms", WARMUP_MAX_MS),
    )
