"""Whose time a runtime's layer is, and the fit of times to widths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jetpress.pipeline.engine.trials import with_qdq
from jetpress.pipeline.graph import exporting
from jetpress.pipeline.graph.layers import REST, attributed, owners_of
from jetpress.pipeline.network import channels
from jetpress.pipeline.network.channels import ChannelGraph
from jetpress.pipeline.pruning import allocate
from jetpress.pipeline.pruning.allocate import Room
from jetpress.pipeline.pruning.costs import Sizes
from jetpress.pipeline.pruning.timing import TimeModel, fit, widths
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from studies.resnet_cifar import resnet


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    torch.manual_seed(0)
    return channels.analyse(resnet(8).eval(), (torch.randn(2, 3, 32, 32),))


def test_every_layer_of_the_runtime_finds_its_owner(graph: ChannelGraph) -> None:
    proto = exporting.to_onnx(resnet(8).eval(), (InputConfig((3, 32, 32)),), (), ExportConfig(opset=17))
    owners = owners_of(proto)
    layers = set(Sizes(graph).layers)
    assert set(owners.values()) <= layers | {REST}
    assert {"conv1", "layer2.0.conv2", "linear"} <= set(owners.values())
    # ONNX Runtime names after the last value of what it fused, TensorRT after all the nodes.
    last = next(n for n in proto.graph.node if n.name == "layer1.0/Relu_1")
    found = attributed(
        {
            f"{last.output[0]}_nchwc": 2.0,
            "layer1.0.conv1/Conv + layer1.0/Relu": 3.0,
            "ReorderOutput_token_4": 0.5,
            "Reformatting CopyNode for Input Tensor 0 to conv1/Conv": 0.25,
        },
        owners,
    )
    assert found["layer1.0.conv2"] == 2.0
    assert found["layer1.0.conv1"] == 3.0
    assert sum(found.values()) == 5.75


def test_layers_in_int8_find_their_owners_too(graph: ChannelGraph, tmp_path: Path) -> None:
    """As ONNX Runtime names what it computes in INT8."""
    proto = exporting.to_onnx(resnet(8).eval(), (InputConfig((3, 32, 32)),), (), ExportConfig(opset=17))
    made, options = with_qdq(proto, "onnxruntime"), onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    owners = owners_of(made)
    computed = [
        n for n in onnx.load(tmp_path / "optimised.onnx").graph.node if n.op_type in ("QLinearConv", "QGemm")
    ]
    found = [next(iter(attributed({node.name: 1.0}, owners))) for node in computed]
    assert sorted(found) == sorted(Sizes(graph).layers)


def test_the_widths_that_are_timed(graph: ChannelGraph) -> None:
    found = widths(graph, Room(4), 0)
    assert found[0] == {}
    assert len(found) >= 6
    assert found == widths(graph, Room(4), 0)
    for removal in found[1:]:
        for group in graph.groups:
            kept = group.units - len(removal.get(group.name, ()))
            assert kept == group.units or kept * group.width // group.units % 4 == 0


@given(st.integers(0, 1000))
def test_the_fit_finds_times_that_follow_the_model(graph: ChannelGraph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = Sizes(graph)
    names = [*sizes.layers, REST]
    true = TimeModel({n: (0.1 * rng.random(), rng.random() * 1e-6, rng.random() * 1e-6, 0.0) for n in names})
    kept = np.concatenate([sizes.after(r) for r in widths(graph, Room(4), seed)])
    parts = true.layers(sizes, kept)
    table = [dict(zip(names, row, strict=True)) for row in parts.tolist()]
    found = fit(sizes, kept, table, parts.sum(1))
    np.testing.assert_allclose(found.total(sizes, kept), parts.sum(1), rtol=1e-3)
    ranked = {g.name: rng.random(g.units) for g in graph.groups}
    other = sizes.after(allocate.uniform(graph, ranked, 0.4, Room(4)))
    np.testing.assert_allclose(found.total(sizes, other), true.total(sizes, other), rtol=0.05)
    assert (found.layers(sizes, sizes.dense) >= 0).all()


def test_what_no_layer_claims_is_the_rest(graph: ChannelGraph) -> None:
    sizes = Sizes(graph)
    kept = np.concatenate([sizes.after(r) for r in widths(graph, Room(4), 1)])
    table = [{"conv1": 1.0, "a layer of the runtime's own": 2.0} for _ in kept]
    found = fit(sizes, kept, table, np.full(len(kept), 6.0))
    np.testing.assert_allclose(found.total(sizes, kept), 6.0, rtol=1e-6)
    assert found.layers(sizes, kept)[0, -1] == pytest.approx(4.0)
