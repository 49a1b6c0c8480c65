"""Stage: is the ONNX file the same function as the PyTorch network? A gate: where it is not, the run ends.

PyTorch and ONNX Runtime see the same inputs: real calibration images, and edge cases (zeros, ones, the lowest
and highest values of the data, one-hot, noise). The demand in FP32 (trust case 19): no NaN or Inf anywhere,
the largest difference within ``max_relative_error`` of the largest output value, and top-1 equal. A failure
names the first node that differs. Layers that the checkpoint says are 2:4 sparse must be so in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.logger import G_LOGGER
from torch import Tensor

from deploy.errors import StageError
from pipeline import data, diverge, models
from pipeline.artifact import Checkpoint, Equivalence, OnnxModel
from pipeline.models import Network
from pipeline.sections import EquivalenceConfig
from pipeline.sparse.rule import SparseLayer, sparse_layers

Array = NDArray[Any]
IMAGES = "images"
# Two classes whose scores differ by less than this share of the largest score are a tie in FP32.
TIE = 1e-4


@dataclass(frozen=True)
class Score:
    """How far one output differs on one case."""

    output: str
    case: str
    samples: int
    finite: bool
    max_absolute: float
    largest: float
    """Largest absolute value that PyTorch gave."""
    max_relative: float
    """``max_absolute`` over ``largest``, of this case or of the real images if those give larger values."""
    cosine: float
    """Of the sample that differs most in direction."""
    top1: float
    """Share of positions whose largest entry along axis 1 is the same; ties do not count against it."""

    def passes(self, limit: float) -> bool:
        """Whether PyTorch and ONNX Runtime are the same here."""
        return self.finite and self.max_relative <= limit and self.top1 == 1


def equivalence(
    config: EquivalenceConfig, model: Checkpoint, onnx_model: OnnxModel, draft: Path
) -> Equivalence:
    """Compare, and write ``equivalence.json``.

    Raises:
        StageError: the two are not the same function, or a sparse layer is not 2:4 in the file.
    """
    network = models.load(model)
    proto = onnx.load(onnx_model.path / "model.onnx")
    batch = onnx_model.facts.get("max_batch", 1)
    loaded = data.load(network.data, network.seed)
    real = data.calibration(loaded, network.data.calibration_images)
    scores = compare(network, proto, cases(real, batch, config.edge_cases), config.max_relative_error)
    sparse = check_sparse(model.facts, proto)
    names = _names(proto.graph.output)
    outputs = [worst([one for one in scores if one.output == name]) for name in names]
    report = {
        "same": True,
        "limits": {"max_relative_error": config.max_relative_error, "top1": 1.0},
        "images": len(real[0]),
        "outputs": [asdict(one) for one in outputs],
        "cases": [asdict(one) for one in scores],
        "sparse_layers": [asdict(one) for one in sparse],
    }
    (draft / "equivalence.json").write_text(json.dumps(report, indent=1))
    error = max(one.max_relative for one in outputs)
    said = f"PyTorch = ONNX Runtime within {error:.1e}, top-1 equal on {len(real[0])} images"
    facts = {
        "outputs": report["outputs"],
        "images": len(real[0]),
        "sparse_layers": len(sparse),
        "headline": said,
    }
    return Equivalence(draft, facts)


def cases(real: tuple[Tensor, ...], batch: int, edges: bool) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Named inputs ``[up to batch, ...]``: the real images in order, then the edge cases."""
    for start in range(0, len(real[0]), batch):
        yield IMAGES, tuple(one[start : start + batch] for one in real)
    if not edges:
        return
    generator = torch.Generator().manual_seed(0)
    yield "zeros", tuple(torch.zeros_like(one[:1]) for one in real)
    yield "ones", tuple(torch.ones_like(one[:1]) for one in real)
    yield "lowest", tuple(torch.full_like(one[:1], one.min().item()) for one in real)
    yield "highest", tuple(torch.full_like(one[:1], one.max().item()) for one in real)
    yield "one-hot", tuple(_one_hot(one, batch, generator) for one in real)
    yield "noise", tuple(_noise(one, batch, generator) for one in real)


def _one_hot(real: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Zeros, and in each sample the highest value of the data at one random place."""
    samples = torch.zeros(batch, *real.shape[1:], dtype=real.dtype)
    flat = samples.view(batch, -1)
    flat[torch.arange(batch), torch.randint(flat.shape[1], (batch,), generator=generator)] = real.max()
    return samples


def _noise(real: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Uniform between the lowest and the highest value of the data."""
    share = torch.rand((batch, *real.shape[1:]), generator=generator)
    low, high = real.min().double(), real.max().double()
    return (low + share * (high - low)).to(real.dtype)


def compare(
    network: Network, proto: onnx.ModelProto, given: Iterator[tuple[str, tuple[Tensor, ...]]], limit: float
) -> list[Score]:
    """One score for each output and case.

    Raises:
        StageError: the two differ; names the case, the figures and the first node that differs.
    """
    module = network.module.eval()
    _mask(network)
    fixed = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value  # 0 where the batch is open
    names, results = _names(proto.graph.output), dict[tuple[str, str], Score]()
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL), _runner(proto) as runner:
        for case, tensors in given:
            count = len(tensors[0])
            tensors = tuple(_filled(one, fixed) for one in tensors)
            feed = dict(zip(_names(proto.graph.input), (one.numpy() for one in tensors), strict=True))
            with torch.no_grad():
                expected = [one.numpy() for one in models.outputs_of(module(*tensors))]
            found = runner.infer(feed)
            if len(expected) != len(names):
                what = f"PyTorch gives {len(expected)} outputs, the ONNX file {len(names)}"
                raise StageError(what, _REPORT)
            for name, one in zip(names, expected, strict=True):
                known = results.get((name, case)), results.get((name, IMAGES))
                score = _score(name, case, _cut(one, count), _cut(found[name], count), known[1])
                if not score.passes(limit):
                    where = diverge.first_difference(network, proto, feed, limit / 10)
                    raise StageError(f"{_words(score, limit)};\n    {where}", _REPORT)
                results[name, case] = worst([score, known[0]]) if known[0] is not None else score
    return list(results.values())


_REPORT = "please report this with the network's source"


def _words(score: Score, limit: float) -> str:
    figures = (
        f"largest relative error {score.max_relative:.2e} (limit {limit:.0e}), "
        f"cosine {score.cosine:.6f}, top-1 equal on {100 * score.top1:.1f} %"
        if score.finite
        else "NaN or Inf"
    )
    place = f"output {score.output!r} on {score.case}"
    return f"PyTorch and the ONNX file are not the same function: {place}: {figures}"


def _runner(proto: onnx.ModelProto) -> Any:
    return OnnxrtRunner(SessionFromOnnx(proto.SerializeToString(), providers=["CPUExecutionProvider"]))


def _mask(network: Network) -> None:
    """Masks that were not folded yet are part of the function."""
    parameters = dict(network.module.named_parameters())
    with torch.no_grad():
        for name, mask in network.masks.items():
            parameters[name].masked_fill_(~mask, 0.0)


def _filled(samples: Tensor, batch: int) -> Tensor:
    """The last batch filled up with its first sample where the file's batch is fixed."""
    missing = max(0, batch - len(samples))
    return torch.cat([samples, samples[:1].expand(missing, *samples.shape[1:])]).contiguous()


def _cut(output: Any, count: int) -> Array:
    """The first ``count`` samples, as an array of one dimension or more."""
    return np.atleast_1d(np.asarray(output))[:count]


def _score(name: str, case: str, expected: Array, found: Array, images: Score | None) -> Score:
    """Compare ``[samples, ...]`` arrays. ``images``: the score on real images so far, for the scale."""
    if expected.shape != found.shape:
        raise StageError(
            f"output {name!r} has shape {expected.shape} in PyTorch and {found.shape} in the ONNX file",
            _REPORT,
        )
    one, other = (array.astype(np.float64).reshape(len(array), -1) for array in (expected, found))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Score(name, case, len(one), False, 0.0, 0.0, 0.0, 0.0, 0.0)
    apart, largest = float(np.abs(one - other).max(initial=0)), float(np.abs(one).max(initial=0))
    scale = max(largest, images.largest if images is not None else 0.0)
    relative = apart / scale if scale else float(apart > 0)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    angles = np.divide((one * other).sum(1), lengths, out=np.ones(len(one)), where=lengths > 0)
    top1 = _top1(expected, found, TIE * scale)
    return Score(name, case, len(one), True, apart, largest, relative, float(angles.min(initial=1)), top1)


def _top1(expected: Array, found: Array, tie: float) -> float:
    """Share of positions whose largest entry along axis 1 is the same, or as good as the same."""
    if expected.ndim < 2 or expected.shape[1] < 2 or not expected.size or expected.dtype.kind != "f":
        return 1.0
    chosen = np.take_along_axis(expected, found.argmax(1, keepdims=True), axis=1)
    return float((expected.max(1, keepdims=True) - chosen <= tie).mean())


def worst(scores: list[Score]) -> Score:
    """The worst of each figure over cases or batches of one output; of top-1 the share over all."""
    return Score(
        scores[0].output,
        scores[0].case if len({one.case for one in scores}) == 1 else "all",
        sum(one.samples for one in scores),
        all(one.finite for one in scores),
        max(one.max_absolute for one in scores),
        max(one.largest for one in scores),
        max(one.max_relative for one in scores),
        min(one.cosine for one in scores),
        sum(one.top1 * one.samples for one in scores) / max(1, sum(one.samples for one in scores)),
    )


def check_sparse(facts: Mapping[str, Any], proto: onnx.ModelProto) -> list[SparseLayer]:
    """The layers of the file that the checkpoint says are sparse, all of them 2:4.

    Raises:
        StageError: one of them is not 2:4 along its input channels, or not there.
    """
    claimed = [one["name"] for one in facts.get("sparsity", {}).get("layers", ()) if one["sparse"]]
    layers = sparse_layers(proto) if claimed else []
    kept = []
    for name in claimed:
        module = name.rpartition(".")[0]
        found = [one for one in layers if one.name == name] or [one for one in layers if one.module == module]
        if not found:
            raise StageError(f"the sparse layer {name!r} is not in the ONNX file", _REPORT)
        for one in found:
            if not one.is_2_4:
                raise StageError(
                    f"{name} should be 2:4 sparse and is not in the file (node {one.node!r}): {one.reason}",
                    "its mask was not folded, or lies along another axis than the input channels",
                )
        kept += found
    return kept


def _names(values: Any) -> list[str]:
    return [value.name for value in values]
