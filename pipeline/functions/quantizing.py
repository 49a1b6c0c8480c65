"""INT8 or FP8 by explicit Q/DQ, for an ONNX file or a module in hand."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError, StageError, from_os_error
from jetpress.deploy.targets import Target
from jetpress.pipeline.functions.subjects import (
    Batches,
    HasModule,
    batches_of,
    decided,
    inputs_at_most,
    joined,
    network_of,
)
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.recipe.configs import PreflightConfig
from jetpress.pipeline.stages.equivalence import opened
from jetpress.pipeline.stages.export import written
from jetpress.pipeline.stages.preflight import cleared
from jetpress.pipeline.stages.quantize_file import rounded
from jetpress.pipeline.store.facts.onnx_file import Quantization


@dataclass(frozen=True)
class Quantized:
    """An ONNX file with Q/DQ."""

    path: Path
    """Of the file."""
    target: str
    """Its name."""
    bytes: int
    """Size of the file."""
    report: Quantization
    """Method, every layer (in eight bits or why not), and how near the outputs are to FP32's."""

    def __str__(self) -> str:
        found, name = self.report, f"{self.path}, {self.bytes / 1e6:.3g} MB, for {self.target}"
        stays = [f"stays: {one.name}: {one.why}" for one in found.layers if not one.int8]
        near = f"cosine of the outputs to FP32's {found.cosine:.4f}"
        return "\n".join([name, f"{found.headline}; {near}", *stays, *found.warnings])


def quantize(
    model: nn.Module | HasModule | str | Path,
    batches: Batches,
    path: str | Path,
    *,
    target: str | Target = "host",
    precision: Literal["int8", "fp8"] = "int8",
    **keys: object,
) -> Quantized:
    """Write an INT8 or FP8 file for a target: ranges from ``batches``, Q/DQ where its TensorRT reads them.

    No labels are needed: the method whose outputs are nearest to FP32's is taken, and where a cosine of 0.99 is missed
    the most sensitive layers stay in higher precision, as few as will do. A quarter of the samples (32 at most) is
    judged by, ranges are found on the others.

    Args:
        model: an FP32 ONNX file that the target takes, or a module. (:func:`engine` mends a file first.)
        batches: real inputs ``[n, ...]`` as the file takes them: one batch, or several as a loader gives them; a
            hundred samples are usual. Noise gives ranges that are wrong for real inputs.
        path: of the file that is written.
        target: a name of ``jetpress targets``, or its record.
        precision: ``int8`` or ``fp8``.
        keys: those of a recipe's ``[quantize]``: ``method``, ``keep``, ``mixed``, ``images``, ``bias_correction``, ...

    Raises:
        RecipeError: a wrong key, no such file, or the target does not compute in ``precision``.
        StageError: there is no layer to quantize, or the target will not take the file.
        TrustError: the file is damaged.
    """
    plan = decided(target, quantize=keys, build={"precision": precision})
    knobs, file = plan.recipe.quantize, Path(path)
    takes = len(_small(Path(model)).graph.input) if isinstance(model, str | Path) else inputs_at_most(model)
    samples = joined(batches_of(batches, takes))
    count = len(samples[0])
    judged = min(knobs.sensitivity_images, max(1, count // 4))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".jetpress-") as scratch:
            source = Path(model) if isinstance(model, str | Path) else Path(scratch) / "source.onnx"
            if not isinstance(model, str | Path):
                written(network_of(model, samples), plan.recipe.export, source, lambda: samples)
            proto = _small(source)
            feeds = _feeds(proto, tuple(one[: max(1, count - judged)][: knobs.images] for one in samples))
            others = _feeds(proto, tuple(one[-judged:] for one in samples))
            report = rounded(knobs, proto, feeds, others, Path(scratch) / file.name)
            cleared(Path(scratch) / file.name, PreflightConfig(plan.target, precision))
            (Path(scratch) / file.name).replace(file)
    except OSError as error:
        raise from_os_error(error) from error
    return Quantized(file, plan.target.name, file.stat().st_size, report)


def _small(path: Path) -> onnx.ModelProto:
    """The graph of a file that holds its weights itself."""
    if not path.is_file():
        raise RecipeError(f"there is no file {path}", "give the path of an ONNX file, or a module")
    proto, beside = opened(path)
    if beside is not None:
        raise StageError(f"{path} has more than 2 GiB of weights", "take it in FP16 instead")
    return ir.to_proto(
        common.NameFixPass()(ir.from_proto(proto)).model
    )  # a layer is known by its node's name


def _feeds(proto: onnx.ModelProto, samples: tuple[Tensor, ...]) -> list[Feed]:
    """The samples as the file takes them, in batches of its size."""
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    return [feed for _, feed in session.feeds(proto, samples, batch)]
