"""bench: all models of a bundle in one session, interleaved, so that their ratio can be trusted.

Clocks, heat and other programs change over seconds; two runs one after the other compare two moments. So the
models take turns in short blocks, A B B A A B B A, and each round gives one pair of medians. Every block
begins with unrecorded runs, because the other model has just emptied the caches. No recorded run is dropped.
"""

from statistics import median
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Tuple

from . import clock, clocks, concurrent, results, trtexec
from . import latencies as stats
from .backends import open_backend
from .engines import engine_path, open_engines, read_stamp
from .events import emit, tell
from .failures import BenchmarkInvalid, BundleError
from .identity import Board
from .infer import different_batches, fingerprint, first_batch
from .manifest import Bundle
from .results import RUNS, SECONDS, Block, Blocks, Measured, WarmUp, count, spent
from .tensors import Feeds
from .watch import Watch

if TYPE_CHECKING:
    from .interface import Backend, Session

ROUNDS = (
    16  # blocks an engine at least: enough pairs for an interval, and each long enough to be steady inside
)
SETTLE_MS = 5.0
PAIRS = 16  # of other inputs and the same input, one after the other
WINDOW_MS, WINDOW_RUNS = 20.0, 8
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

    seconds: float
    runs: int
    lock_clocks: bool = False
    against: str = ""
    concurrent: bool = False
    warmup_ms: float = WARMUP_MS
    warmup_max_ms: float = WARMUP_MAX_MS


class Entry(NamedTuple):
    """One engine that takes its turn."""

    session: "Session"
    backend: "Backend"
    bundle: Bundle
    feeds: Feeds
    file: str


def run(bundle: Bundle, engines: str, out: str, asked: Asked) -> None:
    """Measure the models of a bundle, judge, print one `result` each and one `ratio`.

    Raises BenchmarkInvalid when a result is invalid.
    """
    with clocks.locked(Board(), asked.lock_clocks) as locked:
        entries = entries_of(bundle, engines)
        pairs = [("compressed", "dense")]
        pairs += [(model.twin_of, name) for name, model in bundle.models.items() if model.twin_of]
        pairs += [(name, model.placed_from) for name, model in bundle.models.items() if model.placed_from]
        measured(entries, asked, locked, out, [pair for pair in pairs if pair[0] != pair[1]])


def compare(
    first: Bundle, first_engines: str, second: Bundle, second_engines: str, out: str, asked: Asked
) -> None:
    """One engine of each of two bundles, side by side. Refused when their knobs differ: the list says which."""
    with clocks.locked(Board(), asked.lock_clocks) as locked:
        entries = {
            name: entries_of(bundle, engines)[_chosen(bundle)]
            for name, bundle, engines in (("A", first, first_engines), ("B", second, second_engines))
        }
        rulers = {name: _knobs(entry, 2, None, locked) for name, entry in entries.items()}
        differing = [
            "%s: %s and %s" % (key, rulers["A"][key], rulers["B"][key])
            for key in RULER
            if rulers["A"][key] != rulers["B"][key]
        ]
        if differing:
            raise BenchmarkInvalid(
                "the two are not measured alike: " + "; ".join(differing), "make both with the same knobs"
            )
        measured(entries, asked, locked, out, [("B", "A")])


def _chosen(bundle: Bundle) -> str:
    """The model that a bundle is about."""
    return "compressed" if "compressed" in bundle.models else sorted(bundle.models)[0]


def entries_of(bundle: Bundle, engines: str) -> Dict[str, Entry]:
    """Every engine of a bundle, opened, with the inputs that it is to be timed on."""
    backend, built = open_backend(bundle.plan), read_stamp(engines).engines
    return {
        name: Entry(session, backend, bundle, first_batch(bundle, session), engine_path(engines, built[name]))
        for name, session in open_engines(bundle, engines, backend).items()
    }


def measured(
    entries: Dict[str, Entry], asked: Asked, locked: bool, out: str, pairs: List[Tuple[str, str]]
) -> None:
    """Warm up, measure in turns, and say what came out; `pairs` are to be compared."""
    board = Board()
    watch = Watch(board, clocks.held(board) if locked else None)
    sessions = {name: entry.session for name, entry in entries.items()}
    reference = {name: entry.session.infer(entry.feeds) for name, entry in entries.items()}
    for entry in entries.values():
        entry.session.bind(entry.feeds)
    warm = {
        name: warm_up(session, asked.warmup_ms, asked.warmup_max_ms) for name, session in sessions.items()
    }
    with watch:
        blocks = measure(sessions, asked.seconds, asked.runs)
    events: List[Dict[str, object]] = []
    for name, entry in entries.items():
        same = results.is_same(entry.session.outputs(), reference[name])
        knobs, batch = _knobs(entry, len(entries), watch.mode[0], locked), entry.session.inputs[0].shape[0]
        judged = results.result(name, blocks, Measured(warm[name], knobs, batch, same, varied(entry)), watch)
        events.append(
            emit("result", asked={"seconds": asked.seconds, "runs": asked.runs}, **judged._asdict())
        )
        tell("%s: %s" % (name, results.in_words(judged)))
        if asked.against == "trtexec":
            trtexec.compare(name, entry.session, entry.file, entry.bundle.inputs, knobs, asked.seconds)
    if asked.concurrent:
        events.append(_together(entries, asked.seconds))
    results.publish(events, [results.ratio(blocks, of, against) for of, against in pairs], out)


def varied(entry: Entry) -> stats.Ratio:
    """Whether other inputs take longer than one repeated input (MLPerf TEST04): then a cache was measured."""
    session, pairs = entry.session, []
    for feeds in different_batches(entry.bundle, session, PAIRS):
        taken = []
        for chosen in (feeds, entry.feeds):
            session.bind(chosen)
            taken.append(session.block(0.0, 2)["latency"][-1])  # the first run after a change only warms up
        pairs.append(taken)
    session.bind(entry.feeds)
    return stats.ratio([different for different, _ in pairs], [same for _, same in pairs])


def _together(entries: Dict[str, Entry], seconds: float) -> Dict[str, object]:
    """The chosen model on all its places at once."""
    bundle = next(iter(entries.values())).bundle
    model = _chosen(bundle)
    placed = [name for name, placed in bundle.models.items() if (placed.placed_from or name) == model]
    if len(placed) < 2:
        raise BundleError("--concurrent needs more than one place", "for example --places gpu,dla0,dla1")
    together = concurrent.run({name: entries[name].session for name in placed}, seconds)
    tell("%s at once: %.5g/s" % (" and ".join(sorted(placed)), together.throughput_per_s))
    return emit("concurrent", **together._asdict())


def _knobs(entry: Entry, models: int, mode: Optional[str], locked: bool) -> Dict[str, object]:
    """All that says how it was measured."""
    return dict(
        entry.backend.knobs,
        batch=entry.session.inputs[0].shape[0],
        backend=entry.backend.name,
        version=entry.backend.version,
        precision=entry.bundle.precision,
        interleaved=models,
        settle_ms=SETTLE_MS,
        inputs_sha256=fingerprint(entry.feeds),
        power_mode=mode,
        clocks_locked=locked,
    )


def _number(bundle: Bundle, key: str, default: float) -> float:
    value = bundle.part("benchmark").get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400000:
        raise BundleError("plan.json: benchmark.%s must be a number" % key)
    return float(value)


def asked(
    bundle: Bundle,
    seconds: Optional[float] = None,
    runs: Optional[int] = None,
    lock: bool = False,
    against: str = "",
    concurrent: bool = False,
) -> Asked:
    """How long, how many and with what: the command line, else the plan, else 3 s and 64 runs."""
    return Asked(
        seconds=_number(bundle, "seconds", SECONDS) if seconds is None else float(seconds),
        runs=int(_number(bundle, "runs", RUNS)) if runs is None else int(runs),
        lock_clocks=lock or bundle.part("benchmark").get("lock_clocks") is True,
        against=against,
        concurrent=concurrent,
        warmup_ms=_number(bundle, "warmup_ms", WARMUP_MS),
        warmup_max_ms=_number(bundle, "warmup_max_ms", WARMUP_MAX_MS),
    )


def warm_up(session: "Session", least_ms: float, most_ms: float) -> WarmUp:
    """Until three windows in a row have the same median, at least 200 ms and at most 60 s."""
    started, medians, total = clock.seconds(), [], 0
    while True:
        latencies = session.block(WINDOW_MS, WINDOW_RUNS)["latency"]
        medians.append(median(latencies))
        total += len(latencies)
        taken, steady = 1000 * (clock.seconds() - started), stats.agree(medians)
        if taken >= most_ms or (steady and taken >= least_ms):
            tell("warm after %.0f ms" % taken)
            return WarmUp(taken, total, steady)


def measure(sessions: Dict[str, "Session"], seconds: float, runs: int) -> Blocks:
    """Blocks of each model in the order A B B A, until each has its seconds and its runs."""
    names = sorted(sessions)
    blocks: Blocks = {name: [] for name in names}
    length_ms, turn = 1000.0 * seconds / ROUNDS, 0
    while turn < ROUNDS or any(spent(blocks[name]) < seconds or count(blocks[name]) < runs for name in names):
        for name in names if turn % 2 == 0 else names[::-1]:
            sessions[name].block(min(SETTLE_MS, length_ms), 1)
            start = clock.seconds()
            series = sessions[name].block(length_ms, max(runs // ROUNDS, 1))
            blocks[name].append(Block(start, clock.seconds(), series))
        turn += 1
    return blocks
