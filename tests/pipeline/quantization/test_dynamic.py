"""Recurrent and linear layers in INT8, with ranges that ONNX Runtime finds while it runs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.quantization import dynamic
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(6, 8, 1)
        self.layer = nn.LSTM(8, 32, 2, batch_first=True, bidirectional=True)
        self.middle, self.last = nn.Linear(64, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.layer(self.first(x).mT)[0]).relu()
        return self.last(x.mean(1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def reader() -> onnx.ModelProto:
    torch.manual_seed(0)
    return to_onnx(Reader().eval(), (InputConfig((6, 20)),), (), ExportConfig(opset=17))


@pytest.mark.parametrize(
    ("keep", "left"), [((), []), (("last.*", "layer/LSTM"), ["layer/LSTM", "last/Gemm"])]
)
def test_lstm_and_linear_layers(reader: onnx.ModelProto, keep: tuple[str, ...], left: list[str]) -> None:
    found = dynamic.layers(reader, keep)
    assert [one.name for one in found if not one.int8] == left
    assert sum(one.weights for one in found) == 2 * 128 * (8 + 32) + 2 * 128 * (64 + 32) + 64 * 32 + 32 * 4
    made = dynamic.quantized(reader, found)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("DynamicQuantizeLSTM") == (1 if left else 2)
    assert kinds.count("MatMulInteger") == (1 if left else 2)
    x = {"input": np.random.default_rng(0).normal(size=(1, 6, 20)).astype(np.float32)}
    wanted, got = (session.load(one)(x)["output"] for one in (reader, made))
    assert 0 < np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()
    assert made.ByteSize() < (1.0 if left else 0.4) * reader.ByteSize()


def test_a_network_of_convolutions_has_none() -> None:
    proto = to_onnx(nn.Conv2d(3, 8, 3).eval(), (InputConfig((3, 8, 8)),), (), ExportConfig(opset=17))
    with pytest.raises(StageError, match="no layer to quantize dynamically") as error:
        dynamic.layers(proto)
    assert "auto" in error.value.hint
