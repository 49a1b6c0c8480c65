"""Operators that onnx2torch 1.5 lacks, by its own registry: what files in the field have besides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import torch
from onnx import defs
from torch import Tensor, nn

USUAL = ["Sigmoid", "Tanh", "Tanh"]
"""Activations of an LSTM, of each direction."""


class GlobalMaxPool(nn.Module):
    """Of everything behind the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """``[n, c, ...]`` to ``[n, c, 1, ...]``."""
        return torch.amax(x, dim=tuple(range(2, x.ndim)), keepdim=True)


class Extreme(nn.Module):
    """The largest or smallest of several; onnx2torch's own stacks them, at the batch that a constant has."""

    def __init__(self, one_of: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.one_of = one_of

    def forward(self, *tensors: Tensor) -> Tensor:
        """Of each place, as broadcasting gives it."""
        return reduce(self.one_of, tensors)


class LSTM(nn.Module):
    """One direction or both, with the gates in PyTorch's order."""

    def __init__(self, weights: tuple[Tensor, Tensor, Tensor], hidden: int) -> None:
        super().__init__()
        w, r, b = (_gates(one, hidden) for one in weights)
        directions, _, features = w.shape
        self.inner = nn.LSTM(features, hidden, bidirectional=directions == 2)
        for number, end in enumerate(("", "_reverse")[:directions]):
            values = {"weight_ih": w[number], "weight_hh": r[number]}
            values |= {"bias_ih": b[number, : 4 * hidden], "bias_hh": b[number, 4 * hidden :]}
            for name, value in values.items():
                getattr(self.inner, f"{name}_l0{end}").data.copy_(value)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[steps, n, features]`` to ``[steps, directions, n, hidden]``, and the last states."""
        out, (last, cell) = self.inner(x, (h, c))
        split = out.reshape(*out.shape[:2], h.shape[0], -1)
        return split.transpose(1, 2), last, cell


def _gates(weight: Tensor, hidden: int) -> Tensor:
    """ONNX has input, output, forget and cell; PyTorch input, forget, cell and output."""
    parts = weight.split(hidden, dim=1)
    rows = [parts[k + place] for k in range(0, len(parts), 4) for place in (0, 2, 3, 1)]
    return torch.cat(rows, dim=1)


def _pool(node: Any, graph: Any) -> Any:
    from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node

    return OperationConverterResult(GlobalMaxPool(), onnx_mapping_from_node(node))


def _lstm(node: Any, graph: Any) -> Any:
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult

    x, *weights = node.input_values[:4]
    rest = [*node.input_values[4:], "", "", ""]
    attributes = node.attributes
    plain = (
        attributes.get("direction", "forward") in ("forward", "bidirectional") and not rest[0] and not rest[3]
    )
    plain &= (
        not attributes.get("layout") and not attributes.get("clip") and not attributes.get("input_forget")
    )
    activations = attributes.get("activations", USUAL)
    plain &= list(activations) == USUAL * (len(activations) // len(USUAL))
    if not plain or not all((*weights, *rest[1:3])) or not all(one in graph.initializers for one in weights):
        raise NotImplementedError(
            "an LSTM with peepholes, lengths, other activations or weights that are computed"
        )
    tensors = tuple(graph.initializers[one].to_torch() for one in weights)
    module = LSTM(tensors, int(attributes["hidden_size"]))
    return OperationConverterResult(module, OnnxMapping((x, *rest[1:3]), node.output_values))


def unstack(made: nn.Module) -> None:
    """Maxima and minima as they would be written in PyTorch, in place."""
    from onnx2torch.node_converters.min_max import OnnxMinMax

    for name, part in list(made.named_modules()):
        if isinstance(part, OnnxMinMax):
            largest = part._operator is torch.amax  # noqa: SLF001
            made.set_submodule(name, Extreme(torch.maximum if largest else torch.minimum))


@cache
def register() -> None:
    """Once for each process."""
    from onnx2torch.node_converters.registry import add_converter

    add_converter("GlobalMaxPool", 1)(_pool)
    for version in (7, 14):
        add_converter("LSTM", version)(_lstm)


def known(opset: int) -> set[str]:
    """Operators that onnx2torch reads, with these."""
    from onnx2torch.node_converters import get_converter

    register()
    found = set()
    for schema in defs.get_all_schemas():
        try:
            get_converter(schema.name, opset)
        except (NotImplementedError, RuntimeError):
            continue
        found.add(schema.name)
    return found
