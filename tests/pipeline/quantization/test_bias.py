"""What rounding weights shifts in the mean, the bias takes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.quantization import bias, calibrate
from jetpress.pipeline.quantization.dialect import DIALECTS, Array
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig


def one_layer(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Linear(12, 6, bias=False), (12,)
    if kind == "conv1d":
        return nn.Conv1d(12, 12, 3), (12, 12)  # as long as it has channels: the two must not be mixed up
    if kind == "conv3d":
        return nn.Conv3d(12, 12, (1, 3, 3), bias=False), (12, 2, 9, 9)
    groups = {"conv2d": 1, "grouped": 3, "depthwise": 12}[kind]
    return nn.Conv2d(12, 12, 3, groups=groups, bias=kind != "grouped"), (12, 9, 9)


@pytest.mark.parametrize("kind", ["linear", "conv1d", "conv2d", "conv3d", "grouped", "depthwise"])
def test_the_mean_of_every_output_channel_is_that_of_fp32(kind: str) -> None:
    module, shape = one_layer(kind)
    with torch.no_grad():  # coarse: one large weight in each output channel
        module.weight.reshape(len(module.weight), -1)[:, 0] = 30.0  # type: ignore[union-attr, operator, arg-type]
    proto = to_onnx(module.eval(), (InputConfig(shape=shape),), (), ExportConfig(opset=17))
    plain = Subject(proto, DIALECTS["tensorrt"])
    rng = np.random.default_rng(0)
    means = np.linspace(0, 2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    feeds = [{"input": (means * rng.uniform(0, 2, (1, *shape))).astype(np.float32)} for _ in range(32)]
    seen = calibrate.look(proto, plain.tensors(), feeds, counted=False)
    ranges = calibrate.ranges(seen, "max", plain.dialect)
    shifts = bias.shifts(plain.layers, seen, plain.dialect.numbers)
    corrected = replace(plain, shifts=shifts)

    def mean(graph: onnx.ModelProto) -> Array:
        run = session.load(graph)
        found = np.concatenate([run(feed)["output"] for feed in feeds])
        return np.asarray(found.mean(axis=(0, *range(2, found.ndim))))

    wanted = mean(proto)
    before, after = (np.abs(mean(one.graph(ranges)) - wanted) for one in (plain, corrected))
    assert before.max() > 0.05
    assert after.max() < 0.2 * before.max()


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.ConvTranspose1d(4, 6, 3), (4, 9)), (nn.Linear(4, 6), (9, 4))],
    ids=["Conv", "MatMul"],
)
def test_layers_that_are_not_corrected_stay_whole(module: nn.Module, shape: tuple[int, ...]) -> None:
    """A transposed convolution, and a product over tokens, which has its bias in a node of its own."""
    proto = to_onnx(module.eval(), (InputConfig(shape=shape),), (), ExportConfig(opset=17))
    subject = Subject(proto, DIALECTS["tensorrt"])
    feeds = [{"input": np.ones((1, *shape), np.float32)}]
    seen = calibrate.look(proto, subject.tensors(), feeds, counted=False)
    assert [layer.node.op_type for layer in subject.layers] in (["ConvTranspose"], ["MatMul"])
    assert not bias.shifts(subject.layers, seen, subject.dialect.numbers)
    assert session.load(subject.graph(calibrate.ranges(seen, "max", subject.dialect)))(feeds[0])
