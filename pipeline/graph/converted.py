"""An ONNX file as a PyTorch network, so that it can be pruned: onnx2torch reads it, and one run makes it plain.

What onnx2torch makes asks its tensors for shapes and axes while it runs, which no exporter follows. All of these are
constants once the sizes of the inputs are settled. So the network is run once, what depends on the inputs is noted as
a graph of ATen operators, and everything else is a number in it or a weight.
"""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from jetpress.deploy.errors import StageError, ToolMissing
from jetpress.pipeline.graph.trace import cause
from jetpress.pipeline.network.channels.modes import quiet
from jetpress.pipeline.network.channels.tracing import ReadsDataError, Recorder

READ = 13
"""The opset that onnx2torch knows most operators of."""
SHAPED = {torch.ops.aten.view.default, torch.ops.aten.reshape.default, torch.ops.aten._unsafe_view.default}  # noqa: SLF001
INSTEAD = "take the network in PyTorch: jetpress.prune, or a recipe"


def network_of(proto: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """The network of a file at opset :data:`READ`, with constants folded and the sizes of its inputs settled.

    Its parameters are called as the nodes that they belong to. Outputs are a tuple in the file's order.

    Args:
        inputs: one set of inputs, in the file's order and shapes.

    Raises:
        ToolMissing: onnx2torch is not installed.
        StageError: it has no converter for an operator of the file, or what it makes reads its data.
    """
    module = _read(proto)
    recorder = _Constants()
    try:
        with quiet(), torch.no_grad():
            recorder.record(module, inputs)
    except ReadsDataError as error:
        raise StageError(f"--prune: what the file computes depends on its data: {error}", INSTEAD) from error
    except Exception as error:  # whatever its converters raise
        raise StageError(f"--prune: onnx2torch does not run the file: {cause(error)}", INSTEAD) from error
    return _plain(recorder, module)


def _read(proto: onnx.ModelProto) -> fx.GraphModule:
    try:
        from onnx2torch import convert
    except ImportError:
        raise ToolMissing(
            "--prune needs onnx2torch, which is not installed",
            "install it: pip install 'jetpress[onnx2torch]'",
        ) from None
    from jetpress.pipeline.graph import onnx_operators

    onnx_operators.register()
    try:
        with quiet():
            made: fx.GraphModule = convert(_ended(proto)).eval()
    except NotImplementedError as error:
        lacking = sorted({node.op_type for node in proto.graph.node} - onnx_operators.known(READ))
        what = f"it has no {', '.join(lacking)}" if lacking else cause(error)
        raise StageError(f"--prune: onnx2torch does not read the file: {what}", INSTEAD) from error
    except Exception as error:
        raise StageError(f"--prune: onnx2torch does not read the file: {cause(error)}", INSTEAD) from error
    onnx_operators.unstack(made)
    for part in list(made.modules()):
        for name, tensor in list(part.named_buffers(recurse=False)):
            if _is_weight(tensor) and not isinstance(part, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
                del part._buffers[name]  # noqa: SLF001
                part.register_parameter(name, nn.Parameter(tensor.detach().clone()))
    return made


def _is_weight(tensor: Tensor) -> bool:
    """A single number is none: it may be an exponent or an epsilon, which no other number can stand for."""
    return tensor.is_floating_point() and tensor.numel() > 1


def _ended(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Each output by a node of its own: onnx2torch gives the outputs of whole nodes."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for number, one in enumerate(made.graph.output):
        node = onnx.helper.make_node("Identity", [one.name], [f"{one.name}_out_{number}"], f"out_{number}")
        made.graph.node.append(node)
        one.name = node.output[0]
    return made


class _Constants(Recorder):
    """Notes what depends on the inputs; everything else is computed, and its values may be looked at."""

    def __init__(self) -> None:
        super().__init__("")
        self.constants = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        leaves = tree_leaves((args, kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf in self.nodes for leaf in leaves):
            return super().__torch_dispatch__(func, types, args, kwargs)
        return func(*args, **(kwargs or {}))

    def noted(self, value: Any) -> Any:
        """Constants are noted apart: they do not depend on the inputs."""
        if not isinstance(value, Tensor) or value in self.nodes:
            return super().noted(value)
        if value not in self.constants:
            name = f"constant_{len(self.attributes)}"
            self.attributes[name] = value
            self.constants[value] = self.described(self.graph.get_attr(name), value)
        return self.constants[value]


def _plain(recorder: _Constants, module: nn.Module) -> fx.GraphModule:
    """The graph with weights by the names that the file's nodes have, for any batch where sizes begin with it."""
    names = {id(tensor): name for name, tensor in (*module.named_buffers(), *module.named_parameters())}
    made = fx.GraphModule({}, fx.Graph())
    for node in recorder.graph.nodes:
        if node.op == "get_attr":
            tensor = recorder.attributes[node.target]
            known = names.get(id(tensor))
            node.target = known or node.target
            weight = isinstance(tensor, nn.Parameter) or (known is None and _is_weight(tensor))
            _put(made, node.target, tensor.detach().clone(), weight)
        elif node.target in SHAPED:
            node.args = (node.args[0], [-1, *node.meta["shapes"][0][1:]])
    made.graph = recorder.graph
    return made.eval()


def _put(module: nn.Module, name: str, tensor: Tensor, weight: bool) -> None:
    """A parameter, or numbers that are no weight, by a dotted name."""
    path, _, leaf = name.rpartition(".")
    part = _part(module, path)
    if weight:
        part.register_parameter(leaf, nn.Parameter(tensor))
    else:
        part.register_buffer(leaf, tensor)


def _part(module: nn.Module, path: str) -> nn.Module:
    """The submodule there, made where there is none."""
    for name in filter(None, path.split(".")):
        if not hasattr(module, name):
            module.add_module(name, nn.Module())
        module = getattr(module, name)
    return module
