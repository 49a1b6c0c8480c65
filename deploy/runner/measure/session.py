"""One session: all engines opened in this process, warmed up, and measured in turns.

Clocks, heat and other programs change over seconds; two runs one after the other compare two moments. So the
engines take turns in short blocks, A B B A A B B A, and each round gives one pair of medians. Every block begins
with unrecorded runs, because the other engine has just emptied the caches. No recorded run is dropped.
"""

from statistics import median
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence

from ..backends import open_backend
from ..board import clocks
from ..board.identity import Board
from ..board.watch import Power, Watch
from ..engines.infer import batch_of, different_batches, fingerprint, first_batch
from ..engines.manifest import Bundle
from ..engines.stamp import engine_path, open_engines, read_stamp
from ..interface.tensors import Array, Feeds
from ..system import clock
from ..system.events import plain
from . import latencies as stats

if TYPE_CHECKING:
    from ..interface.protocols import Backend, Session

SETTLE_MS = 5.0
PAIRS = 16  # of other inputs and the same input, one after the other
WINDOW_MS, WINDOW_RUNS = 20.0, 8
SAME_OUTPUT = 1e-3  # of the largest output: kernels may add in another order, nothing more
REPEATED = 1.10  # times as long with other inputs, the whole interval above it: MLPerf's TEST04


class Subject(NamedTuple):
    """What is to be measured: all engines of a bundle, or, where it has a name, the one that the bundle is about."""

    name: str
    bundle: Bundle
    engines: str


class Terms(NamedTuple):
    """How one session is to be measured."""

    seconds: float  # of each engine at least
    runs: int  # of each engine at least
    rounds: int
    warmup_ms: float
    warmup_max_ms: float
    locked: bool
    varied: bool  # also whether other inputs take longer
    backward: bool = False  # the engines are opened, warmed up and begun with in the opposite order


class Entry(NamedTuple):
    """One engine that takes its turn."""

    session: "Session"
    backend: "Backend"
    bundle: Bundle
    feeds: Feeds
    file: str
    dla: Optional[Dict[str, object]]  # how much of it runs there, where it is for a DLA
    mapped: bool  # nothing is copied


class Block(NamedTuple):
    """One turn of an engine."""

    start: float  # Unix seconds
    stop: float
    series: Dict[str, List[float]]  # latency and its parts of each run, in ms


class WarmUp(NamedTuple):
    """How an engine was made ready."""

    ms: float
    runs: int
    steady: bool


class Observed(NamedTuple):
    """What one session saw of one engine."""

    warm_up: WarmUp
    knobs: Dict[str, object]
    batch: int
    faults: List[str]  # the measuring itself went wrong: nothing that was measured may be used
    doubts: List[str]
    varied: Optional[stats.Ratio]
    power: Optional[Power]
    blocks: List[Block]


Blocks = Dict[str, List[Block]]  # of each engine


def run(subjects: Sequence[Subject], terms: Terms) -> Dict[str, Observed]:
    """Measure in this process, and end with nothing open. What it gives survives JSON: see `read`."""
    entries = opened(subjects, terms.backward)
    board = Board()
    watch = Watch(board, clocks.held(board) if terms.locked else None)
    sessions = {name: entry.session for name, entry in entries.items()}
    reference = {name: entry.session.infer(entry.feeds) for name, entry in entries.items()}
    for entry in entries.values():
        entry.session.bind(entry.feeds)
    warm = {
        name: warm_up(session, terms.warmup_ms, terms.warmup_max_ms) for name, session in sessions.items()
    }
    with watch:
        blocks = measure(sessions, terms)
    alarms = watch.alarms([(block.start, block.stop) for part in blocks.values() for block in part])
    observed = {}
    for name, entry in entries.items():
        mine = blocks[name]
        power = watch.power(
            [(block.start, block.stop) for block in mine], count(mine) * batch_of(entry.session)
        )
        same = is_same(entry.session.outputs(), reference[name])  # before anything else runs on it
        other = varied(entry) if terms.varied else None
        observed[name] = Observed(
            warm_up=warm[name],
            knobs=knobs_of(entry, len(entries), watch.mode[0], terms.locked),
            batch=batch_of(entry.session),
            faults=_faults(same, other) + alarms,
            doubts=watch.doubts(power),
            varied=other,
            power=power,
            blocks=mine,
        )
    return observed


def _faults(same: bool, other: Optional[stats.Ratio]) -> List[str]:
    faults = [] if same else ["the timed runs gave other outputs than an untimed run"]
    if other is not None and other.interval[0] > REPEATED:
        faults.append("other inputs take %.2f times as long as one repeated input" % other.ratio)
    return faults


def as_plain(observed: Dict[str, Observed]) -> Dict[str, object]:
    """For JSON."""
    return {name: plain(one) for name, one in observed.items()}


def read(told: Any) -> Dict[str, Observed]:
    """The same back from JSON, which this runner wrote itself."""
    return {name: _read(dict(one)) for name, one in told.items()}


def _read(told: Dict[str, Any]) -> Observed:
    blocks = [Block(**one) for one in told.pop("blocks")]
    warm, other, power = (told.pop(name) for name in ("warm_up", "varied", "power"))
    return Observed(
        blocks=blocks,
        warm_up=WarmUp(**warm),
        varied=stats.Ratio(**other) if other else None,
        power=Power(**power) if power else None,
        **told,
    )


def opened(subjects: Sequence[Subject], backward: bool = False) -> Dict[str, Entry]:
    """Every engine that is to be measured, by its name."""
    entries: Dict[str, Entry] = {}
    for subject in subjects[::-1] if backward else subjects:
        every = entries_of(subject.bundle, subject.engines, backward)
        entries.update({subject.name: every[subject.bundle.chosen()]} if subject.name else every)
    return entries


def entries_of(bundle: Bundle, engines: str, backward: bool = False) -> Dict[str, Entry]:
    """Every engine of a bundle, opened, with the inputs that it is to be timed on."""
    backend, built = open_backend(bundle.plan), read_stamp(engines).engines
    return {
        name: Entry(
            session,
            backend,
            bundle,
            first_batch(bundle, session),
            engine_path(engines, built[bundle.models[name].mapped_from or name]),
            _part(built[bundle.models[name].mapped_from or name].facts, "dla"),
            bundle.models[name].mapped_from is not None,
        )
        for name, session in open_engines(bundle, engines, backend, backward).items()
    }


def _part(facts: Dict[str, object], name: str) -> Optional[Dict[str, object]]:
    part = facts.get(name)
    return part if isinstance(part, dict) else None


def varied(entry: Entry) -> stats.Ratio:
    """Whether other inputs take longer than one repeated input (MLPerf TEST04): then a cache was measured."""
    session, pairs = entry.session, []
    for feeds in different_batches(entry.bundle, session, PAIRS):
        taken = []
        for given in (feeds, entry.feeds):
            session.bind(given)
            taken.append(session.block(0.0, 2)["latency"][-1])  # the first run after a change only warms up
        pairs.append(taken)
    session.bind(entry.feeds)
    return stats.ratio([different for different, _ in pairs], [same for _, same in pairs])


def knobs_of(entry: Entry, models: int, mode: Optional[str], locked: bool) -> Dict[str, object]:
    """All that says how it was measured."""
    return dict(
        entry.backend.knobs,
        batch=batch_of(entry.session),
        backend=entry.backend.name,
        version=entry.backend.version,
        precision=entry.bundle.precision,
        interleaved=models,
        settle_ms=SETTLE_MS,
        inputs_sha256=fingerprint(entry.feeds),
        power_mode=mode,
        clocks_locked=locked,
        memory="mapped" if entry.mapped else "copied",
        dla_core=entry.dla and entry.dla.get("core"),
        dla_share=entry.dla and entry.dla.get("share"),
    )


def is_same(timed: Feeds, untimed: Feeds) -> bool:
    """Outputs sampled after the timed runs are the network's real outputs (MLPerf TEST01)."""
    for name, array in untimed.items():
        sampled, expected = timed[name].astype("float64"), array.astype("float64")
        if not _is_near(sampled, expected):
            return False
    return True


def _is_near(sampled: Array, expected: Array) -> bool:
    largest = max(float(abs(expected).max()), 1e-12)
    return bool(abs(sampled - expected).max() <= SAME_OUTPUT * largest)  # false for NaN, too


def warm_up(session: "Session", least_ms: float, most_ms: float) -> WarmUp:
    """Until three windows in a row have the same median, at least and at most so long."""
    started, medians, total = clock.seconds(), [], 0
    while True:
        latencies = session.block(WINDOW_MS, WINDOW_RUNS)["latency"]
        medians.append(median(latencies))
        total += len(latencies)
        taken, steady = 1000 * (clock.seconds() - started), stats.agree(medians)
        if taken >= most_ms or (steady and taken >= least_ms):
            return WarmUp(taken, total, steady)


def measure(sessions: Dict[str, "Session"], terms: Terms) -> Blocks:
    """Blocks of each model in the order A B B A, until each has its seconds and its runs."""
    names = sorted(sessions, reverse=terms.backward)
    blocks: Blocks = {name: [] for name in names}
    length_ms, turn = 1000.0 * terms.seconds / terms.rounds, 0

    def short(name: str) -> bool:
        return spent(blocks[name]) < terms.seconds or count(blocks[name]) < terms.runs

    while turn < terms.rounds or any(map(short, names)):
        for name in names if turn % 2 == 0 else names[::-1]:
            sessions[name].block(min(SETTLE_MS, length_ms), 1)
            start = clock.seconds()
            series = sessions[name].block(length_ms, max(terms.runs // terms.rounds, 1))
            blocks[name].append(Block(start, clock.seconds(), series))
        turn += 1
    return blocks


def spent(blocks: Sequence[Block]) -> float:
    """Seconds inside the blocks of one engine."""
    return float(sum(block.stop - block.start for block in blocks))


def count(blocks: Sequence[Block]) -> int:
    """Recorded runs of one engine."""
    return sum(len(block.series["latency"]) for block in blocks)
