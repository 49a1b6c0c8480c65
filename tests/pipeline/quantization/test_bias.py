"""What rounding weights shifts in the mean, the bias takes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline.export import to_onnx
from pipeline.graph import session
from pipeline.quantization import bias, calibrate
from pipeline.quantization.dialect import DIALECTS, Array
from pipeline.quantization.subject import Subject
from pipeline.sections import ExportConfig, InputConfig


def one_layer(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Linear(12, 6, bias=False), (12,)
    groups = {"conv": 1, "grouped": 3, "depthwise": 12}[kind]
    return nn.Conv2d(12, 12, 3, groups=groups, bias=kind != "grouped"), (12, 9, 9)


@pytest.mark.parametrize("kind", ["linear", "conv", "grouped", "depthwise"])
def test_the_mean_of_every_output_channel_is_that_of_fp32(kind: str) -> None:
    module, shape = one_layer(kind)
    with torch.no_grad():  # coarse: one large weight in each output channel
        module.weight.reshape(len(module.weight), -1)[:, 0] = 30.0  # type: ignore[union-attr, operator, arg-type]
    proto = to_onnx(module.eval(), (InputConfig(shape=shape),), (), ExportConfig(opset=17))
    plain = Subject(proto, DIALECTS["tensorrt"])
    rng = np.random.default_rng(0)
    feeds = [{"input": rng.uniform(0, 4, (1, *shape)).astype(np.float32)} for _ in range(32)]
    seen = calibrate.look(proto, plain.tensors(), feeds, counted=False)
    ranges = calibrate.ranges(seen, "max", plain.dialect)
    shifts = bias.shifts(plain.layers, {name: one.mean for name, one in seen.items()}, plain.dialect.numbers)
    corrected = replace(plain, shifts=shifts)

    def mean(graph: onnx.ModelProto) -> Array:
        run = session.load(graph)
        found = np.concatenate([run(feed)["output"] for feed in feeds])
        return np.asarray(found.mean(axis=(0, *range(2, found.ndim))))

    wanted = mean(proto)
    before, after = (np.abs(mean(one.graph(ranges)) - wanted) for one in (plain, corrected))
    assert before.max() > 0.05
    assert after.max() < 0.2 * before.max()
