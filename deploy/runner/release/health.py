"""health: does the engine of a bundle do here what was promised of it?

`promise.json` is part of a release, made on the host: what the network gives for each of the bundle's samples, how far
an engine of its precision may be off, and what its median latency was where it was measured. Nothing is promised of a
bundle that was never released: its outputs must be finite, that is all.
"""

from statistics import median
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..backends import open_backend
from ..decode.detections import in_common
from ..engines.infer import are_whole, batch_of, first_batch, images, samples, through
from ..engines.manifest import Bundle
from ..engines.stamp import open_engines
from ..interface.tensors import Array, Feeds, noise, plain_array
from ..system import clock
from ..system.events import emit, tell
from ..system.failures import BundleError, DeviceError
from ..system.files import read_json

if TYPE_CHECKING:
    from ..interface.protocols import Session

PROMISE = "promise.json"
FORMAT = 1
SLOWEST = 2.0  # times the latency that was promised
SAMPLES_S = 8.0  # no sample is begun after so long
WARM_MS, TIMED_MS, RUNS = 300.0, 1000.0, 8
NEAR = 0.05, 4.0  # score and pixels within which two detections are the same
NUMBERS, CLASSES, DETECTIONS = KINDS = ("numbers", "classes", "detections")


class Output(NamedTuple):
    """What was promised of one output."""

    kind: str
    expected: Array
    cosine: float  # at least, in the mean over the samples
    off: float  # at most: a sample's largest difference by its largest value, in the mean over the samples
    share: float  # of classes or detections that are the same, at least


class Promise(NamedTuple):
    """What was promised of a bundle's engine."""

    latency_ms: Optional[float]
    outputs: Dict[str, Output]


def run(bundle: Bundle, engines: str) -> None:
    """Say how it went; raises DeviceError where it is not what was promised."""
    bundle.only_chosen()
    promise, name = read(bundle), bundle.chosen()
    session = open_engines(bundle, engines, open_backend(bundle.plan))[name]
    feeds = samples(bundle, session)
    found = _tried(session, noise(session.inputs) if feeds is None else feeds, feeds is None)
    compared = compare(found, promise.outputs)
    session.bind(first_batch(bundle, session))
    session.block(WARM_MS, 2)
    latency = float(median(session.block(TIMED_MS, RUNS)["latency"]))
    told = {"model": name, "latency_ms": latency, "promised_ms": promise.latency_ms, "compared": compared}
    emit("health", samples=len(next(iter(found.values()))), **told)
    tell("%s: %d outputs as promised, median %.4g ms" % (name, len(promise.outputs), latency))
    if promise.latency_ms is not None and latency > SLOWEST * promise.latency_ms:
        raise DeviceError(
            "too slow: %.4g ms, and %.4g ms were promised" % (latency, promise.latency_ms),
            "see power mode, clocks and what else runs there; or measure on this kind of board and release again",
        )


def _tried(session: "Session", feeds: Feeds, is_noise: bool) -> Feeds:
    """The outputs for as many samples as time allows."""
    if is_noise:
        return session.infer(feeds)
    step = 1 if are_whole(feeds, session) else batch_of(session)
    parts: Dict[str, List[Array]] = {}
    count, until = len(next(iter(feeds.values()))), clock.seconds() + SAMPLES_S
    for start in range(0, count, step):
        if start and clock.seconds() > until:
            break
        piece = {name: array[start : start + step] for name, array in feeds.items()}
        for name, array in through(session, piece).items():
            parts.setdefault(name, []).append(array)
    return {name: np.concatenate(part) for name, part in parts.items()}


def compare(found: Feeds, promised: Dict[str, Output]) -> Dict[str, Dict[str, float]]:
    """How near each output is to what was promised; raises DeviceError at the first one that is not."""
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise _wrong(name, "has NaN or Inf")
    if any(name not in found for name in promised):
        raise _wrong(sorted(set(promised) - set(found))[0], "is missing")
    near: Dict[str, Dict[str, float]] = {}
    boxes = {name: one for name, one in promised.items() if one.kind == DETECTIONS}
    if boxes:
        first = next(iter(boxes.values()))
        wanted, got = _by_images({name: one.expected for name, one in boxes.items()}, found)
        share = in_common(wanted, got, *NEAR)
        near["detections"] = {"share": share}
        if share < first.share:
            raise _wrong(
                "detections",
                "%.1f %% are those promised, %.0f %% are asked" % (100 * share, 100 * first.share),
            )
    for name, one in promised.items():
        if one.kind != DETECTIONS:
            near[name] = _compared(name, found[name], one)
    return near


def _by_images(expected: Feeds, found: Feeds) -> Tuple[Feeds, Feeds]:
    """Both by images, as many as there are of both; of whole inputs each sample is a batch."""
    whole = expected["scores"].ndim > 2
    count = min(len(side["scores"]) for side in (expected, found))
    wanted, got = ({name: side[name][:count] for name in expected} for side in (expected, found))
    return images(wanted, whole), images(got, whole)


def _compared(name: str, found: Array, promised: Output) -> Dict[str, float]:
    count = min(len(found), len(promised.expected))
    expected, found = promised.expected[:count], found[:count]
    if expected.shape != found.shape:
        raise _wrong(name, "has shape %s, and %s was promised" % (list(found.shape), list(expected.shape)))
    if promised.kind == CLASSES:
        share = float((expected == found).mean()) if found.size else 1.0
        if share < promised.share:
            raise _wrong(
                name, "is the same in %.1f %%, %.0f %% are asked" % (100 * share, 100 * promised.share)
            )
        return {"share": share}
    wanted, got = (array.astype(np.float64).reshape(len(array), -1) for array in (expected, found))
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    alike = (np.abs(wanted - got).max(axis=1, initial=0) == 0).astype(np.float64)
    cosine = float(np.divide((wanted * got).sum(axis=1), lengths, out=alike, where=lengths > 0).mean())
    largest = np.maximum(np.abs(wanted).max(axis=1, initial=0), 1e-12)
    off = float((np.abs(wanted - got).max(axis=1, initial=0) / largest).mean())
    if cosine < promised.cosine or off > promised.off:
        raise _wrong(
            name,
            "cosine %.4f and off by %.3g of its largest value; at least %.4g and at most %.3g were promised"
            % (cosine, off, promised.cosine, promised.off),
        )
    return {"cosine": cosine, "off": off}


def _wrong(name: str, how: str) -> DeviceError:
    return DeviceError(
        "wrong outputs: %s %s" % (name, how), "the engine is not the network that was released"
    )


def read(bundle: Bundle) -> Promise:
    """The promise that came with a release; an empty one where there is none."""
    if PROMISE not in bundle.files:
        return Promise(None, {})
    told: Any = read_json(bundle.path(PROMISE))
    try:
        if told["format"] != FORMAT:
            raise ValueError("format %r" % told["format"])
        latency = told["latency_ms"]
        outputs = {str(name): _output(bundle, one) for name, one in told["outputs"].items()}
        return Promise(None if latency is None else float(latency), outputs)
    except (LookupError, TypeError, AttributeError, ValueError, OSError) as error:
        raise BundleError(
            "%s cannot be understood: %s" % (PROMISE, error), "release it again with this jetpress"
        )


def _output(bundle: Bundle, told: Any) -> Output:
    kind = str(told["kind"])
    if kind not in KINDS:
        raise ValueError("an output of kind %s" % kind)
    expected = plain_array(bundle.path(str(told["file"])))
    return Output(kind, expected, *[float(told[name]) for name in ("cosine", "off", "share")])
