"""A module as an ONNX file that a target's parser takes, and the file held against the module."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn

from jetpress.deploy.errors import RecipeError, StageError, from_os_error
from jetpress.deploy.preflight import compatibility, verdict
from jetpress.deploy.preflight.verdict import Verdict
from jetpress.deploy.targets import Target, find
from jetpress.pipeline.functions.subjects import (
    Batches,
    HasModule,
    Inputs,
    batches_of,
    decided,
    inputs_at_most,
    joined,
    module_of,
    network_of,
    tensors,
)
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.graph.tolerance import REPORT
from jetpress.pipeline.network import detectors
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.configs import PreflightConfig
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig
from jetpress.pipeline.stages.equivalence import hold, opened
from jetpress.pipeline.stages.export import written
from jetpress.pipeline.stages.preflight import cleared
from jetpress.pipeline.store.facts.onnx_file import OnnxModelFacts, TensorSpec

HALF, ROUNDED = onnx.TensorProto.FLOAT16, {"QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True)
class Equality:
    """Whether a file is the same function as a module. True where it is."""

    same: bool
    """Within the limits of its precision."""
    precision: str
    """That it was judged in: ``fp32``, ``fp16``, ``int8`` or ``fp8``."""
    images: int
    """Inputs that both saw, beside edge cases (zeros, extremes, one-hot, noise)."""
    words: str
    """How close they are; where they differ the case, the figures and the first node that differs."""
    max_relative: float | None = None
    """Largest absolute difference over the largest absolute value, of the worst output; None where they differ."""
    cosine: float | None = None
    """Of the sample that differs most in direction."""

    def __bool__(self) -> bool:
        return self.same

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Exported:
    """An ONNX file for a target."""

    path: Path
    """Of the file."""
    target: str
    """Its name."""
    opset: int
    """Of the default domain."""
    ir_version: int
    """Of ONNX."""
    nodes: int
    """In the graph."""
    bytes: int
    """Size of the file, without weights beside it."""
    inputs: tuple[TensorSpec, ...]
    """Names, types and shapes; of an open batch the profile."""
    outputs: tuple[TensorSpec, ...]
    """The same of what it gives."""
    equality: Equality
    """How close the file is to the module."""
    notes: tuple[str, ...]
    """What was done at the ends, and what the target's parser is known to say."""

    def __str__(self) -> str:
        size = f"{self.bytes / 1e6:.3g} MB, opset {self.opset}, {self.nodes} nodes"
        return "\n".join([f"{self.path}, {size}, for {self.target}", str(self.equality), *self.notes])


def export(
    module: nn.Module | HasModule,
    example_inputs: Inputs,
    path: str | Path,
    *,
    target: str | Target = "host",
    precision: str = "fp32",
    outputs: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **keys: object,
) -> Exported:
    """Write ``module`` as ONNX at the target's opset, in operators that its parser has, and check the file.

    The file is held against the module in ONNX Runtime (on ``example_inputs`` and on edge cases), and against the
    operator table of the target's TensorRT. BatchNorm is folded into the layer before it. The module stays as it is.

    Args:
        module: an ``nn.Module`` in any mode and on any device, or what :func:`prune` or :func:`sparsify` gave.
        example_inputs: what ``forward`` takes, ``[n, ...]`` each: a tensor, several in its order, or a mapping that
            names them in the file. Shapes behind the first are fixed; a few real samples say more than noise.
        path: of the file; weights of more than 2 GiB go into ``<path>.data``.
        target: a name of ``jetpress targets``, or its record.
        precision: ``fp32``; ``fp16`` puts FP16 into the file itself, which targets without precision flags need
            (TensorRT 11, TensorRT-RTX): layers that FP16 cannot hold on ``example_inputs`` stay in FP32.
        outputs: their names in the file, flattened; empty: ``output``, ``output_1``, ...
        mean: per channel, 0..1, what ``input="uint8_nhwc"`` subtracts; None: ImageNet's.
        std: per channel, what it divides by; None: ImageNet's.
        keys: those of a recipe's ``[export]``: ``batch``, ``dynamic_batch``, ``max_batch``, ``opset``, ``input``,
            ``output``, ... with the same meaning.

    Raises:
        RecipeError: a wrong key, module and inputs do not fit, or the target does not have what is asked for.
        StageError: the module does not export, the file is not the same function, or the target will not take it.
    """
    plan = decided(target, export=keys, data=_images(mean, std), build={"precision": precision})
    network = network_of(module, example_inputs, outputs)
    network.data = plan.recipe.data
    facts, equality, found = _written(network, tensors(example_inputs), Path(path), plan, precision)
    said = tuple(line.strip() for line in verdict.explain(found)[2:])
    return Exported(
        path=Path(path),
        target=plan.target.name,
        opset=facts.opset,
        ir_version=facts.ir_version,
        nodes=facts.nodes,
        bytes=facts.bytes,
        inputs=facts.inputs,
        outputs=facts.outputs,
        equality=equality,
        notes=(*facts.ends.said, *said),
    )


def _images(mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, list[float]]:
    """Keys of ``[data]``."""
    return {name: list(one) for name, one in (("mean", mean), ("std", std)) if one is not None}


def _written(
    network: Network, given: tuple[torch.Tensor, ...], file: Path, plan: Plan, precision: str
) -> tuple[OnnxModelFacts, Equality, Verdict]:
    """The file appears when it is known to be the same function, and that the target takes it."""
    rules = detectors.rules_of(network.module, network.model.inputs[0].shape)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".jetpress-") as scratch:
            draft = Path(scratch) / file.name
            facts = written(network, plan.recipe.export, draft, lambda: given, rules)
            equality = _equality(network, draft, given, plan.recipe.equivalence, facts)
            if not equality:
                raise StageError(equality.words, REPORT)
            found = cleared(draft, PreflightConfig(plan.target, precision))
            for one in Path(scratch).iterdir():
                one.replace(file.parent / one.name)
    except OSError as error:
        raise from_os_error(error) from error
    return facts, equality, found


def _equality(
    network: Network,
    path: Path,
    given: tuple[torch.Tensor, ...],
    config: EquivalenceConfig,
    facts: OnnxModelFacts | None = None,
) -> Equality:
    """The file at ``path`` against the network; ``facts`` where it is one that was just written."""
    proto, beside = opened(path)
    if facts is not None:
        ends, batch = Ends.of(facts, network.data), facts.max_batch
    else:
        kinds = [
            onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type) for one in proto.graph.input
        ]
        first = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value
        ends, batch = Ends.taking(map(str, kinds), network.data), first or len(given[0])
    precision = precision_of(proto)
    try:
        held = hold(network, proto, given, ends, precision, batch, config, beside)
    except StageError as error:
        return Equality(False, precision, len(given[0]), error.what)
    worst, cosine = max(one.max_relative for one in held.outputs), min(one.cosine for one in held.outputs)
    return Equality(True, precision, held.images, held.headline, worst, cosine)


def precision_of(proto: onnx.ModelProto) -> str:
    """That a file is to be judged in: what its weights and its Q/DQ are."""
    kinds = {one.data_type for one in proto.graph.initializer}
    if ROUNDED & {node.op_type for node in proto.graph.node}:
        return "fp8" if onnx.TensorProto.FLOAT8E4M3FN in kinds else "int8"
    return "fp16" if HALF in kinds else "fp32"


def equivalent(
    module: nn.Module | HasModule,
    path: str | Path,
    inputs: Batches,
    *,
    max_relative_error: float = 1e-3,
    edge_cases: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Equality:
    """Whether the file at ``path`` is the same function as ``module``, in ONNX Runtime on the CPU.

    FP32 files are judged by the largest relative difference and the same first class, FP16 files by cosine 0.999,
    files with Q/DQ by cosine 0.99 over the inputs.

    Args:
        module: stays as it is.
        path: of an ONNX file that takes the same inputs in the same order, or ``uint8`` frames ``[n, h, w, 3]``.
        inputs: what the module takes, ``[n, ...]``: one batch, or several as a loader gives them.
        max_relative_error: of FP32 files: largest absolute difference over the largest absolute value.
        edge_cases: also zeros, ones, extremes, one-hot inputs and noise.
        mean: per channel, what a file with ``uint8`` input subtracts; None: ImageNet's.
        std: per channel, what it divides by.

    Raises:
        TrustError: the file is damaged, or names weights outside of its folder.
        RecipeError: there is no such file, or the module does not take the inputs.
    """
    file, given = Path(path), joined(batches_of(inputs, inputs_at_most(module)))
    if not file.is_file():
        raise RecipeError(f"there is no file {file}", "give the path of an ONNX file")
    network = network_of(module, given)
    judged = {"max_relative_error": max_relative_error, "edge_cases": edge_cases}
    recipe = decided("host", data=_images(mean, std), equivalence=judged).recipe
    network.data = recipe.data
    return _equality(network, file, given, recipe.equivalence)


def check(
    model: nn.Module | HasModule | str | Path,
    example_inputs: Inputs | None = None,
    *,
    target: str | Target = "host",
    precision: str | None = None,
) -> Verdict:
    """Will the target's TensorRT take it? Said in seconds, without the target.

    Args:
        model: the path of any ONNX file, or a module, which is exported for the target first (and nothing is kept).
        example_inputs: of a module, ``[n, ...]`` each.
        target: a name of ``jetpress targets``, or its record.
        precision: that the engine will run in; None: the target's default.

    Returns:
        a record: ``ok``, the problems (errors, warnings, notes, each with its remedy), memory, 2:4 layers;
        ``print(found)`` says it in words

    Raises:
        TrustError: the file is hostile or damaged.
        RecipeError: there is no such file, or the module does not take the inputs.
    """
    held_against = find(target) if isinstance(target, str) else target
    if isinstance(model, str | Path):
        return compatibility.preflight(Path(model), held_against, precision=precision)
    if example_inputs is None:
        raise RecipeError("a module is checked by exporting it", "give example_inputs, [n, ...] each")
    network, plan = network_of(model, example_inputs), decided(target, build={"precision": "fp32"})
    with tempfile.TemporaryDirectory(prefix="jetpress-") as scratch:
        file = Path(scratch) / f"{type(module_of(model)).__name__}.onnx"
        written(network, plan.recipe.export, file, lambda: tensors(example_inputs))
        return compatibility.preflight(file, held_against, precision=precision)
