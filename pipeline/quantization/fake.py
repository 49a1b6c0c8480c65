"""Fake quantization: a network that computes in floating point with the values that INT8 or FP8 would give it.

Weights are rounded for each output channel, activations for each tensor, symmetrically, where post-training
quantization puts QuantizeLinear and DequantizeLinear. The gradient goes straight through the rounding and stops
where values were clipped (Jacob et al., 2018).

Watched is torch itself and no module, so the network stays what it is, name by name, and a pruned network that
goes on as its graph is quantized like any other. BatchNorm uses its running statistics, also in training: then it
is a constant scale of each output channel, and rounding the weight before it or after it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from jetpress.pipeline.quantization import origin
from jetpress.pipeline.quantization.dialect import FP8, INT8, SMALLEST, Dialect, Numbers
from jetpress.pipeline.quantization.origin import SAME, UNKNOWN
from jetpress.pipeline.quantization.placement import layers, place

WEIGHTED = {f"conv{kind}{n}d": axis for kind, axis in (("", 0), ("_transpose", 1)) for n in (1, 2, 3)}
"""Operators with a weight -> its axis of output channels."""
WEIGHTED["linear"] = 0
ATTENTION = "multi_head_attention_forward"


@dataclass(frozen=True)
class Grid:
    """The numbers that a tensor is rounded to, whole or FP8, and what 1 is worth."""

    scale: float
    low: float
    high: float
    fp8: bool = False


@dataclass(frozen=True)
class Grids:
    """What a network is quantized with."""

    weights: frozenset[str]
    """Parameters that are rounded for each output channel."""
    activations: Mapping[tuple[str, str], Grid]
    """Origin of a tensor (origin.py), and of what is made of it there -> its grid."""
    numbers: Numbers = INT8
    """Of the weights."""
    unknown: tuple[str, ...] = ()
    """Tensors of the graph that are quantized there and not here: PyTorch has no name for them."""
    repeated: frozenset[str] = frozenset()
    """Parameters of layers that are used several times."""


def grids(
    model: onnx.ModelProto,
    module: nn.Module,
    dialect: Dialect,
    ranges: Mapping[str, tuple[float, float]],
    without: Collection[str] = (),
    sparse: Collection[str] = (),
) -> Grids:
    """What `insert` of qdq.py writes into a graph, for the module that it was exported from."""
    graph = ir.from_proto(model).graph
    found = place(graph, dialect, without, sparse)
    names = origin.names_of({one.node: one.weight for one in layers(graph)}, module)
    origins = origin.of_graph(graph, names)
    numbers, activations, unknown = dialect.numbers, {}, []
    least, most = (
        (0.0, 255.0) if dialect.unsigned else (-numbers.largest - (numbers is INT8), numbers.largest)
    )
    for value, edges in found.activations.items():
        low, high = ranges[found.ranges.get(value, value).name or ""]
        scale, zero = dialect.parameters(low, high)
        for node, _ in edges:
            made = origins[node.outputs[0]]
            if made == UNKNOWN:
                unknown.append(value.name or "")
            elif origin.IN_ONNX.get(node.op_type) != SAME:  # what only moves numbers may move rounded ones
                activations[origins[value], made] = Grid(scale, least - zero, most - zero, numbers is FP8)
    missing = [one.weight.name or "" for one in found.layers if one.node not in names]
    weights = frozenset(names[one.node] for one in found.layers if one.node in names)
    left = tuple(dict.fromkeys([*missing, *unknown]))
    return Grids(weights, activations, numbers, left, origin.repeated(names))


def _nearest(scaled: Tensor, low: float, high: float, fp8: bool) -> Tensor:
    """The nearest whole or FP8 numbers between ``low`` and ``high``, in place."""
    if fp8:
        return scaled.copy_(scaled.clamp_(low, high).to(torch.float8_e4m3fn))
    return scaled.round_().clamp_(low, high)


class _Rounded(torch.autograd.Function):
    """The gradient stops where a value was clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
        ctx.save_for_backward(x)
        beyond = 0.0 if grid.fp8 else 0.5
        ctx.limits = grid.scale * (grid.low - beyond), grid.scale * (grid.high + beyond)
        # Divided, as QuantizeLinear does; torch's own fake quantization multiplies by the inverse.
        result = _nearest(torch.div(x.float(), scale), grid.low, grid.high, grid.fp8)
        return result.mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ctx.limits), None, None


class _RoundedWeight(torch.autograd.Function):
    """Nothing is clipped: the scale is that of the largest weight."""

    @staticmethod
    def forward(_: object, weight: Tensor, scale: Tensor, numbers: Numbers) -> Tensor:
        scaled = torch.div(weight, scale)
        return _nearest(scaled, -numbers.largest, numbers.largest, numbers is FP8).mul_(scale)

    @staticmethod
    def backward(_: object, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None, None


def rounded(x: Tensor, grid: Grid) -> Tensor:
    """An activation as INT8 or FP8 has it: ``clip(round(x / scale), low, high) * scale``, halves to even.

    Bit for bit what QuantizeLinear and DequantizeLinear make of it, but for the sign of zero. A zero point is in the
    limits: uint8 with zero point ``z`` is ``low = -z, high = 255 - z``.
    """
    scale = torch.full((), grid.scale, device=x.device)
    result: Tensor = _Rounded.apply(x, scale, grid)
    return result


def rounded_weight(weight: Tensor, axis: int | None, numbers: Numbers = INT8) -> Tensor:
    """A weight in eight bits: of each output channel along ``axis`` (None: of all), the largest weight is the largest
    number; zeros stay."""
    others = [d for d in range(weight.ndim) if d != axis]
    scale = weight.detach().abs().amax(others, keepdim=True) / numbers.largest
    scale = torch.where(scale > 0, scale.clamp(min=SMALLEST), 1.0)
    result: Tensor = _RoundedWeight.apply(weight, scale, numbers)
    return result


@contextmanager
def quantized(module: nn.Module, grids: Grids) -> Iterator[None]:
    """Inside, ``module`` (and every copy made of it) computes with rounded weights and activations."""
    entered: list[_Rounding] = []

    def enter(one: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entered.append(_Rounding(one, grids, inputs))
        entered[-1].__enter__()  # type: ignore[no-untyped-call]

    def leave(*_: object) -> None:
        entered.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    handles = [
        module.register_forward_pre_hook(enter),
        module.register_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Rounding(TorchFunctionMode):
    """One forward pass, in which operators are given rounded tensors."""

    def __init__(self, module: nn.Module, grids: Grids, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.grids = grids
        self.names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.origins, self.known = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        for number, one in enumerate(inputs):
            self.origins[one] = f"input {number}"

    def __torch_function__(
        self,
        function: Callable[..., object],
        kinds: Sequence[type],
        arguments: tuple[Any, ...] = (),
        rest: Mapping[str, object] | None = None,
    ) -> object:
        name, rest = origin.spelled(function), dict(rest or {})
        if name in WEIGHTED:
            return self._weighted(function, WEIGHTED[name], arguments, rest)
        if name == ATTENTION:
            return function(*self._attention(arguments), **rest)
        if name == "batch_norm":
            arguments, rest = _in_inference(function, arguments, rest)
        kind = origin.IN_TORCH.get(name)
        if kind is None:
            return function(*arguments, **rest)
        reads = [
            one for one in _tensors(arguments[:1] if kind == SAME else arguments) if id(one) not in self.names
        ]
        made = origin.made(kind, [self.origins.get(one, UNKNOWN) for one in reads])
        if kind == SAME:
            return self._noted(function(*arguments, **rest), made)
        given = pytree.tree_map_only(Tensor, lambda one: self._rounded(one, made), arguments)
        if origin.in_place(function) and given[0] is not arguments[0]:
            given = (given[0].clone(), *given[1:])  # others read the rounded tensor, too
        return self._noted(function(*given, **rest), made)

    def _weighted(
        self, function: Callable[..., object], axis: int, arguments: tuple[Any, ...], rest: dict[str, Any]
    ) -> object:
        """A layer: its input by where it comes from, its weight by its name."""
        given = dict(zip(("input", "weight"), arguments, strict=False)) | rest
        name = self.names.get(id(given["weight"]), UNKNOWN)
        made = origin.of_layer(name, self.origins.get(given["input"], UNKNOWN), self.grids.repeated)
        if name in self.grids.weights:
            groups = rest.get("groups", arguments[6] if len(arguments) > 6 else 1)
            shared = (
                axis == 1 and groups > 1
            )  # groups of a transposed convolution share their channels' places
            given["weight"] = rounded_weight(given["weight"], None if shared else axis, self.grids.numbers)
        given["input"] = self._rounded(given["input"], made)
        return self._noted(function(given.pop("input"), given.pop("weight"), *arguments[2:], **given), made)

    def _attention(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """torch's attention is one function: its weights and its input are seen, what is between them is not."""
        given = list(arguments)
        packed = self.names.get(id(given[5]), UNKNOWN)
        given[:3] = [self._rounded(one, packed) for one in given[:3]]
        for number in (5, 11):
            if self.names.get(id(given[number])) in self.grids.weights:
                given[number] = rounded_weight(given[number], 0, self.grids.numbers)
        return tuple(given)

    def _rounded(self, x: Tensor, reader: str) -> Tensor:
        """A tensor as this reader gets it; rounded once however many read it."""
        grid = self.grids.activations.get((self.origins.get(x, UNKNOWN), reader))
        if grid is None:
            return x
        state = x._version, grid  # noqa: SLF001  in-place operators change what was rounded
        before, result = self.known.get(x, (None, x))
        if before == state:
            return cast("Tensor", result)
        self.known[x] = (state, result := rounded(x, grid))
        return result

    def _noted(self, result: object, made: str) -> object:
        if isinstance(result, Tensor):
            self.origins[result] = made
        return result


def _in_inference(
    function: Callable[..., object], arguments: tuple[object, ...], rest: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Arguments of ``batch_norm`` with its running statistics used, if it has any."""
    place = 1 if function is F.batch_norm else 3
    mean = arguments[place] if len(arguments) > place else rest.get("running_mean")
    if mean is None:
        return arguments, rest
    if len(arguments) > 5:
        return (*arguments[:5], False, *arguments[6:]), rest
    return arguments, {**rest, "training": False}


def _tensors(arguments: object) -> list[Tensor]:
    return [one for one in pytree.tree_leaves(arguments) if isinstance(one, Tensor)]
