"""Networks that PyTorch's exporter refuses as they are, and takes once attention is written as it expects."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.graph.trace import trace
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig

TOKENS, WIDTH = 7, 16


class Attention(nn.Module):
    """``axes`` in front of tokens and width; a mask looked up in a table, as BEiT's position bias."""

    def __init__(self, axes: tuple[int, ...], mask: tuple[int, ...]) -> None:
        super().__init__()
        self.axes, self.mask = axes, (*mask, TOKENS, TOKENS) if mask else ()
        self.in_projection = nn.Linear(WIDTH, 3 * WIDTH * math.prod(axes))
        self.table = nn.Parameter(torch.randn(9))
        self.register_buffer("places", torch.randint(0, 9, (math.prod(self.mask),)))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, tokens, width]``."""
        n = x.shape[0]
        qkv = self.in_projection(x).reshape(n, TOKENS, 3, *self.axes, WIDTH)
        query, key, value = qkv.movedim(1, -2).unbind(1)
        bias = self.table[self.get_buffer("places")].view(self.mask) if self.mask else None
        found = F.scaled_dot_product_attention(query, key, value, bias, scale=0.2)
        return found.movedim(-2, 1).reshape(n, TOKENS, -1)


@pytest.mark.parametrize(
    ("axes", "mask"),
    [((), ()), ((4,), (1, 4)), ((3, 4), (4,)), ((3, 4), (1, 3, 4)), ((2, 3, 4), (3, 4))],
)
def test_attention_over_any_axes(axes: tuple[int, ...], mask: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = Attention(axes, mask).eval(), torch.randn(1, TOKENS, WIDTH)
    model = trace(module, (InputConfig((TOKENS, WIDTH)),), (), 18, 1)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (found,) = session.run(None, {"input": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-4, atol=1e-5)


class Several(nn.Module):
    """``*x`` is one argument of forward that holds every input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, *x: Tensor) -> Tensor:
        return self.first(x[0]) + self.second(x[1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("largest", [None, 4])
def test_inputs_as_one_argument(largest: int | None) -> None:
    module = Several().eval()
    inputs = (InputConfig((4,), name="a"), InputConfig((5,), name="b"))
    model = trace(module, inputs, (), 18, 1, largest)
    given = {name: torch.randn(largest or 1, width) for name, width in (("a", 4), ("b", 5))}
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (found,) = session.run(None, {name: one.numpy() for name, one in given.items()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(*given.values()).numpy(), rtol=1e-4, atol=1e-5)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return {"wide": x}["narrow"]


@pytest.mark.parametrize("largest", [None, 4])
@pytest.mark.parametrize(
    ("module", "what", "hint"),
    [
        (nn.Sequential(nn.AdaptiveMaxPool2d(3)), r"for aten\.adaptive_max_pool2d .*module '0'", "multiples"),
        (nn.FractionalMaxPool2d(2, 3), r"no operator for aten\.fractional_max_pool2d", "other operators"),
        (Fails(), r"Fails does not run on inputs of \[[12], 3, 8, 7\]: KeyError: 'narrow'", "must agree"),
    ],
    ids=["adaptive", "unknown", "raises"],
)  # fmt: skip
def test_the_true_cause_is_said(module: nn.Module, what: str, hint: str, largest: int | None) -> None:
    with pytest.raises(StageError, match=what) as error:
        trace(module.eval(), (InputConfig((3, 8, 7)),), (), 18, 1, largest)
    assert hint in error.value.hint
    assert "branch" not in error.value.hint


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("ways", [1, 2])
def test_a_projected_lstm_exports_as_a_plain_one(ways: int) -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 10, 2, proj_size=4, batch_first=True, bidirectional=ways == 2)
            self.last = nn.Linear(4 * ways, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found, (state, _) = self.lstm(x)
            return self.last(found), state.transpose(0, 1)

    torch.manual_seed(0)
    module, x = Projected().eval(), torch.randn(1, 7, 6)
    proto = to_onnx(module, (InputConfig((7, 6), "x"),), (), ExportConfig(opset=17))
    assert [node.op_type for node in proto.graph.node].count("LSTM") == 2
    with torch.no_grad():
        wanted = module(x)
    for got, expected in zip(session.load(proto)({"x": x.numpy()}).values(), wanted, strict=True):
        assert np.allclose(got, expected.numpy(), atol=1e-5)
