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
from torch.fx.node import map_aggregate, map_arg
from torch.utils._pytree import tree_leaves

from pipeline.channels.graph import Survivors, Trace, bound, evaluating, resized_arguments, tensors_of
from pipeline.channels.labels import Axes, Call
from pipeline.channels.rules import STATISTICS

TOLERANCE = 1e-5
"""Largest error, relative to the largest output, in double precision."""
TOLERANCE_SINGLE = 1e-3
"""The same for networks whose code insists on single precision."""


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
) -> Any:
    """The dense network's output with the channels that go held at zero."""
    with torch.no_grad(), _double_by_default():
        return _Masking(source, survivors, weights).run(*map(_wide, inputs))


@contextmanager
def _double_by_default() -> Iterator[None]:
    """Tensors that the network creates without naming a type are double, too."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


class _Wide(fx.Interpreter):
    """Runs a graph on other weights in double precision, the types that it names included."""

    def __init__(self, module: fx.GraphModule, weights: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self.weights = weights

    def run_node(self, n: fx.Node) -> Any:
        if (weight := self.weights.get(n.meta.get("name", ""))) is not None:
            return _wide(weight.clone())
        result = super().run_node(n)
        return _wide(result) if n.op == "get_attr" else result

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return super().call_function(target, map_aggregate(args, _widened), map_aggregate(kwargs, _widened))


class _Masking(_Wide):
    def __init__(self, source: Trace, survivors: Survivors, weights: Mapping[str, Tensor]) -> None:
        super().__init__(source.module, weights)
        self.source = source
        self.survivors = survivors

    def run_node(self, n: fx.Node) -> Any:
        call, value = self.source.calls.get(n), self.source.values.get(n)
        if (
            call is not None
            and call.name in STATISTICS
            and any(map(self.survivors.changes, tensors_of(call)))
        ):
            result = self._of_survivors(n, call)
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

    def _of_survivors(self, n: fx.Node, call: Call) -> Any:
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
        arguments = map_aggregate(arguments, _widened)
        result = cast("Callable[..., Any]", n.target)(**arguments)
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
    """What was computed in: ``single`` where the network's code insists on it."""
    why: str = ""
    """What tells them apart; empty where they are the same."""

    def as_step(self) -> dict[str, Any]:
        """What a recorded cut says of its check."""
        return {"error": self.error, "precision": self.precision}


def verdict(
    module: nn.Module, weights: Mapping[str, Tensor], inputs: tuple[Tensor, ...], expected: Any
) -> Verdict:
    """Whether ``module`` on ``weights`` (already cut) gives ``expected``."""
    try:
        with _double_by_default():
            error = _distance(_run(module, weights, inputs, _wide), expected)
        precision, limit = "double", TOLERANCE
    except Exception:  # noqa: BLE001  (the user's code at widths that it was not written for: anything may come)
        try:
            error = _distance(_run(module, weights, inputs, lambda x: x), expected)
            precision, limit = "single", TOLERANCE_SINGLE
        except Exception as failure:  # noqa: BLE001
            why = f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0]}"
            return Verdict(math.inf, why=why)
    return Verdict(error, precision, "" if error <= limit else f"outputs differ by {error:.1e}")


def _run(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    as_type: Callable[[Tensor], Tensor],
) -> Any:
    inputs = tuple(map(as_type, inputs))
    with torch.no_grad(), evaluating(module):
        if isinstance(module, fx.GraphModule):
            return _Wide(module, weights).run(*inputs)
        names = [name for name, _ in [*module.named_parameters(), *module.named_buffers()]]
        own = {name: as_type(weights[name]) for name in names if name in weights}
        return torch.func.functional_call(module, own, inputs)


def _distance(found: Any, expected: Any) -> float:
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


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _widened(argument: Any) -> Any:
    is_float = isinstance(argument, torch.dtype) and argument.is_floating_point
    return torch.float64 if is_float else argument
