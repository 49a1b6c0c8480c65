"""infer: the bundle's samples through each engine, so that accuracy and equivalence are the engine's own."""

import hashlib
import json
import os
from typing import TYPE_CHECKING, Dict, List, Optional

import numpy as np

from ..backends import open_backend
from ..decode.detections import poses
from ..interface.tensors import Array, Feeds, fit, noise, plain_array
from ..system.events import emit, tell
from ..system.failures import BundleError, DeviceError
from ..system.files import digest, make_folder, write
from .manifest import Bundle
from .stamp import open_engines

if TYPE_CHECKING:
    from ..interface.protocols import Session


def run(bundle: Bundle, engines: str, out: str) -> None:
    """Write outputs-<model>.npy for each model and say top-1 where the bundle has labels."""
    make_folder(out)
    sessions = open_engines(bundle, engines, open_backend(bundle.plan))
    labels = _load(bundle, "labels")
    for name, session in sessions.items():
        feeds = samples(bundle, session)
        if feeds is None:
            raise BundleError(
                "the bundle has no samples for its inputs", "make the bundle with samples/<input>.npy"
            )
        results = through(session, feeds)
        files = [
            _save(out, name, place, output, results[output])
            for place, output in enumerate(session.output_names)
        ]
        first = results[session.output_names[0]]
        top1 = _top1(first, labels)
        more: Dict[str, object] = {"labels": top1 is not None}
        rules = bundle.part("detection")
        if rules:
            more["detections"] = _detect(out, name, images(results, are_whole(feeds, session)), rules)
        emit("infer", model=name, samples=len(first), outputs=files, top1=top1, **more)
        tell(
            "%s: %d samples%s" % (name, len(first), "" if top1 is None else ", top-1 %.2f %%" % (100 * top1))
        )


def samples(bundle: Bundle, session: "Session") -> Optional[Feeds]:
    """The bundle's samples in the engine's dtypes, `[samples, ...]`; None where it brings none.

    A sample is one of a batch, or a whole input: then each array has one axis more than its input.
    """
    feeds = {}
    for tensor in session.inputs:
        array = _load(bundle, tensor.name)
        if array is None:
            return None
        fits = array.shape[1:] in (tuple(tensor.shape), tuple(tensor.shape[1:]))
        if not array.ndim or not fits or not len(array):
            raise BundleError(
                "samples of input %s have shape %s, the engine wants %s"
                % (tensor.name, list(array.shape), list(tensor.shape))
            )
        feeds[tensor.name] = fit(array, tensor)
    counts = {len(array) for array in feeds.values()}
    if len(counts) > 1:
        raise BundleError("the inputs have different numbers of samples: %s" % sorted(counts))
    if len({array.ndim > len(tensor.shape) for array, tensor in zip(feeds.values(), session.inputs)}) > 1:  # noqa: B905
        raise BundleError("some inputs have whole samples and others parts of a batch")
    return feeds


def batch_of(session: "Session") -> int:
    """How many samples one run takes; 1 where the first input has no axes."""
    shape = session.inputs[0].shape
    return int(shape[0]) if shape else 1


def are_whole(feeds: Feeds, session: "Session") -> bool:
    """Whether each sample is a whole input."""
    return any(feeds[tensor.name].ndim > len(tensor.shape) for tensor in session.inputs)


def first_batch(bundle: Bundle, session: "Session") -> Feeds:
    """What a benchmark feeds: the first samples, or seeded noise."""
    feeds = samples(bundle, session)
    if feeds is None:
        return noise(session.inputs)
    if are_whole(feeds, session):
        return {name: array[0, ...] for name, array in feeds.items()}
    return {
        tensor.name: _filled(feeds[tensor.name][: tensor.shape[0]], tensor.shape[0])
        for tensor in session.inputs
    }


def different_batches(bundle: Bundle, session: "Session", count: int) -> List[Feeds]:
    """`count` batches of other samples than `first_batch` takes; seeded noise where there are too few."""
    feeds, batch = samples(bundle, session), batch_of(session)
    whole = feeds is not None and are_whole(feeds, session)
    have = len(next(iter(feeds.values()))) // (1 if whole else batch) if feeds else 0
    if feeds is None or have < 2:
        return [noise(session.inputs, 1 + seed) for seed in range(count)]
    if whole:
        return [
            {name: array[1 + place % (have - 1), ...] for name, array in feeds.items()}
            for place in range(count)
        ]
    starts = [(1 + place % (have - 1)) * batch for place in range(count)]
    return [{name: array[start : start + batch] for name, array in feeds.items()} for start in starts]


def _load(bundle: Bundle, name: str) -> Optional[Array]:
    path = bundle.sample(name)
    if path is None:
        return None
    try:
        return plain_array(path)
    except ValueError as error:
        raise BundleError(str(error), "make the bundle again")


def _filled(array: Array, batch: int) -> Array:
    """A short last batch, filled up with its last sample."""
    missing = batch - len(array)
    return array if missing <= 0 else np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def through(session: "Session", feeds: Feeds) -> Feeds:
    """All samples, batch by batch; what a filled-up last batch adds is cut off again."""
    count = len(next(iter(feeds.values())))
    parts: Dict[str, List[Array]] = {name: [] for name in session.output_names}
    if are_whole(feeds, session):
        for place in range(count):
            for name, result in session.infer(
                {key: array[place, ...] for key, array in feeds.items()}
            ).items():
                parts[name].append(result)
        return {name: _stacked(name, part) for name, part in parts.items()}
    batch = batch_of(session)
    for start in range(0, count, batch):
        results = session.infer(
            {name: _filled(array[start : start + batch], batch) for name, array in feeds.items()}
        )
        for name, result in results.items():
            if result.shape[:1] != (batch,):
                raise BundleError(
                    "output %s has shape %s: its first axis is not the batch of %d"
                    % (name, list(result.shape), batch)
                )
            parts[name].append(result[: min(batch, count - start)])
    return {name: np.concatenate(part) for name, part in parts.items()}


def _stacked(name: str, part: List[Array]) -> Array:
    """One output of whole samples, `[samples, *shape]`."""
    shapes = sorted({result.shape for result in part})
    if len(shapes) > 1:
        raise BundleError(
            "output %s has another shape for another sample: %s"
            % (name, [list(shape) for shape in shapes[:3]]),
            "an engine's outputs must not depend on what it is shown: end the network before that",
        )
    return np.stack(part)


def _save(out: str, model: str, place: int, output: str, array: Array) -> Dict[str, object]:
    """outputs-<model>.npy for the first output, outputs-<model>-1.npy and so on for the others."""
    import io

    file = "outputs-%s%s.npy" % (model, "-%d" % place if place else "")
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    write(os.path.join(out, file), data.getvalue())
    return {
        "name": output,
        "file": file,
        "sha256": digest(os.path.join(out, file))[0],
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "finite": bool(np.isfinite(array).all()),
    }


def _detect(out: str, model: str, results: Feeds, rules: Dict[str, object]) -> Dict[str, object]:
    """detections-<model>.json: for each sample its boxes, scores, labels and points if it has some, best first."""
    if not all(np.isfinite(one).all() for one in results.values()):
        raise DeviceError("the boxes or scores of %s are NaN or infinite" % model, "try precision fp32")
    rows = []
    for where, sure, labels, points in poses(results, rules):
        row = {
            "boxes": [[round(side, 3) for side in box] for box in where.tolist()],
            "scores": [round(score, 6) for score in sure.tolist()],
            "labels": labels.tolist(),
        }
        if points.shape[1]:
            row["points"] = np.round(points.astype(np.float64), 3).tolist()
        rows.append(row)
    path = os.path.join(out, "detections-%s.json" % model)
    write(path, json.dumps(rows, sort_keys=True).encode("utf-8"))
    count = sum(len(row["labels"]) for row in rows)
    return {"file": os.path.basename(path), "sha256": digest(path)[0], "found": count}


def images(results: Feeds, whole: bool) -> Feeds:
    """By images `[images, ...]`: of whole inputs each result is a batch by itself, `[samples, batch, ...]`."""
    if not whole:
        return results
    return {name: one.reshape((-1,) + one.shape[2:]) for name, one in results.items() if one.ndim > 1}


def _top1(logits: Array, labels: Optional[Array]) -> Optional[float]:
    """Of scores, or of class numbers where the graph itself ends with them."""
    if labels is None or logits.ndim not in (1, 2) or labels.shape != (len(logits),):
        return None
    if logits.ndim == 1:
        return float((logits == labels).mean()) if logits.dtype.kind in "iu" else None
    return float((logits.argmax(axis=1) == labels).mean())


def fingerprint(feeds: Feeds) -> str:
    """The SHA-256 of a set of arrays, so that two benchmarks can prove that they were fed the same."""
    sha = hashlib.sha256()
    for name in sorted(feeds):
        sha.update(name.encode("utf-8") + np.ascontiguousarray(feeds[name]).tobytes())
    return sha.hexdigest()
