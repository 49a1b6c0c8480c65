"""A module or a file in hand in eight bits, calibrated on inputs without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

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


class Twice(nn.Module):
    """Channel attention of CBAM (Woo et al., 2018): one perceptron for two poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.shared = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 32, bias=False))
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        weight = torch.sigmoid(self.shared(x.mean((2, 3))) + self.shared(x.amax((2, 3))))
        return self.head((x * weight[:, :, None, None]).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("target", ["host", "xavier", "orin-nano"])
def test_a_layer_that_is_used_twice_has_a_bias_for_each_use(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = jetpress.quantize(Twice(), images(32), tmp_path / "a.onnx", target=target)
    assert [one.name for one in made.report.layers if not one.int8] == ["head/Gemm"]
    assert made.report.cosine > 0.99


def test_a_file_whose_names_are_those_that_we_would_give(tmp_path: Path) -> None:
    """It was quantized before by another tool, and its nodes have no names."""
    drawn = np.random.default_rng(0)
    weights = {
        "w": (16, 3, 3, 3),
        "w_scale": (16,),
        "w2": (16, 16, 3, 3),
        "w_bias": (16,),
        "fc": (16, 5),
        "c_scale": (5,),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "w_scale"], ["w_quantized"], pads=[1] * 4),
        helper.make_node("Relu", ["w_quantized"], ["x_quantized"]),
        helper.make_node("Conv", ["x_quantized", "w2", "w_bias"], ["x_scale"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["x_scale"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["x_dequantized"]),
        helper.make_node("Gemm", ["x_dequantized", "fc", "c_scale"], ["y"]),
    ]
    kind = TensorProto.FLOAT
    ends = (
        helper.make_tensor_value_info(name, kind, shape)
        for name, shape in (("x", (1, 3, 16, 16)), ("y", (1, 5)))
    )
    inside = [numpy_helper.from_array(drawn.normal(size=s).astype("f4") / 4, n) for n, s in weights.items()]
    graph = helper.make_graph(nodes, "before", [next(ends)], [next(ends)], inside)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "b.onnx",
    )
    made = jetpress.quantize(tmp_path / "b.onnx", images(40), tmp_path / "a.onnx")
    onnx.checker.check_model(onnx.load(made.path), full_check=True)
    assert [one.int8 for one in made.report.layers] == [True, True, False]
    assert made.report.cosine > 0.98


def test_what_does_not_go_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no file"):
        jetpress.quantize(tmp_path / "none.onnx", images(), tmp_path / "a.onnx")
    with pytest.raises(RecipeError, match=r"no key 'quantize\.bits'"):
        jetpress.quantize(convolutions(), images(), tmp_path / "a.onnx", bits=4)
    with pytest.raises(RecipeError, match="precision"):
        jetpress.quantize(convolutions(), images(), tmp_path / "a.onnx", target="nano")
    assert not list(tmp_path.iterdir())
