"""Is a cut network the dense one without those channels? Judged on random weights, in double precision.

The oracle is the dense graph in which the channels that go are set to zero after every operator. Where the
result of an operator depends on how many channels there are (a mean, LayerNorm, softmax over channels), it
works on the survivors: that is what the cut network means.

Weights are drawn anew, because a trained or freshly initialised network hides errors: branches scaled by 1e-6,
zero biases, BatchNorms that are still the identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from jetpress.pipeline.network.channels.graph import (
    Survivors,
    Trace,
    bound,
    evaluating,
    resized_arguments,
    tensors_of,
)
from jetpress.pipeline.network.channels.labels import Axes, Call
from jetpress.pipeline.network.channels.rules import STATISTICS

TOLERANCE = 1e-5
"""Largest error, relative to the largest output. Single precision alone may differ by more, hence double."""
NARROWING = (Tensor.float, Tensor.half, Tensor.bfloat16)


def random_weights(source: Trace, tensors: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Every parameter and BatchNorm statistic drawn anew, other tensors as they are; single to save memory."""
    generator = torch.Generator().manual_seed(seed)
    statistics = {
        call.arguments[name].meta["name"]
        for call in source.calls.values()
        for name in ("running_mean", "running_var")
        if isinstance(call.arguments.get(name), fx.Node) and "name" in call.arguments[name].meta
    }
    return {
        name: _draw(tensor, generator)
        if isinstance(tensor, nn.Parameter) or name in statistics
        else tensor.detach()
        for name, tensor in tensors.items()
    }


def _draw(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Normal with the variance that keeps activations' size (He et al., 2015); vectors in [0.5, 1.5)."""
    if tensor.ndim < 2:
        return torch.rand(tensor.shape, generator=generator) + 0.5
    values = torch.randn(tensor.shape, generator=generator)
    return values * math.sqrt(2 / math.prod(tensor.shape[1:]))


def masked(
    source: Trace, survivors: Survivors, weights: Mapping[str, Tensor], inputs: tuple[Tensor, ...]
) -> object:
    """The dense network's output with the channels that go held at zero."""
    with torch.no_grad(), _double_by_default():
        return _Masking(source, survivors, weights).run(*map(_widened, inputs))


@contextmanager
def _double_by_default() -> Iterator[None]:
    """Tensors that the network creates without naming a type are double, too."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def _in_double(function: Callable[..., Any], args: object, kwargs: object, single: set[str]) -> Any:
    """Call with every tensor and every type widened. Operators that exist in single precision only are noted."""
    try:
        return function(*tree_map(_widened, args), **tree_map(_widened, kwargs))
    except RuntimeError:  # of what it cannot do in double, or cannot do at all: then it comes again
        result = function(*tree_map(_narrowed, args), **tree_map(_narrowed, kwargs))
    single.add(str(getattr(function, "__name__", function)))
    return tree_map(_widened, result)


class _Double(TorchFunctionMode):
    """The network's own code in double precision, which is told that it has the single one that it may insist on."""

    def __init__(self, single: set[str]) -> None:
        super().__init__()
        self.single = single

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func in NARROWING:
            return _widened(args[0])
        result = _in_double(func, args, kwargs or {}, self.single)
        return torch.float32 if result is torch.float64 else result


class _Wide(fx.Interpreter):
    """Runs a graph on other weights in double precision, the types that it names included."""

    def __init__(self, module: fx.GraphModule, weights: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self.weights = weights
        self.single: set[str] = set()
        """Operators that had to be computed in single precision."""

    def run_node(self, n: fx.Node) -> object:
        if (weight := self.weights.get(n.meta.get("name", ""))) is not None:
            return _widened(weight.clone())
        result = super().run_node(n)
        return _widened(result) if n.op == "get_attr" else result

    def call_function(self, target: Any, args: object, kwargs: object) -> object:
        return _in_double(target, args, kwargs, self.single)


class _Masking(_Wide):
    def __init__(self, source: Trace, survivors: Survivors, weights: Mapping[str, Tensor]) -> None:
        super().__init__(source.module, weights)
        self.source = source
        self.survivors = survivors

    def run_node(self, n: fx.Node) -> object:
        call, value = self.source.calls.get(n), self.source.values.get(n)
        if (
            call is not None
            and call.name in STATISTICS
            and any(map(self.survivors.changes, tensors_of(call)))
        ):
            result: object = self._of_survivors(n, call)
        else:
            result = super().run_node(n)
        if isinstance(result, Tensor) and value:
            return self._silence(result, cast("Axes", value))
        if isinstance(result, tuple | list) and value:
            return [self._silence(t, axes) for t, axes in zip(result, cast("list[Axes]", value), strict=True)]
        return result

    def _silence(self, tensor: Tensor, axes: Axes) -> Tensor:
        """Zero in place, so that views and their bases stay one."""
        if any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)):
            tensor = tensor.clone()
        for k, axis in enumerate(axes):
            if self.survivors.count(axis) < len(axis):
                gone = torch.ones(len(axis), dtype=torch.bool)
                gone[torch.from_numpy(self.survivors.keep(axis))] = False
                tensor.index_fill_(k, gone.nonzero().flatten(), 0)
        return tensor

    def _of_survivors(self, n: fx.Node, call: Call) -> Tensor | list[Tensor]:
        """Take the survivors out, compute, and put the result back among zeros."""

        def taken(node: fx.Node) -> Any:
            tensor = self.env[node]
            axes = self.source.values.get(node)
            return (
                _take(tensor, self.survivors, cast("Axes", axes))
                if isinstance(tensor, Tensor) and axes
                else tensor
            )

        arguments = map_arg(bound(n) | resized_arguments(call, self.survivors), taken)
        result = _in_double(cast("Callable[..., object]", n.target), (), arguments, self.single)
        if isinstance(result, Tensor):
            return self._put(result, cast("Axes", call.result))
        return [self._put(t, axes) for t, axes in zip(result, cast("list[Axes]", call.result), strict=True)]

    def _put(self, tensor: Tensor, axes: Axes) -> Tensor:
        for k, axis in enumerate(axes):
            if (keep := self.survivors.keep(axis)).size < len(axis):
                shape = [*tensor.shape[:k], len(axis), *tensor.shape[k + 1 :]]
                tensor = tensor.new_zeros(shape).index_copy_(k, torch.from_numpy(keep), tensor)
        return tensor


def _take(tensor: Tensor, survivors: Survivors, axes: Axes) -> Tensor:
    for k, axis in enumerate(axes):
        if (keep := survivors.keep(axis)).size < len(axis):
            tensor = tensor.index_select(k, torch.from_numpy(keep))
    return tensor


@dataclass(frozen=True)
class Verdict:
    """How far two networks are apart."""

    error: float
    """Largest difference, relative to the largest value of its output."""
    precision: str = "double"
    """What was computed in; operators that exist in single precision only are named."""
    why: str = ""
    """What tells them apart; empty where they are the same."""

    def as_step(self) -> dict[str, object]:
        """What a recorded cut says of its check."""
        return {"error": self.error, "precision": self.precision}


def verdict(
    module: nn.Module, weights: Mapping[str, Tensor], inputs: tuple[Tensor, ...], expected: object
) -> Verdict:
    """Whether ``module`` on ``weights`` (already cut) gives ``expected``."""
    single: set[str] = set()
    try:
        error = _distance(_run(module, weights, inputs, single), expected)
    except Exception as failure:  # noqa: BLE001  (the user's code at widths that it was not written for)
        why = f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0]}"
        return Verdict(math.inf, why=why)
    precision = f"single in {', '.join(sorted(single))}, else double" if single else "double"
    return Verdict(error, precision, "" if error <= TOLERANCE else f"outputs differ by {error:.1e}")


def _run(
    module: nn.Module, weights: Mapping[str, Tensor], inputs: tuple[Tensor, ...], single: set[str]
) -> object:
    inputs = tuple(map(_widened, inputs))
    with torch.no_grad(), evaluating(module), _double_by_default():
        if isinstance(module, fx.GraphModule):
            graph = _Wide(module, weights)
            graph.single = single
            return graph.run(*inputs)
        names = [name for name, _ in [*module.named_parameters(), *module.named_buffers()]]
        own = {name: _widened(weights[name]) for name in names if name in weights}
        with _Double(single):
            return torch.func.functional_call(module, own, inputs)


def _distance(found: object, expected: object) -> float:
    """Largest difference, relative to the largest value of its output; infinite where shapes differ."""
    pairs = list(zip(tree_leaves(found), tree_leaves(expected), strict=True))
    worst = 0.0
    for a, b in pairs:
        if not isinstance(b, Tensor):
            continue
        if a.shape != b.shape:
            return math.inf
        scale = b.abs().max().double().clamp_min(1e-30) if b.numel() else torch.ones(())
        difference = ((a - b).abs().max() / scale).item() if b.numel() else 0.0
        worst = max(worst, difference if math.isfinite(difference) else math.inf)
    return worst


def _widened(value: Any) -> Any:
    """A tensor or a type in double precision; anything else as it is."""
    return _of_type(value, torch.float64, torch.complex128)


def _narrowed(value: Any) -> Any:
    return _of_type(value, torch.float32, torch.complex64)


def _of_type(value: Any, real: torch.dtype, complex_: torch.dtype) -> Any:
    kind = value.dtype if isinstance(value, Tensor) else value
    if not isinstance(kind, torch.dtype) or not (kind.is_floating_point or kind.is_complex):
        return value
    wanted = complex_ if kind.is_complex else real
    return value.to(wanted) if isinstance(value, Tensor) else wanted
