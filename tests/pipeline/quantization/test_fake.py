"""Rounding in training is rounding in the file: number by number, and network by network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import Tensor, nn

from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.network import channels
from jetpress.pipeline.network.channels.graph import TracedNet
from jetpress.pipeline.quantization import calibrate, fake, judge
from jetpress.pipeline.quantization.dialect import DIALECTS, FP8, INT8, Numbers
from jetpress.pipeline.quantization.fake import Grid
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from tests.pipeline.graph.outputs import outputs

SIGNED, UNSIGNED = (-128, 127, 0), (0, 255, 77)


def on_onnx(x: Tensor, scale: float, zero: int, unsigned: bool) -> Tensor:
    """What ONNX Runtime makes of it."""
    kind = np.uint8 if unsigned else np.int8
    constants = [
        onnx.numpy_helper.from_array(np.array(scale, np.float32), "scale"),
        onnx.numpy_helper.from_array(np.array(zero, kind), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    ends = [[helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, ["n"])] for one in "xy"]
    graph = helper.make_graph(nodes, "pair", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return torch.from_numpy(outputs(model, {"x": x.numpy()})[0])


numbers = st.floats(-(2.0**20), 2.0**20, width=32)
scales = st.floats(2.0**-12, 2.0**6, width=32)


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=40), scales, st.booleans())
def test_rounding_is_that_of_onnx_bit_for_bit(values: list[float], scale: float, unsigned: bool) -> None:
    low, high, zero = UNSIGNED if unsigned else SIGNED
    halves = (torch.arange(-300, 300) / 2) * scale  # where the rounding of ties shows
    x = torch.cat([torch.tensor(values, dtype=torch.float32), halves])
    ours = fake.rounded(x, Grid(scale, low - zero, high - zero))
    assert torch.equal(ours, on_onnx(x, scale, zero, unsigned))
    assert torch.equal(ours, fake.rounded(ours, Grid(scale, low - zero, high - zero)))


@given(st.lists(numbers, min_size=1, max_size=40), scales)
def test_gradients_stop_where_values_are_clipped(values: list[float], scale: float) -> None:
    x = torch.tensor(values, requires_grad=True)
    fake.rounded(x, Grid(scale, -128, 127)).sum().backward()
    whole = (x.detach() / scale).round()
    clear = (x.detach() / scale - whole).abs() < 0.499  # at a tie, rounding may go either way
    assert torch.equal(x.grad[clear], ((whole >= -128) & (whole <= 127)).float()[clear])


@settings(max_examples=50)
@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(0, 2**31),
    st.sampled_from([0, 1]),
    st.sampled_from([INT8, FP8]),
)
def test_weights_are_rounded_as_in_the_file(
    rows: int, columns: int, seed: int, axis: int, numbers: Numbers
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, 3, generator=generator) * 10 ** torch.randn(
        rows, 1, 1, generator=generator
    )
    weight[torch.rand(weight.shape, generator=generator) < 0.3] = 0.0
    weight[:, 0] = 0.0  # along axis 1 a channel of zeros
    ours = fake.rounded_weight(weight.requires_grad_(), axis, numbers)
    array = weight.detach().numpy()
    worth = numbers.scales(array, axis)
    shape = [-1 if one == axis else 1 for one in range(3)]
    stored = numbers.quantized(array, worth, axis)
    assert np.array_equal(ours.detach().numpy(), stored.astype(np.float32) * worth.reshape(shape))
    assert not ours[weight == 0].any()
    assert torch.equal(fake.rounded_weight(ours.detach(), axis, numbers), ours)
    ours.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


class Residual(nn.Module):
    """Branches, in-place operators, a concat, a gate, a squeeze, layers by module and by function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.one = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.two = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.down = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))
        self.main = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.gate = nn.Conv2d(16, 16, 1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2, groups=2)
        self.head = nn.Parameter(torch.randn(5, 24))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.two(self.one(x))
        y += x
        y = y.reshape(-1, 8, *y.shape[2:])  # a width in the code
        z = torch.relu(self.main(y) + self.down(y))
        z = z * torch.sigmoid(self.gate(z.mean((2, 3), keepdim=True)))
        both = torch.cat([self.up(z), y, nn.functional.max_pool2d(y, 3, 1, 1)], 1)
        return nn.functional.linear(nn.functional.dropout(both.mean((2, 3)), 0.5, self.training), self.head)


def residual() -> nn.Module:
    torch.manual_seed(0)
    made = Residual()
    with torch.no_grad():
        for _ in range(10):
            made.train()(torch.randn(16, 3, 12, 12))
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(-1.5, 1.5)  # a negative scale is one, too
                part.bias.uniform_(-0.5, 0.5)
    return made.eval()


def test_batchnorm_without_statistics_goes_on_with_those_of_the_batch() -> None:
    module, x = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), torch.randn(4, 3, 5, 5)
    with fake.quantized(module, fake.Grids(frozenset(), {})):
        assert torch.equal(
            module(x), nn.functional.batch_norm(x, None, None, *module[0].parameters(), training=True)
        )


def pruned() -> nn.Module:
    """A network whose code fixes a width: pruned, it goes on as its graph."""
    module, x = residual(), (torch.randn(2, 3, 12, 12),)
    analysis = channels.analyse(module, x)
    made, step = channels.cut(module, x, analysis, {"stem.0.weight": [0, 1]})
    assert step["graph"]
    assert isinstance(made, TracedNet)
    return made.eval()


class Pyramid(nn.Module):
    """One head for maps of several sizes, as in RetinaNet and FCOS: each has its own range."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        maps = [x, 20 * torch.relu(self.down(x))]
        return torch.cat([self.head(one).flatten(2) for one in maps], 2)


@pytest.mark.parametrize(
    ("build", "dialect"),
    [(Pyramid, "tensorrt8"), (residual, "tensorrt8"), (residual, "onnxruntime"), (pruned, "tensorrt")],
)
def test_a_network_computes_what_its_file_computes(build: Callable[[], nn.Module], dialect: str) -> None:
    module, x = build(), torch.randn(64, 3, 12, 12)
    inputs = (InputConfig(shape=(3, 12, 12)),)
    proto = to_onnx(module, inputs, (), ExportConfig(opset=17, dynamic_batch=True, max_batch=64))
    subject, feeds = Subject(proto, DIALECTS[dialect]), [{"input": x.numpy()}]
    seen = calibrate.look(proto, subject.tensors(), feeds)
    ranges = calibrate.ranges(seen, "mse", subject.dialect)
    grids = fake.grids(proto, module, subject.dialect, ranges)
    file = outputs(subject.graph(ranges), feeds[0])[0]
    before = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        plain = module(x).numpy()
        with fake.quantized(module, grids):
            found = module(x).numpy()
            assert np.array_equal(
                copy.deepcopy(module)(x).numpy(), found
            )  # as the running average of the weights
            module.train()
            module(x)
            module.eval()
        assert np.array_equal(module(x).numpy(), plain)
    with fake.quantized(module, grids):
        module(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    noise = judge.error(plain, file)
    assert 1e-3 < noise < 0.1
    # Sums in another order tip a number over the edge of its step now and then; most samples have none.
    apart = np.linalg.norm(file - found, axis=1) / np.linalg.norm(file, axis=1)
    assert np.median(apart) < 1e-5
    assert judge.error(file, found) < 0.3 * noise
    assert grids.unknown == ()
    assert grids.weights == {name for name, p in module.named_parameters() if p.ndim > 1}
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if "tracked" not in name)
