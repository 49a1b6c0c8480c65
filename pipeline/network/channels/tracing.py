"""The network as a graph of ATen operators: recorded while it runs, or exported.

A recording is what the analysis needs and costs less than one forward pass: operators are noted above their
decomposition, so a ``linear`` is one node, and products are not computed. It holds for the batch size of the
example only. The export by ``torch.export`` takes ten times as long and leaves the batch open: it is what a
network can live on as. Both give nodes with ``meta["shapes"]`` (of their tensors; None for what holds none),
``meta["several"]`` (a list of tensors) and ``meta["where"]`` (path of the module whose code ran).
"""

from __future__ import annotations

import functools
import io
import operator
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher, no_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network.channels.inside import inside, outside
from jetpress.pipeline.network.channels.modes import batched, doubled, evaluating, in_training, quiet

NEWLINE = chr(10)


class ReadsDataError(Exception):
    """The network's code looks at the values of tensors."""


class SearchesError(ReadsDataError):
    """How much the network gives depends on inputs and weights: what passes a threshold, say."""


# Recording


def recorded(module: nn.Module, inputs: tuple[Tensor, ...], training: bool = False) -> fx.GraphModule:
    """The operators that ran on ``inputs``, in eval mode or in training mode, on the tensors of ``module``.

    In training mode its code may look at the values of tensors: layers that are left out by chance, and the like.

    Raises:
        ReadsDataError: in eval mode it does, which one run cannot follow.
        SearchesError: in eval mode it searches, and other weights find another number of things.
        Exception: whatever the network raises.
    """
    mode = Recorder("training_" if training else "", reads=training)
    with quiet(), torch.no_grad(), evaluating(module), ExitStack() as more:
        if training:
            more.enter_context(in_training(module))
        mode.record(module, inputs)
    return _Recording(mode.attributes, mode.graph)


class _Recording(fx.GraphModule):
    """A graph that is read and interpreted: it needs no code."""

    def recompile(self) -> Any:
        """Nothing to compile."""


def names_of(module: nn.Module) -> dict[int, str]:
    """id -> name of every parameter, buffer and plain tensor attribute."""
    named = [*plain_tensors(module).items(), *module.named_buffers(), *module.named_parameters()]
    return {id(tensor): name for name, tensor in named}


def plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Attributes that are tensors, and neither parameters nor buffers."""
    return {
        f"{path}.{name}" if path else name: value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Tensor)
    }


class Recorder(SchemaCheckMode):
    """Notes every operator before it is decomposed.

    torch takes only its own kinds of modes there; this one is meant for running on real tensors, as we do.
    """

    def __init__(self, prefix: str, *, reads: bool = False) -> None:
        TorchDispatchMode.__init__(self, torch._C.DispatchKey.PreDispatch)  # noqa: SLF001
        super().__init__()
        self.prefix, self.reads = prefix, reads
        self.graph = fx.Graph()
        self.nodes = WeakTensorKeyDictionary()
        self.attributes: dict[str, Tensor] = {}
        self.path = [""]

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        arguments = map_aggregate((args, kwargs or {}), self.noted)
        if not self.reads and self._searches(func, args):
            raise SearchesError(str(func))
        result = _blank(func, args, kwargs or {}) if func in PRODUCTS else func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.nodes[result] = self.described(self.graph.call_function(func, *arguments), result)
        elif isinstance(result, tuple | list) and any(isinstance(t, Tensor) for t in result):
            node = self.described(self.graph.call_function(func, *arguments), result)
            for k, tensor in enumerate(result):
                if isinstance(tensor, Tensor):
                    item = self.graph.call_function(operator.getitem, (node, k))
                    self.nodes[tensor] = self.described(item, tensor)
        elif result is not None and not self.reads and not func.__name__.startswith("sym_"):
            raise ReadsDataError(str(func))
        return result

    def record(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Run ``module``; its outputs, flat, become those of the graph."""
        for k, tensor in enumerate(inputs):
            self.nodes[tensor] = self.described(self.graph.placeholder(f"input_{k}"), tensor)
        with self._following(module), enable_python_dispatcher(), self:
            result = module(*inputs)
        self.graph.output(tuple(self.noted(leaf) for leaf in tree_leaves(result)))

    def noted(self, value: Any) -> Any:
        """The node of a tensor; one that no operator made is an attribute."""
        if not isinstance(value, Tensor):
            return value
        if (node := self.nodes.get(value)) is None:
            name = f"{self.prefix}tensor_{len(self.attributes)}"
            self.attributes[name] = value
            node = self.nodes[value] = self.described(self.graph.create_node("get_attr", name), value)
            node.meta["val"] = value
        return node

    def _searches(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether the shape of its result depends on inputs and weights."""
        if torch.Tag.dynamic_output_shape not in func.tags and str(func) not in SEARCHES:
            return False
        by = args[1] if func in (_aten.index.Tensor, _aten.masked_select.default) else args
        tensors = [leaf for leaf in tree_leaves(by) if isinstance(leaf, Tensor)]
        if func is _aten.index.Tensor:  # marked, but only a mask makes it so
            tensors = [tensor for tensor in tensors if tensor.dtype in MASKS]
        made_of = _ancestors([self.noted(tensor) for tensor in tensors])
        weights = any(isinstance(node.meta.get("val"), nn.Parameter) for node in made_of)
        return weights and any(node.op == "placeholder" for node in made_of)

    def described(self, node: fx.Node, value: object) -> fx.Node:
        """With shapes and the path of the module that is running."""
        return _described(node, value, self.path[-1])

    @contextmanager
    def _following(self, module: nn.Module) -> Iterator[None]:
        """Know which module's code is running."""
        hooks = []
        for path, part in module.named_modules():
            hooks.append(part.register_forward_pre_hook(functools.partial(self._enter, path)))
            hooks.append(part.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, path: str, *_: object) -> None:
        self.path.append(path)

    def _leave(self, *_: object) -> None:
        self.path.pop()


_aten = torch.ops.aten
PRODUCTS = frozenset(
    getattr(packet, overload)
    for packet in (
        _aten.conv1d, _aten.conv2d, _aten.conv3d, _aten.conv_transpose1d, _aten.conv_transpose2d,
        _aten.conv_transpose3d, _aten.linear, _aten.matmul, _aten.mm, _aten.bmm, _aten.addmm, _aten.baddbmm,
    )
    for overload in packet.overloads()
    if not overload.endswith("out")
)  # fmt: skip
"""Operators that take most of a forward pass."""
MASKS = (torch.bool, torch.uint8)
SEARCHES = (
    "aten.where.default", "aten.nonzero_numpy.default", "aten.repeat_interleave.self_Tensor", "torchvision.nms.default",
)  # fmt: skip
"""Operators whose results have a shape that depends on values, and that torch has not marked so."""


def _blank(func: Callable[..., Tensor], args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
    """Zeros of the shape that a product would have: what is recorded does not depend on values."""
    place = next(leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    with no_python_dispatcher():
        shape = func(*tree_map_only(Tensor, _outline, args), **tree_map_only(Tensor, _outline, kwargs))
        return torch.empty_strided(shape.shape, shape.stride(), dtype=shape.dtype, device=place).zero_()


def _ancestors(nodes: list[fx.Node]) -> set[fx.Node]:
    """These, and all that they were computed from."""
    seen, waiting = set(nodes), list(nodes)
    for node in waiting:
        waiting += (new := [one for one in node.all_input_nodes if one not in seen])
        seen.update(new)
    return seen


def _outline(tensor: Tensor) -> Tensor:
    """Its shape, strides and type, without values."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _described(node: fx.Node, value: object, where: str) -> fx.Node:
    several = isinstance(value, tuple | list)
    tensors = [t for t in (value if isinstance(value, tuple | list) else [value]) if isinstance(t, Tensor)]
    shapes = [tuple(_number(size) for size in t.shape) for t in tensors]
    node.meta.update(shapes=shapes, several=several, where=where)
    return node


def _number(size: int | torch.SymInt) -> int:
    """An open batch counts as the size that it was traced with."""
    return size if isinstance(size, int) else int(cast("int", size.node.hint))


# Exporting


def exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The graph with its batch open: by symbols where the network's code allows that, else by comparison.

    Raises:
        StageError: torch.export cannot trace the network.
    """
    with evaluating(module):
        graph = _with_open_batch(module, inputs)
    for node in graph.graph.nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        where = str(stack[-1][0]).partition("@")[0] if stack else ""  # "@1" marks a second call
        _described(node, node.meta.get("val"), outside(where))
    return graph


def _with_open_batch(module: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    if not batched(inputs):
        return _exported(module, inputs)
    inputs = doubled(inputs)
    try:
        graph = _exported(module, inputs, tuple({0: torch.export.Dim.AUTO} for _ in inputs))
    except StageError:
        graph = _exported(module, inputs)
    batch = next(node for node in graph.graph.nodes if node.op == "placeholder").meta["val"].shape[0]
    if isinstance(batch, int) or batch.node.maybe_as_int() is not None:
        open_batch(graph.graph, _exported(module, tuple(torch.cat([x, x[:1]]) for x in inputs)).graph)
    return graph


def open_batch(graph: fx.Graph, larger: fx.Graph) -> None:
    """Make the batch size of ``graph`` open: a number that is another one in ``larger`` is a multiple of it.

    Parts of ``graph`` may ask for its batch size already.
    """
    first, other = (next(node for node in g.nodes if node.op == "placeholder") for g in (graph, larger))
    size, larger_size = (_number(node.meta["val"].shape[0]) for node in (first, other))
    sizes = torch.ops.aten.sym_size.int
    nodes, others = ([n for n in g.nodes if n.target is not sizes] for g in (graph, larger))
    if [n.target for n in nodes] != [n.target for n in others]:
        return
    after_inputs = next(node for node in graph.nodes if node.op == "call_function")
    with graph.inserting_before(after_inputs):
        batch = graph.call_function(sizes, (first, 0))

    def opened(here: Any, there: Any) -> Any:
        if isinstance(here, tuple | list):
            return [opened(a, b) for a, b in zip(here, there, strict=True)]
        if not isinstance(here, int) or here == there or here * larger_size != there * size:
            return here
        with graph.inserting_after(batch):
            return graph.call_function(operator.mul, (batch, here // size)) if here != size else batch

    for node, twin in zip(nodes, others, strict=True):
        if node.op == "call_function":
            node.args = tuple(opened(a, b) for a, b in zip(node.args, twin.args, strict=True))


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], dynamic: Any = None) -> fx.GraphModule:
    try:
        with quiet(), torch.no_grad(), redirect_stderr(io.StringIO()):  # where it fails it lists what it has
            program = torch.export.export(inside(module), inputs, dynamic_shapes=dynamic, strict=False)
            return program.module(check_guards=False)
    except Exception as error:  # noqa: BLE001  (the tracer runs the user's code: anything may come)
        failure = error
    raise StageError(
        f"the network cannot be traced: {type(failure).__name__}: {str(failure).strip().partition(NEWLINE)[0]}",
        "control flow that depends on the data has no graph: make it static, or prune the part before it "
        "(for a detector: `jetpress docs trainers`)",
    ) from failure
