"""A module or a file in hand in eight bits, calibrated on inputs without labels."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

import jetpress
from jetpress.deploy.errors import RecipeError
from tests.pipeline.functions.small import convolutions, images


@pytest.mark.parametrize("target", ["xavier", "orin-nano"])
def test_a_file_and_a_module_become_the_same(tmp_path: Path, target: str) -> None:
    module, samples = convolutions(), images(24)
    made = jetpress.export(module, samples[:2], tmp_path / "a.onnx", target=target)
    batches = [(one, torch.zeros(len(one))) for one in samples.split(8)]
    first = jetpress.quantize(made.path, batches, tmp_path / "file.onnx", target=target)
    second = jetpress.quantize(module, samples, tmp_path / "module.onnx", target=target)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert {one.op_type for one in onnx.load(first.path).graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert first.report.numbers == "INT8"
    assert first.report.images == 18
    assert first.report.cosine > 0.9
    assert jetpress.equivalent(module, first.path, samples).precision == "int8"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.onnx", "file.onnx", "module.onnx"]


def test_what_does_not_go_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no file"):
        jetpress.quantize(tmp_path / "none.onnx", images(), tmp_path / "a.onnx")
    with pytest.raises(RecipeError, match=r"no key 'quantize\.bits'"):
        jetpress.quantize(convolutions(), images(), tmp_path / "a.onnx", bits=4)
    with pytest.raises(RecipeError, match="precision"):
        jetpress.quantize(convolutions(), images(), tmp_path / "a.onnx", target="nano")
    assert not list(tmp_path.iterdir())


def test_recurrent_layers_without_calibration(tmp_path: Path) -> None:
    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.last = torch.nn.LSTM(8, 16, batch_first=True), torch.nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.rows(x)[0][:, -1])

    torch.manual_seed(0)
    module, samples = Reader().eval(), torch.randn(16, 5, 8)
    made = jetpress.quantize(module, samples, tmp_path / "a.onnx", method="dynamic")
    assert {one.op_type for one in onnx.load(made.path).graph.node} >= {
        "DynamicQuantizeLSTM",
        "MatMulInteger",
    }
    assert (made.report.method, made.report.images, made.report.met) == ("dynamic", 0, True)
    with pytest.raises(RecipeError, match="TensorRT has no dynamic quantization"):
        jetpress.quantize(module, samples, tmp_path / "b.onnx", target="xavier", method="dynamic")
