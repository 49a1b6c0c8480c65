"""The traced network: its ATen graph, the labels of every value in it, and the graph cut to what survives.

The walk applies the rules of ``rules`` operator by operator to the graph of ``tracing``. :class:`TracedNet` is
a network that lives on as its graph: where widths are computed by code that cannot be changed, the graph with
its constants rewritten trains, saves and exports just as well.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network.channels import expectations, tracing
from jetpress.pipeline.network.channels.inside import held_as, outside
from jetpress.pipeline.network.channels.labels import (
    OUTSIDE,
    Axes,
    Call,
    Indices,
    Labels,
    NoRuleError,
    Value,
    outsides,
)
from jetpress.pipeline.network.channels.modes import evaluating as evaluating
from jetpress.pipeline.network.channels.rules import RECURRENT, RESIZED, rule_for

Place = tuple[str, int]
"""A parameter or buffer, and one of its axes."""
DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


@dataclass
class Trace:
    """A traced network and the labels of every value in it."""

    module: fx.GraphModule
    labels: Labels = field(default_factory=Labels)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    calls: dict[fx.Node, Call] = field(default_factory=dict)
    tensors: dict[str, Axes] = field(default_factory=dict)
    """Labels of every parameter, buffer and constant, by name."""
    produced: list[Indices] = field(default_factory=list)
    """Where channels come into being, in the order of the graph."""


@dataclass
class Survivors:
    """The channels that stay."""

    labels: Labels
    dead: NDArray[np.bool_]
    """Per representative label: does its class go?"""

    def keep(self, axis: Indices) -> Indices:
        """Positions along this axis that stay."""
        return np.flatnonzero(~self.dead[self.labels.find(axis)])

    def count(self, axis: Indices) -> int:
        """The width of this axis afterwards."""
        return len(self.keep(axis))

    def changes(self, axes: Axes) -> bool:
        """Does this tensor lose anything?"""
        return any(self.count(axis) < len(axis) for axis in axes)


# Tracing


def trace(module: nn.Module, inputs: tuple[Tensor, ...], any_batch: bool = False) -> Trace:
    """``module`` in eval mode as a graph, with every value labelled.

    Args:
        any_batch: the graph runs at every batch size; else at that of ``inputs`` only, and is made faster.

    Raises:
        StageError: the network cannot be traced, or has no fixed outputs.
    """
    graph = _recorded(module, inputs)
    result = Trace(tracing.exported(module, inputs) if any_batch or graph is None else graph)
    names = tracing.names_of(module)
    _walk(result, result.module, names)
    if any(name not in result.tensors for name, _ in module.named_parameters()):
        _walk_training(result, module, inputs, names)
    expectations.fix(result.labels, result.calls, result.tensors, result.module)
    return result


def _walk(result: Trace, graph: fx.GraphModule, names: Mapping[int, str]) -> None:
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            result.values[node] = outsides(node.meta["shapes"][0]) if node.meta["shapes"] else None
        elif node.op == "get_attr":
            result.values[node] = _attribute(result, graph, node, names)
        elif node.op == "call_function":
            result.values[node] = _called(result, node)
        elif node.op == "output":
            _fix_all(result, node, "output of the network")


def _walk_training(
    result: Trace, module: nn.Module, inputs: tuple[Tensor, ...], names: Mapping[int, str]
) -> None:
    """Some parameters had no part in inference: heads that only train, as GoogLeNet's, share the channels."""
    try:
        training = tracing.recorded(module, inputs, training=True)
    except Exception:  # noqa: BLE001  (it does not train: nothing is lost)
        return
    _walk(Trace(training, result.labels, {}, {}, result.tensors, result.produced), training, names)


def _recorded(module: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule | None:
    """Its operators as they ran; None where that fails."""
    try:
        return tracing.recorded(module, inputs)
    except tracing.SearchesError as error:
        raise StageError(
            f"{type(module).__name__} searches: how much it gives depends on what it is shown ({error})",
            "prune the part before that, as `jetpress docs trainers` does with a detector of torchvision",
        ) from error
    except Exception:  # noqa: BLE001  (the user's code runs; the exporter knows more, and says what is wrong)
        return None


# Labelling


def _attribute(result: Trace, graph: fx.GraphModule, node: fx.Node, names: Mapping[int, str]) -> Value:
    tensor = operator.attrgetter(str(node.target))(graph)
    if not isinstance(tensor, Tensor):
        return None
    name = names.get(id(tensor), str(node.target))
    if name not in result.tensors:
        result.tensors[name] = [result.labels.fresh(size) for size in tensor.shape]
    node.meta["name"] = name
    return result.tensors[name]


def _called(result: Trace, node: fx.Node) -> Value:
    if node.target is operator.getitem:
        values = result.values[node.args[0]]  # type: ignore[index]
        return None if values is None else cast("Value", values[node.args[1]])  # type: ignore[index]
    name = operator_name(node)
    if not name:
        return _without_rule(result, node, str(getattr(node.target, "__name__", node.target)))
    rule = rule_for(name, torch.Tag.pointwise in getattr(node.target, "tags", ()))
    if rule is None:
        return _without_rule(result, node, name)
    shapes, where = node.meta["shapes"], node.meta["where"]
    call = Call(name, bound(node), result.values, result.labels, shapes, where, result.produced)
    try:
        call.result = rule(call)
        _check(call, node.meta["several"])
    except (NoRuleError, ValueError, IndexError, KeyError, TypeError, StopIteration):
        return _without_rule(result, node, name)
    result.calls[node] = call
    return call.result


def operator_name(node: fx.Node) -> str:
    """Of an ATen call, without its namespace; empty where the node is none."""
    return str(getattr(getattr(node.target, "_schema", None), "name", "")).removeprefix("aten::")


def bound(node: fx.Node) -> dict[str, Any]:
    """Arguments of an ATen call by name, defaults filled in."""
    schema = getattr(node.target, "_schema")  # noqa: B009  (torch has no public name for it)
    defaults = {p.name: p.default_value for p in schema.arguments}
    return (
        defaults
        | {p.name: value for p, value in zip(schema.arguments, node.args, strict=False)}
        | node.kwargs
    )


def _check(call: Call, several: bool) -> None:
    """The labels fit the shapes, and nothing can be reduced to an axis of size 0."""
    many = bool(call.result) and isinstance(call.result[0], list)  # type: ignore[index]
    if call.result and many != several:  # of another overload: `where(condition)` gives positions
        raise NoRuleError
    results = call.result if many else [call.result]
    for axes, shape in zip(cast("list[Axes | None]", results), call.shapes, strict=False):
        if axes is None or [len(axis) for axis in axes] != list(shape):
            raise NoRuleError
        for axis in axes:
            if len(axis) == 1 and axis[0] != OUTSIDE:
                call.labels.fix(axis, f"{call.reason}: a single channel")


def _without_rule(result: Trace, node: fx.Node, name: str) -> Value:
    """Fix every channel that comes in."""
    _fix_all(result, node, f"{name} (no rule)" + (f" in {where}" if (where := node.meta["where"]) else ""))
    values = [outsides(shape) for shape in node.meta["shapes"]]
    return values if node.meta["several"] else values[0] if values else None


def _fix_all(result: Trace, node: fx.Node, reason: str) -> None:
    for argument in node.all_input_nodes:
        value = result.values.get(argument)
        for axes in value if value and isinstance(value[0], list) else [value]:
            result.labels.fix_axes(cast("Axes", axes or []), reason)


# The graph of what survives


class TracedNet(fx.GraphModule):
    """A network that goes on as its graph. BatchNorm and dropout follow ``train()`` and ``eval()``."""

    def train(self, mode: bool = True) -> Self:
        """Training or inference: written into the graph's own arguments."""
        for node in self.graph.nodes:
            if "follows" in node.meta:
                set_argument(node, node.meta["follows"], mode)
        self.recompile()
        return super().train(mode)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """With its forward hooks, as any module is copied: torch leaves those of a graph behind."""
        made = cast("Self", super().__deepcopy__(memo))
        for name in ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_always_called"):
            setattr(made, name, copy.copy(getattr(self, name)))
        return made

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Tensors that the graph creates move along with the parameters."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        place = next((tensor.device for tensor in self.state_dict().values()), None)
        calls = [node for node in self.graph.nodes if hasattr(node.target, "_schema")]
        for node in calls if place is not None else []:
            if bound(node).get("device") is not None:
                set_argument(node, "device", place)
        self.recompile()
        return self


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Change one argument of an ATen call, wherever it is given."""
    position = list(bound(node)).index(name)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)


def rewritten(source: Trace, survivors: Survivors, tensors: Mapping[str, Tensor]) -> TracedNet:
    """The traced network at the widths that are left, on ``tensors`` (by name, already cut)."""
    graph, twins = copied(source)
    for node, call in source.calls.items():
        for name, value in resized_arguments(call, survivors).items():
            set_argument(twins[node], name, map_arg(value, twins.__getitem__))
        if follows := _mode_argument(call):
            twins[node].meta["follows"] = follows
    for node in graph.nodes:
        if node.op == "get_attr":
            node.target = held_as(outside(str(node.target)))
    for node in graph.nodes:  # the export's checks of types and devices: others in mixed precision, on a GPU
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # noqa: SLF001  torch's own name
            graph.erase_node(node)
    return TracedNet(
        {str(n.target): tensors[n.meta["name"]] for n in graph.nodes if n.op == "get_attr"}, graph
    )


def _mode_argument(call: Call) -> str:
    """The argument that tells training from inference; BatchNorm without running statistics has none."""
    if call.name.rstrip("_") in (*DROPOUTS, *RECURRENT.split()):
        return "train"
    return "training" if call.name == "batch_norm" and call.optional("running_mean") is not None else ""


def resized_arguments(call: Call, survivors: Survivors) -> dict[str, Any]:
    """The arguments that hold a width, for what survives; nothing where no tensor changes."""
    resize = RESIZED.get(call.name)
    if resize is None or not survivors.changes([axis for axes in tensors_of(call) for axis in axes]):
        return {}
    return resize(call, survivors.count)


def tensors_of(call: Call) -> Iterator[Axes]:
    """Labels of every tensor that goes in or comes out."""
    nodes = [a for a in tree_leaves(call.arguments) if isinstance(a, fx.Node)]
    for value in (*(call.values.get(node) for node in nodes), call.result):
        if value and isinstance(value[0], list):
            yield from value
        elif value:
            yield cast("Axes", value)


def copied(source: Trace) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """A copy of the graph, and which node became which."""
    graph = copy.deepcopy(source.module.graph)
    return graph, dict(zip(source.module.graph.nodes, graph.nodes, strict=True))
