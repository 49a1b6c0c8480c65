"""Is the engine the same function as its ONNX file? Judged on the bundle's real samples, by the engine's precision.

The runner wrote what the engine gave for every sample, on the device. Here ONNX Runtime computes the same from the
file that the engine was built of, which was held against PyTorch before it was sent
(:mod:`jetpress.pipeline.stages.equivalence`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jetpress.deploy import console
from jetpress.deploy.errors import StageError
from jetpress.deploy.runner.files import safe_name
from jetpress.pipeline.graph.cases import IMAGES, filled
from jetpress.pipeline.graph.divergence import session
from jetpress.pipeline.graph.tolerance import LIMITS, Array, Score, score, worst
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.tasks import decoded_by

REMEDY = (
    'set build.precision = "fp32" to see whether the precision is the cause; if it is not, TensorRT built another '
    "function: `polygraphy run model.onnx --trt --onnxrt` on the device compares layer by layer"
)


def held(bundle: Path, folder: Path, said: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Score]]:
    """Scores of every output of every model.

    Args:
        bundle: with ``plan.json``, the ONNX files and the samples.
        folder: where the outputs are that the runner wrote.
        said: model -> its ``infer`` event.

    Raises:
        StageError: an engine is not the same function as its file.
    """
    plan = json.loads((bundle / "plan.json").read_text())
    samples = [_array(bundle / "samples" / f"{safe_name(one['name'])}.npy") for one in plan["inputs"]]
    results = dict[str, list[Score]]()
    for name, event in said.items():
        model = plan["models"].get(name)
        if (
            model is None or name == NOT_MIXED
        ):  # the same model on another place of the board; only to be timed
            continue
        kind = model.get("precision", plan["precision"])
        found = {one["name"]: _array(folder / one["file"]) for one in event["outputs"]}
        results[name] = _scores(bundle / model["file"], plan["inputs"], samples, found, kind)
        for one in results[name]:
            if not one.passes(LIMITS[kind]):
                raise StageError(
                    f"the engine of {name} is not the function of its ONNX file: {_words(one)}", REMEDY
                )
    return results


def _scores(
    path: Path, inputs: list[dict[str, Any]], samples: list[Array], found: Mapping[str, Array], kind: str
) -> list[Score]:
    limits, known = LIMITS[kind], dict[str, list[Score]]()
    for at, expected in _expected(path, inputs, samples, kind):
        here = {name: array[at] for name, array in found.items()}
        if decoded := decoded_by(list(here)):
            known.setdefault(decoded.name, []).append(decoded.found_again(expected, here, kind))
            continue
        for name, got in here.items():
            wanted, scale = expected[name], worst(known[name]) if name in known else None
            one = _classes(name, wanted, got) if got.dtype.kind in "iu" else None
            one = one or score(name, IMAGES, wanted, got, scale, limits)
            known.setdefault(name, []).append(one)
    return [worst(one) for one in known.values()]


def _expected(
    path: Path, inputs: list[dict[str, Any]], samples: list[Array], kind: str
) -> Iterator[tuple[slice, dict[str, Array]]]:
    """What ONNX Runtime gives, batch by batch."""
    runner, count = session(path), len(samples[0])
    names = [one.name for one in runner.get_outputs()]
    batch = inputs[0]["shape"][0]
    with console.progress(f"the same in ONNX Runtime, {kind}", count) as line:
        for first in range(0, count, batch):
            at = slice(first, min(first + batch, count))
            feed = {
                told["name"]: filled(torch.from_numpy(array[at]), batch)
                .numpy()
                .astype(told["dtype"], copy=False)
                for told, array in zip(inputs, samples, strict=True)
            }
            results = runner.run(names, feed)
            yield at, {name: one[: at.stop - first] for name, one in zip(names, results, strict=True)}
            line.step(amount=at.stop - first)


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
        f"equal on {100 * one.top1:.1f} % of {one.samples} samples"
    )
