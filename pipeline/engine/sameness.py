"""Is the engine the same function as its ONNX file? Judged on the bundle's real samples, by the engine's precision.

The runner wrote what the engine gave for every sample, on the device. Here ONNX Runtime computes the same from the
file that the engine was built of, which was held against PyTorch before it was sent
(:mod:`jetpress.pipeline.stages.equivalence`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from jetpress.deploy import console
from jetpress.deploy.device import returned
from jetpress.deploy.device.events import Infer
from jetpress.deploy.errors import StageError
from jetpress.deploy.runner.system.files import safe_name
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.channelwise import Channels
from jetpress.pipeline.graph.held import rows
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.graph.tolerance import LIMITS, judged_by_channel, score, worst
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.store.facts.onnx_file import Score, TensorSpec
from jetpress.pipeline.tasks import decoded_by

REMEDY = (
    'set build.precision = "fp32" to see whether the precision is the cause; if it is not, TensorRT built another '
    "function: `polygraphy run model.onnx --trt --onnxrt` on the device compares layer by layer"
)


def held(bundle: Path, folder: Path, tried: Mapping[str, Infer]) -> dict[str, tuple[Score, ...]]:
    """Scores of every output of every model.

    Args:
        bundle: with ``plan.json``, the ONNX files and the samples.
        folder: where the outputs are that the runner wrote.
        tried: model -> its ``infer`` event.

    Raises:
        StageError: an engine is not the same function as its file.
    """
    plan = json.loads((bundle / "plan.json").read_text())
    inputs = TypeAdapter(tuple[TensorSpec, ...]).validate_python(plan["inputs"])
    samples = [_array(bundle / "samples" / f"{safe_name(one.name)}.npy") for one in inputs]
    results = dict[str, tuple[Score, ...]]()
    for name, event in tried.items():
        model = plan["models"].get(name)
        if (
            model is None or name == NOT_MIXED
        ):  # the same model on another place of the board; only to be timed
            continue
        kind = model.get("precision", plan["precision"])
        found = returned.outputs(folder, event)
        results[name] = _scores(bundle / model["file"], inputs, samples, found, kind)
        for one in results[name]:
            if not LIMITS[kind].allow(one):
                raise StageError(
                    f"the engine of {name} is not the function of its ONNX file: {_words(one)}", REMEDY
                )
    return results


def _scores(
    path: Path, inputs: Sequence[TensorSpec], samples: list[Array], found: Mapping[str, Array], kind: str
) -> tuple[Score, ...]:
    limits, known = LIMITS[kind], dict[str, list[Score]]()
    whole = samples[0].ndim > len(inputs[0].shape)
    channels = defaultdict[str, Channels](Channels)
    for at, expected in reference(path, inputs, samples, kind):
        here = {name: array[at] for name, array in found.items()}
        if decoded := decoded_by(list(here)):
            file, engine = ({k: x[0] if whole else x for k, x in side.items()} for side in (expected, here))
            known.setdefault(decoded.name, []).append(decoded.found_again(file, engine, kind))
            continue
        for name, got in here.items():
            returned.refuse_other(name, got, expected.get(name))
            wanted, scale = expected[name], worst(known[name]) if name in known else None
            one = _classes(name, wanted, got) if got.dtype.kind in "iub" else None
            if one is None and whole:
                one = score(name, IMAGES, *_rows(wanted, got), scale, limits)
                channels[name].add(wanted[0], got[0])
            one = one or score(name, IMAGES, wanted, got, scale, limits, "", channels[name])
            known.setdefault(name, []).append(one)
    return tuple(judged_by_channel(worst(one), channels[name], limits) for name, one in known.items())


def reference(
    path: Path, inputs: Sequence[TensorSpec], samples: list[Array], kind: str
) -> Iterator[tuple[slice, dict[str, Array]]]:
    """What ONNX Runtime gives, batch by batch."""
    run, first = session.load(path), 0
    with console.progress(f"the same in ONNX Runtime, {kind}", len(samples[0])) as line:
        if samples[0].ndim > len(inputs[0].shape):  # whole inputs
            for place in range(len(samples[0])):
                feed = {one.name: array[place, ...] for one, array in zip(inputs, samples, strict=True)}
                yield slice(place, place + 1), {name: array[None] for name, array in run(feed).items()}
                line.step()
            return
        batch = inputs[0].shape[0]
        assert isinstance(batch, int)  # a device is told the shape that is measured
        for count, feed in session.feeds(path, samples, batch):
            expected = {name: session.cut(one, count) for name, one in run(feed).items()}
            yield slice(first, first + count), expected
            first += count
            line.step(amount=count)


def _rows(wanted: Array, got: Array) -> tuple[Array, Array]:
    """One whole sample as it is scored: nobody says which axis has the classes, but where there are two."""
    return rows(wanted[0]), rows(got[0])


def _classes(name: str, wanted: Array, got: Array) -> Score:
    """Class numbers have no distance: what counts is how many are the same."""
    return Score(name, IMAGES, len(got), True, 0.0, 0.0, 0.0, 1.0, float((wanted == got).mean()))


def _array(path: Path) -> Array:
    array: Array = np.load(path, allow_pickle=False)
    return array


def _words(one: Score) -> str:
    if not one.finite:
        return f"output {one.output!r} has NaN or Inf"
    return (
        f"output {one.output!r}: largest relative error {one.max_relative:.2e}, cosine {one.cosine:.6f}, "
        f"equal on {100 * one.top1:.1f} % of {one.samples} samples, "
        f"channel {one.channel_at} off by {one.channel:.2g} of its own largest value"
    )
