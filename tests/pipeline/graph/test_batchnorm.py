"""BatchNorm goes into the layer before it, whatever its rank; and stays where that would be another function."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from jetpress.pipeline.graph import batchnorm, session
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from tests.pipeline.graph.outputs import outputs

LAYERS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "Conv1d": (lambda bias: nn.Conv1d(4, 6, 3, bias=bias), nn.BatchNorm1d, (4, 9)),
    "Conv2d": (lambda bias: nn.Conv2d(4, 6, 3, bias=bias), nn.BatchNorm2d, (4, 9, 9)),
    "Conv3d": (lambda bias: nn.Conv3d(4, 6, (1, 3, 3), bias=bias), nn.BatchNorm3d, (4, 3, 9, 9)),
    "grouped": (lambda bias: nn.Conv2d(4, 6, 3, groups=2, bias=bias), nn.BatchNorm2d, (4, 9, 9)),
    "ConvTranspose1d": (lambda bias: nn.ConvTranspose1d(4, 6, 3, 2, bias=bias), nn.BatchNorm1d, (4, 5)),
    "ConvTranspose2d": (lambda bias: nn.ConvTranspose2d(4, 6, 3, 2, bias=bias), nn.BatchNorm2d, (4, 5, 5)),
    "ConvTranspose2d, grouped": (
        lambda bias: nn.ConvTranspose2d(4, 6, 3, 2, groups=2, bias=bias),
        nn.BatchNorm2d,
        (4, 5, 5),
    ),
    "ConvTranspose3d": (lambda bias: nn.ConvTranspose3d(4, 6, 3, bias=bias), nn.BatchNorm3d, (4, 3, 5, 5)),
    "Linear": (lambda bias: nn.Linear(4, 6, bias=bias), nn.BatchNorm1d, (4,)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_no_batchnorm_is_left(name: str, bias: bool) -> None:
    layer, norm, shape = LAYERS[name]
    torch.manual_seed(0)
    module = nn.Sequential(layer(bias), norm(6), nn.ReLU())
    for value in (module[1].weight, module[1].bias, module[1].running_mean):
        nn.init.normal_(value, 1.0)
    nn.init.uniform_(module[1].running_var, 0.1, 3.0)
    proto = to_onnx(module.eval(), (InputConfig(shape),), (), ExportConfig(opset=17))
    assert len(proto.graph.node) == 2
    x = torch.randn(1, *shape)
    (found,) = outputs(proto, {"input": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [(1, None), (2, 4)])
def test_a_convolution_without_bias_has_none_in_any_rank(batch: tuple[int, int | None]) -> None:
    """onnxscript 0.7 writes zeros [channels, 2] for a Conv3d, which no runtime takes."""
    from jetpress.pipeline.graph.trace import trace

    module = nn.Conv3d(4, 6, 3, bias=False).eval()
    model = trace(module, (InputConfig((4, 5, 5, 5)),), (), 18, *batch)
    x = torch.randn(batch[0], 4, 5, 5, 5)
    (found,) = outputs(ir.to_proto(model), {"input": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-4, atol=1e-5)


def graph(*more: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), bias: str = "b", **norm: Any) -> ir.Model:
    """``y = relu(norm(conv(x)))``, and what else reads ``w``, ``b``, ``conv`` or ``norm``."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((6, 4, 3, 3)), "b": rng.standard_normal(6)}
    arrays |= {name: rng.uniform(0.2, 2, 6) for name in ("gamma", "beta", "mean", "variance")}
    results = ["norm", *(("m", "v") if norm.get("training_mode") else ())]
    nodes = [
        helper.make_node("Conv", ["x", "w", bias], ["conv"], name="conv"),
        helper.make_node(
            "BatchNormalization", ["conv", "gamma", "beta", "mean", "variance"], results, **norm
        ),
        helper.make_node("Relu", ["norm"], ["y"]),
        *more,
    ]
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 4, 9, 9])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    return ir.from_proto(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.mark.parametrize(
    ("model", "fused"),
    [
        (graph(), True),
        (graph(epsilon=0.1), True),
        (graph(bias=""), True),
        (graph(helper.make_node("Sigmoid", ["norm"], ["z"]), outputs=("y", "z")), True),
        (graph(outputs=("y", "norm")), True),
        # Another layer with the same weights, as the heads of a detector: it keeps them.
        (graph(helper.make_node("Conv", ["x", "w", "b"], ["z"]), outputs=("y", "z")), True),
        (graph(helper.make_node("Relu", ["conv"], ["z"]), outputs=("y", "z")), False),
        (graph(outputs=("y", "conv")), False),
        (graph(training_mode=1), False),
    ],
    ids=["plain", "epsilon", "left-out-bias", "read-twice", "output", "shared", "conv-read", "conv-output", "training"],
)  # fmt: skip
def test_it_stays_where_something_else_reads_the_layer(model: ir.Model, fused: bool) -> None:
    model = model.clone()
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 9)).astype(np.float32)
    before = session.load(ir.to_proto(model), optimise=False)({"x": x})
    batchnorm.fuse(model)
    after = session.load(ir.to_proto(model), optimise=False)({"x": x})
    assert list(after) == list(before)
    assert ("BatchNormalization" not in [node.op_type for node in model.graph]) is fused
    for name, wanted in before.items():
        np.testing.assert_allclose(after[name], wanted, rtol=1e-4, atol=1e-5)
