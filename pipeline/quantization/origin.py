"""Where a tensor comes from, said alike for the exported graph and for PyTorch's own operators.

A range belongs to a tensor of the ONNX graph; training computes in PyTorch, where that tensor has no name. So both
are named by what makes them: ``layer1.0.conv2.weight`` is what the layer with this weight gives, its BatchNorm and
activation included, and ``(layer1.0.conv1.weight+layer1.0.conv2.weight)`` the sum of two such. What is not known
(``?``) is not confused with anything: it is not quantized.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

UNKNOWN = "?"
LONGEST = 200
"""Characters of an origin; longer ones are named by their digest."""
SAME = "same"
"""What gives the numbers it was given, moved about, scaled by channel or clipped."""

_KINDS: Mapping[str, tuple[str, str]] = {
    SAME: (
        """Relu Clip BatchNormalization MaxPool Reshape Flatten Transpose Squeeze Unsqueeze Slice Pad Cast Identity
        Dropout""",
        """relu relu6 hardtanh clamp clip batch_norm dropout max_pool1d max_pool2d max_pool3d adaptive_max_pool2d
        reshape view flatten transpose permute squeeze unsqueeze contiguous getitem slice pad""",
    ),
    "add": ("Add", "add"),
    "mul": ("Mul", "mul"),
    "cat": ("Concat", "cat concat"),
    "mean": (
        "GlobalAveragePool AveragePool ReduceMean",
        "mean avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    ),
    "sigmoid": ("Sigmoid", "sigmoid"),
    "hardsigmoid": ("HardSigmoid", "hardsigmoid"),
    "leaky_relu": ("LeakyRelu", "leaky_relu"),
    "silu": ("Swish", "silu"),
    "hardswish": ("HardSwish", "hardswish"),
}
"""Kind -> its operators in ONNX and in PyTorch."""
IN_ONNX = {operator: kind for kind, (operators, _) in _KINDS.items() for operator in operators.split()}
IN_TORCH = {operator: kind for kind, (_, operators) in _KINDS.items() for operator in operators.split()}


def made(kind: str, inputs: Sequence[str]) -> str:
    """The origin of what an operator makes of tensors with these origins; constants are not among them."""
    if not inputs or (kind == SAME and inputs[0] == UNKNOWN):
        return UNKNOWN
    if kind == SAME or (kind in ("add", "mul") and len(inputs) == 1):
        return inputs[0]
    if kind in ("silu", "hardswish"):  # an older opset writes them out
        gate = made({"silu": "sigmoid"}.get(kind, "hardsigmoid"), inputs)
        return made("mul", [inputs[0], gate])
    if kind in ("add", "mul"):
        text = f"({('+' if kind == 'add' else '*').join(sorted(inputs))})"
    else:
        text = f"{kind}({','.join(inputs)})"
    return text if len(text) <= LONGEST else sha256(text.encode()).hexdigest()


def of_layer(weight: str, given: str, repeated: Collection[str]) -> str:
    """The origin of what a layer makes; where it has several inputs in turn, each use is one of its own."""
    return made(weight, [given]) if weight in repeated else weight


def repeated(weights: Mapping[ir.Node, str]) -> frozenset[str]:
    """Weights that several layers of a graph have."""
    return frozenset(name for name, uses in Counter(weights.values()).items() if uses > 1)


def of_graph(graph: ir.Graph, weights: Mapping[ir.Node, str]) -> dict[ir.Value, str]:
    """The origin of every tensor of a graph; ``weights``: layer -> the PyTorch name of its weight."""
    several = repeated(weights)
    found = {value: f"input {number}" for number, value in enumerate(graph.inputs)}
    for node in graph:
        if node in weights:
            name = of_layer(weights[node], operands(node, found)[0], several)
        else:
            kind = IN_ONNX.get(node.op_type)
            name = UNKNOWN if kind is None else made(kind, operands(node, found))
        found |= {output: name if number == 0 else UNKNOWN for number, output in enumerate(node.outputs)}
    return found


def operands(node: ir.Node, found: Mapping[ir.Value, str]) -> list[str]:
    """Origins of what a node reads that is no constant."""
    count = 1 if IN_ONNX.get(node.op_type) == SAME else None  # others of its inputs are shapes and limits
    reads = [one for one in node.inputs[:count] if one is not None and one.const_value is None]
    return [found.get(one, UNKNOWN) for one in reads]


def names_of(weights: Mapping[ir.Node, ir.Value], module: nn.Module) -> dict[ir.Node, str]:
    """The PyTorch parameter that each layer's weight is: by its name, or by its values, transposed or not.

    Left out is what is no parameter, such as a weight that the network computes.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.ndim > 1}
    by_content: dict[bytes, str] | None = None
    found = {}
    for node, value in weights.items():
        name = value.name or ""
        if name not in parameters:
            if by_content is None:
                arrays = {one: p.detach().cpu().numpy() for one, p in parameters.items()}
                by_content = {_digest(a.T): one for one, a in arrays.items() if a.ndim == 2}
                by_content |= {_digest(a): one for one, a in arrays.items()}
            assert value.const_value is not None
            name = by_content.get(_digest(value.const_value.numpy()), "")
        if name:
            found[node] = name
    return found


def _digest(array: NDArray[np.float32]) -> bytes:
    return sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).digest()


def in_place(function: Callable[..., object]) -> bool:
    """Whether a PyTorch operator changes its first argument."""
    return getattr(function, "__name__", "").partition(".")[0].endswith("_")


def spelled(function: Callable[..., object]) -> str:
    """The plain name of a PyTorch operator: ``add`` of ``torch.add``, ``Tensor.add_`` and ``aten.add_.Tensor``."""
    name: str = getattr(function, "__name__", "")
    return name.partition(".")[0].strip("_")
