"""The events of the runner as the host reads them: a record for each kind that it uses, and nothing half understood.

`deploy/runner/schema.json` describes all that a runner says; here are the fields that somebody relies on. A field that
is not needed is ignored, so that an older host understands a newer runner. One that is missing, or of another type, is
one failure that names the event. The whole object stays in ``source``, for files that keep what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from jetpress.deploy.errors import DeviceError, StageError
from jetpress.deploy.fields import Fields, Malformed, made_plain, parse

Source = Mapping[str, object]
Verdict = Literal["valid", "noisy", "invalid"]
Comparison = Literal["faster", "slower", "noise"]
Known = Literal["known", "unknown"]
VERDICTS: tuple[Verdict, ...] = ("valid", "noisy", "invalid")
COMPARISONS: tuple[Comparison, ...] = ("faster", "slower", "noise")
STATES: tuple[Known, ...] = ("known", "unknown")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,250}")


@dataclass(frozen=True)
class Progress:
    """How far a builder is."""

    model: str
    phase: str
    step: int
    steps: int


@dataclass(frozen=True)
class Built:
    """All engines of a bundle are there."""

    backend: str
    version: str
    models: Mapping[str, Source] = field(repr=False)
    """What engine.json says of each engine; what a report shows of it has the type that it should have."""


@dataclass(frozen=True)
class Output:
    """An array that the runner left in its folder for results."""

    name: str
    file: str


@dataclass(frozen=True)
class Infer:
    """The samples went through an engine."""

    model: str
    top1: float | None
    """0 to 1; None without labels."""
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Result:
    """What was measured of one engine; times in ms."""

    model: str
    verdict: Verdict
    """Of the latency by itself; a ratio is judged apart."""
    reasons: tuple[str, ...]
    median: float
    interval: tuple[float, float]
    """Of the median."""
    level: int | None
    """95: the intervals cover what differs between sessions; None: they speak of one session."""
    latencies: tuple[float, ...] = field(repr=False)
    batch: int
    knobs: Source
    source: Source = field(repr=False, compare=False)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast ``of`` is as ``against``, from blocks side by side."""

    of: str
    against: str
    ratio: float
    interval: tuple[float, float]
    level: int | None
    pairs: int
    sessions: int
    verdict: Comparison
    state: Known
    reasons: tuple[str, ...]
    """Why it is not known."""
    source: Source = field(repr=False, compare=False)


@dataclass(frozen=True)
class Machine:
    """How busy the device was before anything was measured."""

    line: str
    source: Source = field(repr=False, compare=False)


@dataclass(frozen=True)
class Profile:
    """What each layer of an engine takes, in ms."""

    model: str
    latency: float
    rounds: tuple[float, ...]
    layers: Mapping[str, float]


@dataclass(frozen=True)
class Slot:
    """A release on a board, see :mod:`jetpress.deploy.runner.release.slots`."""

    name: str
    """Of the network."""
    number: int
    state: str
    reason: str
    serves: bool
    sequence: int | None
    """None: it is not signed."""
    signer: str | None
    changed: int
    """Unix seconds."""


@dataclass(frozen=True)
class Failure:
    """Why the runner ended; ``error`` or ``skipped``."""

    what: str
    hint: str


@dataclass(frozen=True)
class Other:
    """An event that the host passes on, or does not know."""

    name: str
    source: Source = field(repr=False)


Event = Progress | Built | Infer | Result | Ratio | Machine | Profile | Slot | Failure | Other
T = TypeVar("T")
M = TypeVar("M", Infer, Result, Profile)


def read(line: str) -> Event | None:
    """The event that a line of the runner's output is; None: something else prints there.

    Raises:
        DeviceError: it has the name of an event, and not the fields.
    """
    source = parse(line)
    return (
        None if source is None or not isinstance(source.get("event"), str) else understood(made_plain(source))
    )


def understood(source: Source) -> Event:
    """The record of an event that has been parsed. Raises DeviceError like `read`."""
    fields = Fields(source)
    try:
        name = fields.text("event")
        reader = READERS.get(name)
        return Other(name, source) if reader is None else reader(fields)
    except Malformed as error:
        raise DeviceError(
            f"the runner's event {str(source.get('event'))[:40]!r} makes no sense: {error!s:.200}",
            "it is not this jetpress's runner, or another program writes into its output: see its python3",
        ) from None


def last(events: Iterable[Event], kind: type[T]) -> T:
    """The last event of a kind.

    Raises:
        StageError: there is none.
    """
    of_kind = [event for event in events if isinstance(event, kind)]
    if not of_kind:
        raise _silent(kind.__name__.lower())
    return of_kind[-1]


def by_model(events: Iterable[Event], kind: type[M], needed: Iterable[str] = ()) -> dict[str, M]:
    """The events of a kind by their model.

    Raises:
        StageError: there is none of a model that is needed.
    """
    of_kind = {event.model: event for event in events if isinstance(event, kind)}
    for model in needed:
        if model not in of_kind:
            raise _silent(f"{kind.__name__.lower()} of {model}")
    return of_kind


def _silent(what: str) -> StageError:
    return StageError(
        f"the runner ended without saying {what!r}", "run `python3 runner.pyz doctor` in the bundle"
    )


def _progress(event: Fields) -> Progress:
    return Progress(event.text("model"), event.text("phase"), event.integer("step"), event.integer("steps"))


def _built(event: Fields) -> Built:
    stamp = event.inside("stamp")
    models = stamp.each("models")
    for model in models.values():
        _check_engine(model)
    return Built(
        stamp.text("backend"),
        stamp.text("version"),
        {name: model.values for name, model in models.items()},
    )


def _check_engine(engine: Fields) -> None:
    """What a report shows of an engine."""
    engine.integer("size")
    engine.number("build_seconds")
    engine.flag("sparse")
    engine.texts("flags")
    if not engine.is_null("sparse_layers"):
        engine.integer("sparse_layers")
    if "warnings" in engine.values:
        engine.texts("warnings")
    if engine.is_null("findings"):
        return
    findings = engine.inside("findings")
    for count in ("skipped_tactics", "skipped_for_memory", "int64_casts", "dla_fallback"):
        findings.integer(count)
    findings.texts("lines")
    if not findings.is_null("sparsity"):
        sparsity = findings.inside("sparsity")
        for kind in ("eligible", "chosen"):
            sparsity.integer(kind)
            sparsity.texts(f"{kind}_layers")


def _infer(event: Fields) -> Infer:
    outputs = tuple(Output(each.text("name"), _file(each)) for each in event.objects("outputs"))
    return Infer(event.text("model"), None if event.is_null("top1") else event.number("top1"), outputs)


def _file(output: Fields) -> str:
    """A name, and no path: the file is looked for in our folder."""
    name = output.text("file")
    if not _FILE.fullmatch(name):
        raise Malformed(f"{output.path}file is no file name: {name!r:.60}")
    return name


def _result(event: Fields) -> Result:
    knobs = event.inside("knobs")
    return Result(
        model=event.text("model"),
        verdict=event.choice("verdict", VERDICTS),
        reasons=event.texts("reasons"),
        median=event.inside("latency").positive("median"),
        interval=event.interval("interval"),
        level=_level(event),
        latencies=event.inside("raw").times("latency"),
        batch=knobs.count("batch"),
        knobs=knobs.values,
        source=event.values,
    )


def _ratio(event: Fields) -> Ratio:
    return Ratio(
        of=event.text("of"),
        against=event.text("against"),
        ratio=event.positive("ratio"),
        interval=event.interval("interval"),
        level=_level(event),
        pairs=event.integer("pairs"),
        sessions=event.count("sessions"),
        verdict=event.choice("verdict", COMPARISONS),
        state=event.choice("state", STATES),
        reasons=event.texts("reasons"),
        source=event.values,
    )


def _level(event: Fields) -> int | None:
    return None if event.is_null("level") else event.count("level")


def _machine(event: Fields) -> Machine:
    return Machine(event.text("line"), event.values)


def _profile(event: Fields) -> Profile:
    return Profile(
        model=event.text("model"),
        latency=event.positive("latency_ms"),
        rounds=event.times("rounds_ms"),
        layers=event.named("layers"),
    )


def _slot(event: Fields) -> Slot:
    return Slot(
        name=event.text("name"),
        number=event.count("number"),
        state=event.text("state"),
        reason=event.text("reason"),
        serves=event.flag("serves"),
        sequence=None if event.is_null("sequence") else event.integer("sequence"),
        signer=None if event.is_null("signer") else event.text("signer"),
        changed=event.integer("changed"),
    )


def _failure(event: Fields) -> Failure:
    return Failure(event.text("what"), event.text("hint"))


READERS: Mapping[str, Callable[[Fields], Event]] = {
    "progress": _progress,
    "built": _built,
    "infer": _infer,
    "result": _result,
    "ratio": _ratio,
    "machine": _machine,
    "profile": _profile,
    "slot": _slot,
    "error": _failure,
    "skipped": _failure,
}
