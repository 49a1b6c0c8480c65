"""What rounding weights shifts in the mean, the bias takes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.quantization import bias, calibrate
from jetpress.pipeline.quantization.calibrate import Seen
from jetpress.pipeline.quantization.dialect import DIALECTS, Array
from jetpress.pipeline.quantization.placement import Layer
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
    if kind == "tokens":
        return nn.Linear(12, 6), (9, 12)
    if kind == "transposed1d":
        return nn.ConvTranspose1d(12, 6, 4, 2), (12, 60)
    if kind == "transposed_grouped":
        return nn.ConvTranspose2d(12, 6, 2, 2, groups=3, bias=False), (12, 9, 9)
    groups = {"conv2d": 1, "grouped": 3, "depthwise": 12}[kind]
    return nn.Conv2d(12, 12, 3, groups=groups, bias=kind != "grouped"), (12, 9, 9)


KINDS = [
    "linear",
    "tokens",
    "conv1d",
    "conv2d",
    "conv3d",
    "grouped",
    "depthwise",
    "transposed1d",
    "transposed_grouped",
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_every_output_channel_is_that_of_fp32(kind: str) -> None:
    module, shape = one_layer(kind)
    transposed, channels = kind.startswith("transposed"), 2 if kind == "tokens" else 1
    with torch.no_grad():  # coarse: one large weight in each output channel
        weight = module.get_parameter("weight")
        weight.reshape(*weight.shape[: 1 + transposed], -1)[
            (slice(None),) * transposed + (slice(None), 0)
        ] = 30.0
    proto = to_onnx(module.eval(), (InputConfig(shape=shape),), (), ExportConfig(opset=17))
    plain = Subject(proto, DIALECTS["tensorrt"])
    rng = np.random.default_rng(0)
    means = np.moveaxis(np.linspace(0, 2, 12).reshape(-1, *[1] * (len(shape) - 1)), 0, channels - 1)
    feeds = [{"input": (means * rng.uniform(0, 2, (1, *shape))).astype(np.float32)} for _ in range(32)]
    seen = calibrate.look(proto, plain.tensors(), feeds, counted=False)
    ranges = calibrate.ranges(seen, "max", plain.dialect)
    shifts = bias.shifts(plain.layers, seen, plain.dialect.numbers)
    corrected = replace(plain, shifts=shifts)

    def mean(graph: onnx.ModelProto) -> Array:
        run = session.load(graph)
        found = np.concatenate([run(feed)["output"] for feed in feeds])
        return np.asarray(found.mean(axis=tuple(k for k in range(found.ndim) if k != channels)))

    wanted = mean(proto)
    before, after = (np.abs(mean(one.graph(ranges)) - wanted) for one in (plain, corrected))
    assert before.max() > 0.05
    assert after.max() < 0.2 * before.max()


def test_a_product_without_bias_stays_whole() -> None:
    """There is nothing behind it that could take the shift."""
    proto = to_onnx(
        nn.Linear(4, 6, bias=False).eval(), (InputConfig(shape=(9, 4)),), (), ExportConfig(opset=17)
    )
    subject = Subject(proto, DIALECTS["tensorrt"])
    feeds = [{"input": np.ones((1, 9, 4), np.float32)}]
    seen = calibrate.look(proto, subject.tensors(), feeds, counted=False)
    assert [layer.node.op_type for layer in subject.layers] == ["MatMul"]
    assert not bias.shifts(subject.layers, seen, subject.dialect.numbers)
    assert session.load(subject.graph(calibrate.ranges(seen, "max", subject.dialect)))(feeds[0])


@given(
    st.sampled_from(["Conv", "ConvTranspose", "Gemm", "Gemm, turned", "MatMul"]),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 9999),
)  # fmt: skip
def test_a_shift_is_what_the_error_of_the_weights_gives_of_the_mean(
    kind: str, groups: int, outward: int, inward: int, spatial: int, seed: int
) -> None:
    """Directly: the layer with the error as its weights, on inputs that are their mean everywhere."""
    rng = np.random.default_rng(seed)
    kind, turned = kind.partition(",")[0], "," in kind
    if kind in ("Gemm", "MatMul"):
        shape, attributes = (inward, outward), {"transB": int(turned)} if kind == "Gemm" else {}
        error, mean = rng.normal(size=shape), rng.normal(size=inward)
        wanted = mean @ error
        weight, tokens = (error.T if turned else error), (2, 5, inward) if kind == "MatMul" else (2, inward)
        x = np.broadcast_to(mean, tokens)
        axis: int | None = 0 if turned else 1
    else:
        spatial, transposed = max(spatial, 1), kind == "ConvTranspose"
        sizes = (groups * inward, outward) if transposed else (groups * outward, inward)
        weight, mean = rng.normal(size=(*sizes, *[2] * spatial)), rng.normal(size=groups * inward)
        x = np.broadcast_to(mean.reshape(1, -1, *[1] * spatial), (1, groups * inward, *[4] * spatial))
        attributes = {"group": groups, "strides": [2] * spatial if transposed else [1] * spatial}
        run = getattr(F, f"conv{'_transpose' * transposed}{spatial}d")
        found = run(*map(torch.from_numpy, (x.copy(), weight)), stride=2 if transposed else 1, groups=groups)
        wanted, axis = found.mean(dim=(0, *range(2, 2 + spatial))).numpy(), None if transposed else 0
    values = ir.val("x"), ir.val("w", const_value=ir.tensor(weight, name="w"))
    layer = Layer(ir.node(kind, values, attributes), values[1], axis)
    given_ = Seen(means=[calibrate._means(x, 1)], last_means=[calibrate._means(x, x.ndim - 1)])
    np.testing.assert_allclose(bias._shift(layer, weight, given_), wanted, rtol=1e-6, atol=1e-9)
