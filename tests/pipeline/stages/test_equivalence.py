"""The gate lets the same function through and stops every planted bug, naming where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import divergence, tolerance
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.trace import trace
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.sparse.rule import check_sparse, sparse_layers
from jetpress.pipeline.stages import equivalence as gate
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.stages.sparsify import best_mask
from jetpress.pipeline.store.artifact import OnnxModel
from jetpress.pipeline.store.facts.network import LayerMask, SparseLayer, Sparsity
from tests.equivalence.networks import checkpoint, network, onnx_of

Array = NDArray[Any]
FP32 = tolerance.LIMITS["fp32"]


def images(batch: int = 8) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(batch, 3, 16, 16, generator=generator),)


def judge(made: models.Network, proto: onnx.ModelProto) -> list[tolerance.Score]:
    return gate.compare(made, proto, cases(images(), 1, edges=True), FP32)


@cache
def fresh() -> Any:
    """What a broken file is held against, exported once because the exporter is slow."""
    made = network("cnn")
    return trace(made.module, made.model.inputs, (), 18)


@pytest.fixture
def _trace_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "trace", lambda *_: fresh())


def edit(proto: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> onnx.ModelProto:
    """``proto`` with another array in the initializer ``name``."""
    weight = next(one for one in proto.graph.initializer if one.name == name)
    weight.CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(weight))), name)
    )
    return proto


@pytest.mark.parametrize("name", ["cnn", "transformer", "segmenter"])
def test_the_same_function_passes(name: str) -> None:
    found = judge(network(name), onnx_of(name, opset=13 if name != "transformer" else 20))
    assert {one.case for one in found} == {
        "images",
        "zeros",
        "ones",
        "lowest",
        "highest",
        "one-hot",
        "noise",
    }
    assert all(one.max_relative < 1e-5 and one.cosine > 0.99999 and one.top1 == 1 for one in found)


BUGS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "swapped channels": ("body.0.weight", lambda w: w[[1, 0, *range(2, 16)]]),
    "one layer zeroed": ("hidden.0.weight", np.zeros_like),
    "transposed weight": ("body.0.weight", lambda w: w.transpose(1, 0, 2, 3)),
    "wrong mean": ("up.0.bias", lambda b: b + 0.1),
}


@pytest.mark.usefixtures("_trace_once")
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_and_located(bug: str) -> None:
    name, change = BUGS[bug]
    broken = edit(onnx_of("cnn", opset=13), name, change)
    module = name.rpartition(".")[0]
    with pytest.raises(
        StageError, match=rf"(?s)not the same function.*first node that differs is '{module}/"
    ) as error:
        judge(network("cnn"), broken)
    assert f"PyTorch module '{module}'" in error.value.what


def test_a_mask_that_was_not_folded_is_caught() -> None:
    made = network("cnn")
    made.masks["body.0.weight"] = best_mask(made.module.get_parameter("body.0.weight"))
    with pytest.raises(StageError, match=r"'body\.0/Conv'"):
        judge(made, onnx_of("cnn", opset=13))


@pytest.mark.usefixtures("_trace_once")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_fails(value: float) -> None:
    broken = edit(onnx_of("cnn", opset=13), "head.bias", lambda b: np.full_like(b, value))
    with pytest.raises(StageError, match="NaN or Inf"):
        judge(network("cnn"), broken)


def test_a_small_difference_that_changes_the_class_fails() -> None:
    """Within the relative error, but another class wins; a tie decides nothing."""
    expected = np.array([[1.0, 0.9995, 0.1]], np.float32)
    found = np.array([[0.9996, 0.9999, 0.1]], np.float32)
    score = tolerance.score("output", "images", expected, found, None, FP32)
    assert FP32.max_relative is not None
    assert score.max_relative < FP32.max_relative
    assert not FP32.allow(score)
    close = np.array([[1.0, 1.0 - 1e-6]]), np.array([[1.0 - 1e-6, 1.0]])
    assert FP32.allow(tolerance.score("output", "images", *close, None, FP32))


def sparse(name: str) -> Sparsity:
    """As a checkpoint says that this weight is 2:4."""
    mask = LayerMask(0.8, 0.7, "", "")
    return Sparsity("magnitude", "2:4", (SparseLayer(name, "", mask),), 1)


def test_the_stage(tmp_path: Path) -> None:
    """On the real digits, with the largest batch and an incomplete last one, and 2:4 layers as claimed."""
    made = network("cnn")
    with torch.no_grad():
        weight = made.module.get_parameter("body.0.weight")
        weight.masked_fill_(~best_mask(weight), 0)
    claimed = sparse("body.0.weight")
    saved = checkpoint(made, tmp_path / "checkpoint", sparsity=claimed)
    for name in ("onnx", "report", "failed"):
        (tmp_path / name).mkdir()
    exported = export(ExportConfig(opset=17, batch=3), saved, tmp_path / "onnx")
    result = gate.equivalence(EquivalenceConfig(), saved, exported, tmp_path / "report")
    report = json.loads((tmp_path / "report" / "equivalence.json").read_text())
    assert report["same"]
    assert report["images"] == 8
    assert [one["output"] for one in report["outputs"]] == ["output"]
    assert [one["name"] for one in report["sparse_layers"]] == ["body.0.weight"]
    assert result.facts.sparse_layers == 1
    assert report["cases"][0]["samples"] == 8

    # The mask on the wrong axis: runs of output channels.
    proto = onnx.load(exported.path / "model.onnx")
    wrong = (
        best_mask(torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(0)))
        .transpose(0, 1)
        .numpy()
    )
    with pytest.raises(StageError, match=r"body\.0\.weight should be 2:4 sparse and is not") as error:
        check_sparse(claimed, edit(proto, "body.0.weight", lambda w: np.ones_like(w) * wrong))
    assert "another axis" in error.value.hint
    with pytest.raises(StageError, match=r"'gone\.weight' is not in the ONNX file"):
        check_sparse(sparse("gone.weight"), proto)

    proto = onnx.load(exported.path / "model.onnx")
    onnx.save(edit(proto, "head.bias", lambda b: b[::-1]), tmp_path / "onnx" / "model.onnx")
    with pytest.raises(StageError, match="'head/Gemm'"):
        gate.equivalence(
            EquivalenceConfig(), saved, OnnxModel(tmp_path / "onnx", exported.facts), tmp_path / "failed"
        )


def weights(op: str, shape: tuple[int, ...], axis: int, **attributes: Any) -> onnx.ModelProto:
    """One node whose weight is 2:4 along ``axis``."""
    lanes = np.moveaxis(np.ones(shape, np.float32), axis, -1)
    lanes[..., 0::4] = lanes[..., 3::4] = 0
    node = helper.make_node(op, ["x", "w"], ["y"], name=f"layer/{op}", **attributes)
    initializer = numpy_helper.from_array(np.moveaxis(lanes, -1, axis), "layer.weight")
    between = helper.make_node("Identity", ["layer.weight"], ["w"])
    return helper.make_model(helper.make_graph([between, node], "g", [], [], [initializer]))


@pytest.mark.parametrize(
    ("op", "shape", "axis", "attributes", "eligible", "is_2_4"),
    [
        ("Conv", (6, 8, 3, 3), 1, {}, True, True),
        ("Conv", (8, 8, 3, 3), 0, {}, True, False),
        ("Conv", (8, 8, 3, 4), 3, {}, True, False),
        ("Conv", (8, 6, 3, 4), 3, {}, False, False),
        ("Conv", (8, 1, 3, 4), 3, {"group": 8}, False, False),
        ("Conv", (8, 4, 3, 3), 1, {"group": 2}, True, True),
        ("MatMul", (8, 6), 0, {}, True, True),
        ("MatMul", (8, 8), 1, {}, True, False),
        ("Gemm", (8, 6), 0, {}, True, True),
        ("Gemm", (6, 8), 1, {"transB": 1}, True, True),
        ("Gemm", (8, 8), 0, {"transB": 1}, True, False),
    ],
)
def test_rule_of_tensorrt(
    op: str, shape: tuple[int, ...], axis: int, attributes: dict[str, int], eligible: bool, is_2_4: bool
) -> None:
    (layer,) = sparse_layers(weights(op, shape, axis, **attributes))
    assert (layer.name, layer.module) == ("layer.weight", "layer")
    assert (layer.eligible, layer.is_2_4) == (eligible, is_2_4)
    assert bool(layer.reason) == (not is_2_4)


def test_weights_behind_quantization_and_transpose() -> None:
    weight = np.zeros((6, 8), np.int8)
    weight[:, 1::4] = weight[:, 2::4] = 3
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["d"]),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"], name="fc/MatMul"),
    ]
    constants = [numpy_helper.from_array(weight, "q"), numpy_helper.from_array(np.float32(0.1), "scale")]
    (layer,) = sparse_layers(helper.make_model(helper.make_graph(nodes, "g", [], [], constants)))
    assert layer.is_2_4
