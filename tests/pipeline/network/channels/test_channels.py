"""Channel dependencies: networks around one operator each, what a user may write, real ones through the whole path."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, library, nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network import channels
from jetpress.pipeline.network.channels import rules, tracing
from jetpress.pipeline.network.channels.cutting import CHANGES
from jetpress.pipeline.network.channels.graph import TracedNet
from jetpress.pipeline.pruning import allocate, criteria

OUTPUT = "output of the network"


# Small networks, each around one operator


def conv(inward: int, outward: int, size: int = 3, **arguments: Any) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, size, padding=size // 2, **arguments)


class Net(nn.Module):
    """Named parts and a forward of them."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *x: Tensor) -> Any:
        return self.run(self, *x)


def heads(self: Any, x: Tensor) -> Tensor:
    q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
    return self.out(((q @ k.mT / 4).softmax(-1) @ v).transpose(1, 2).flatten(2))


def residual(self: Any, x: Tensor) -> Tensor:
    x = self.a(x).relu()
    return self.c(x + self.b(x))


def squeeze(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    return self.c(x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None])


def shuffle(self: Any, x: Tensor) -> Tensor:
    left, right = self.a(x).chunk(2, 1)
    x = torch.cat([left, self.b(right)], 1)
    n, c, h, w = x.shape
    return self.c(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


def padded(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    return self.c(F.pad(x, (0, 0, 0, 0, 4, 4)) + self.b(x))


def mixed(self: Any, x: Tensor) -> Tensor:
    return self.c(torch.cat([self.a(x), self.b(x)], 1))


class Blur(nn.Module):
    """A depthwise filter in a buffer; the number of groups is an attribute of another name, as in timm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filt", torch.full((channels, 1, 3, 3), 1 / 9))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.get_buffer("filt"), stride=2, groups=self.channels)


IMAGE, TOKENS = (2, 3, 8, 8), (2, 5, 12)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "chain": (lambda: nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 4)), IMAGE, 16),
    "grouped": (lambda: nn.Sequential(conv(3, 16), conv(16, 24, groups=8), conv(24, 4)), IMAGE, 8),
    "grouped_wide": (lambda: nn.Sequential(conv(3, 16), conv(16, 32, groups=2), conv(32, 4)), IMAGE, 24),
    "depthwise": (lambda: nn.Sequential(conv(3, 8), conv(8, 16, groups=8), nn.ReLU(), conv(16, 4)), IMAGE, 8),
    "blurred": (lambda: nn.Sequential(conv(3, 16), Blur(16), conv(16, 4)), IMAGE, 16),
    "transposed": (lambda: nn.Sequential(conv(3, 8), nn.ConvTranspose2d(8, 6, 2, 2), conv(6, 4)), IMAGE, 14),
    "transposed_grouped": (
        lambda: nn.Sequential(conv(3, 16), nn.ConvTranspose2d(16, 12, 2, 2, groups=2), conv(12, 4)),
        IMAGE,
        14,
    ),
    "transposed_depthwise": (
        lambda: nn.Sequential(conv(3, 8), nn.ConvTranspose2d(8, 16, 2, 2, groups=8), conv(16, 4)),
        IMAGE,
        8,
    ),
    "prelu": (lambda: nn.Sequential(conv(3, 8), nn.PReLU(8), conv(8, 4)), IMAGE, 8),
    "flattened": (lambda: nn.Sequential(conv(3, 8), nn.Flatten(), nn.Linear(512, 4)), IMAGE, 8),
    "subpixel": (lambda: nn.Sequential(conv(3, 16), nn.PixelShuffle(2), conv(4, 4)), IMAGE, 4),
    "mlp": (lambda: nn.Sequential(nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 4)), TOKENS, 16),
    "attention": (lambda: Net(heads, qkv=nn.Linear(12, 48), out=nn.Linear(16, 4)), TOKENS, 8),
    "residual": (lambda: Net(residual, a=conv(3, 8), b=conv(8, 8), c=conv(8, 4)), IMAGE, 8),
    "squeeze": (lambda: Net(squeeze, a=conv(3, 8), gate=nn.Linear(8, 8), c=conv(8, 4)), IMAGE, 8),
    "shuffle": (lambda: Net(shuffle, a=conv(3, 16), b=conv(8, 8), c=conv(16, 4)), IMAGE, 8),
    "padded": (lambda: Net(padded, a=conv(3, 8), b=conv(8, 16), c=conv(16, 4)), IMAGE, 16),
    "concatenated": (lambda: Net(mixed, a=conv(3, 8), b=conv(3, 6), c=conv(14, 4)), IMAGE, 14),
}  # fmt: skip


def half(graph: channels.ChannelGraph, seed: int = 0) -> dict[str, list[int]]:
    """Every second unit, chosen at random."""
    generator = np.random.default_rng(seed)
    return {g.name: sorted(generator.permutation(g.units)[: g.units // 2].tolist()) for g in graph.groups}


@pytest.mark.parametrize("name", NETS)
def test_cut_equals_dense_with_zeroed_parameters(name: str) -> None:
    """An oracle of its own: in the dense network, every number that belongs to a removed unit is set to zero."""
    build, shape, units = NETS[name]
    torch.manual_seed(1)
    module, x = build().eval(), torch.randn(shape)
    graph = channels.analyse(module, (x,))
    assert sum(group.units for group in graph.groups) == units
    removal = half(graph)
    smaller, step = channels.cut(module, (x,), graph, removal)
    assert not step["refused"]
    tensors = dict(module.named_parameters())
    with torch.no_grad():
        for group in graph.groups:
            for (parameter, axis), indices in group.slices.items():
                if parameter in tensors:
                    gone = indices[removal[group.name]].ravel()
                    tensors[parameter].index_fill_(axis, torch.from_numpy(gone), 0)
        torch.testing.assert_close(smaller(x), module(x), rtol=1e-4, atol=1e-5)


def counts(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# What a user may write


class TwoInputs(nn.Module):
    """Two inputs, a dict out, a tied weight, a parameter and a buffer outside of layers, a width as attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 16
        self.image, self.side = nn.Conv2d(3, 16, 3), nn.Linear(5, 16)
        self.first, self.second = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.rand(16))
        self.register_buffer("shift", torch.rand(16))
        self.constant = torch.rand(16)
        self.out = nn.Linear(16, 3)

    def forward(self, image: Tensor, side: Tensor) -> dict[str, Tensor]:
        x = self.image(image).mean((2, 3)) + self.side(side).view(-1, self.width)
        x = self.second(self.first(x).relu()) * self.scale + self.shift * self.constant
        return {"class": self.out(x), "features": x.sum(1)}


def test_two_inputs_dict_ties_attributes_and_loose_tensors() -> None:
    module = TwoInputs().eval()
    inputs = (torch.randn(2, 3, 8, 8), torch.randn(2, 5))
    graph = channels.analyse(module, inputs)
    smaller, step = channels.cut(module, inputs, graph, half(graph))
    assert not step["graph"]
    assert step["attributes"][""] == {"width": 8}
    assert isinstance(smaller, TwoInputs)
    assert smaller.first.weight is smaller.second.weight
    assert smaller.constant.shape == smaller.shift.shape == smaller.scale.shape == (8,)
    assert set(smaller(*inputs)) == {"class", "features"}
    assert module.width == 16  # the network given is not touched
    assert module.first.weight.shape == (16, 16)


class Halves(nn.Module):
    """An attribute that is a width, the height of the image and the batch size all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.heads = 8, 2
        self.a, self.b, self.c = conv(3, 8), conv(4, 4), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).split(self.width // 2, dim=1)
        return self.c(self.b(left) + right).view(len(x), 2, 2, 8, 8)


def test_a_width_that_is_also_the_height_of_the_image_is_found() -> None:
    module = Halves().eval()
    x = (torch.randn(2, 3, 8, 8),)
    graph = channels.analyse(module, x)
    smaller, step = channels.cut(module, x, graph, {graph.groups[0].name: [0, 1]})
    assert not step["graph"]
    assert step["attributes"][""] == {"width": 4}
    assert smaller(*x).shape == (2, 2, 2, 8, 8)


class Caching(nn.Module):
    """Keeps something for inference, as LeViT does its attention biases."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bias = conv(3, 8), conv(8, 4), nn.Parameter(torch.rand(8))
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Caching:
        if mode:
            self.kept.clear()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.b(self.a(x) * (self.bias * 2)[:, None, None])
        if "bias" not in self.kept:
            self.kept["bias"] = self.bias * 2
        return self.b(self.a(x) * self.kept["bias"][:, None, None])


def test_what_a_network_keeps_for_inference_is_neither_used_nor_changed() -> None:
    module = Caching().eval()
    x = (torch.randn(IMAGE),)
    module(*x)
    kept = module.kept["bias"]
    graph = channels.analyse(module, x)
    assert ("bias", 0) in graph.groups[0].slices
    smaller, step = channels.cut(module, x, graph, {"a.weight": [0, 5]})
    assert not step["graph"]
    assert smaller(*x).shape == (2, 4, 8, 8)
    assert module.kept["bias"] is kept
    assert not module.training


class Masked(nn.Module):
    """In training a parameter is written over some places, and a layer is left out by chance (wav2vec 2.0)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.mid, self.b, self.over = conv(3, 8), conv(8, 8), conv(8, 4), nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).movedim(1, -1).clone()
        if self.training:
            x[torch.rand(x.shape[:3]) < 0.5] = self.over
        x = x.movedim(-1, 1)
        if not self.training or torch.rand([]) < 0.5:
            x = x + self.mid(x)
        return self.b(x)


def test_what_only_training_writes_is_cut_as_well() -> None:
    module, x = Masked().eval(), (torch.randn(IMAGE),)
    graph = channels.analyse(module, x)
    (group,) = graph.groups
    assert ("over", 0) in group.slices
    smaller, step = channels.cut(module, x, graph, {group.name: [0, 5]})
    assert not step["graph"]
    assert smaller.train()(*x).shape == (2, 4, 8, 8)


class Auxiliary(nn.Module):
    """A head that only trains, as GoogLeNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b, self.side = conv(3, 8), nn.BatchNorm2d(8), conv(8, 4), conv(8, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.a(x))
        return (self.b(x), self.side(x)) if self.training else self.b(x)


def test_heads_that_only_train_are_cut_as_well() -> None:
    module = Auxiliary().eval()
    x = (torch.randn(IMAGE),)
    mean, state = module.norm.running_mean.clone(), torch.get_rng_state()
    graph = channels.analyse(module, x)
    assert torch.equal(mean, module.norm.running_mean)
    assert torch.equal(state, torch.get_rng_state())
    smaller, step = channels.cut(module, x, graph, {"a.weight": [0, 1, 2]})
    assert not step["graph"]
    with torch.no_grad():
        for tensor, axis in (("a.weight", 0), ("a.bias", 0), ("norm.weight", 0), ("norm.bias", 0)):
            module.get_parameter(tensor).index_fill_(axis, torch.arange(3), 0)
        for found, expected in zip(smaller.train()(*x), module.train()(*x), strict=True):
            torch.testing.assert_close(found, expected)


class OwnWidths(nn.Module):
    """Computes a width in its code: no attribute to change."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.a(x)) + torch.zeros(len(x), 1, 1, 1)
        return self.b(F.dropout(x.reshape(len(x), 16, *x.shape[2:]), 0.5, self.training))


def test_the_graph_goes_on_where_the_code_cannot_change() -> None:
    module = OwnWidths().eval()
    x = torch.randn(2, 3, 8, 8)
    graph = channels.analyse(module, (x,))
    smaller, step = channels.cut(module, (x,), graph, half(graph))
    assert step["graph"]
    assert "shape" in step["why"]
    assert isinstance(smaller, TracedNet)
    assert smaller(torch.randn(5, 3, 8, 8)).shape == (5, 4, 4, 4)
    mean = smaller.norm.running_mean.clone()
    smaller.eval()(x)
    assert torch.equal(mean, smaller.norm.running_mean)
    assert torch.equal(smaller(x), copy.deepcopy(smaller)(x))
    copied = copy.deepcopy(smaller).train()
    assert not torch.equal(copied(x), copied(x))  # dropout
    smaller.train()
    smaller(x)
    assert not torch.equal(mean, smaller.norm.running_mean)
    again = channels.analyse(smaller.eval(), (x,))  # a second round starts from the graph
    twice, _ = channels.cut(smaller, (x,), again, {again.groups[0].name: [0]})
    assert twice(x).shape == (2, 4, 4, 4)
    assert dict(twice.named_parameters())["a.weight"].shape[0] == 7


class OwnDevice(OwnWidths):
    """Brings its output to where its input was."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.device, torch.float32)


def test_the_graph_goes_on_in_mixed_precision_and_on_another_device() -> None:
    """The export notes the types and devices that it saw, and checks that they stay."""
    module, x = OwnDevice().eval(), torch.randn(2, 3, 8, 8)
    graph = channels.analyse(module, (x,))
    smaller, step = channels.cut(module, (x,), graph, half(graph))
    assert step["graph"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(smaller(x), smaller.float()(x), atol=0.1)
    assert smaller.to("meta")(x.to("meta")).device.type == "meta"


def test_what_stays_is_reported_with_the_operator() -> None:
    module = Net(lambda self, x: self.b(self.a(x).cumsum(1)), a=conv(3, 8), b=conv(8, 4)).eval()
    graph = channels.analyse(module, (torch.randn(IMAGE),))
    assert not graph.groups
    assert graph.fixed == {"a.weight": "cumsum (no rule)", "b.weight": OUTPUT}


def insisting(self: Any, x: Tensor) -> Tensor:
    """Asks for single precision in every way there is."""
    assert x.dtype == torch.float32
    x = self.a(x).float()
    x = x * torch.arange(1, 9, dtype=torch.float32).roll(1) + self.loose  # the last axis: the image's width
    x = x + torch.fft.fft(torch.arange(8, dtype=torch.float32)).to(torch.complex64).imag
    x = x.masked_fill(x < torch.finfo(x.dtype).min, 0).to(dtype=torch.float)
    assert x.dtype is torch.float32
    return self.b(torch.zeros(x.shape, dtype=torch.float32).add(x).half().float())


def test_a_network_that_insists_on_single_precision_is_judged_in_double() -> None:
    module = Net(insisting, a=conv(3, 8), b=conv(8, 4)).eval()
    module.loose = torch.randn(8)  # type: ignore[assignment]
    x = (torch.randn(IMAGE),)
    graph = channels.analyse(module, x)
    _, step = channels.cut(module, x, graph, half(graph))
    assert set(step["units"]) == {"a.weight"}
    assert step["precision"] == "double"
    assert not step["graph"]
    assert step["error"] < 1e-12


@library.custom_op("channel_tests::single", mutates_args=())
def single(x: Tensor) -> Tensor:
    """An operator of the user's own, that knows one type only and has no rule."""
    if x.dtype != torch.float32:
        raise RuntimeError(f"not implemented for {x.dtype}")
    return x.cumsum(1)


def test_an_operator_that_exists_in_single_precision_only_is_named() -> None:
    module = Net(lambda self, x: self.c(single(self.b(self.a(x)))), a=conv(3, 8), b=conv(8, 8), c=conv(8, 4))
    module, x = module.eval(), (torch.randn(IMAGE),)
    graph = channels.analyse(module, x)
    assert graph.fixed["b.weight"].startswith("channel_tests::single (no rule)")
    smaller, step = channels.cut(module, x, graph, half(graph))
    assert set(step["units"]) == {"a.weight"}
    assert step["precision"] == "single in single.default, else double"
    assert step["error"] <= 1e-5
    assert smaller(*x).shape == (2, 4, 8, 8)


def test_a_wrong_rule_is_found_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flip without turning the labels around: only the groups that run through it are refused."""
    monkeypatch.setitem(rules.RULES, "flip", lambda call: call.axes("self"))

    def run(self: Any, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)).flip(1))

    module = Net(run, a=conv(3, 8), b=conv(8, 8), c=conv(8, 4)).eval()
    x = (torch.randn(IMAGE),)
    graph = channels.analyse(module, x)
    _, step = channels.cut(module, x, graph, {"a.weight": [0, 1], "b.weight": [0, 1]})
    assert step["refused"] == {"b.weight": CHANGES}
    assert step["units"] == {"a.weight": [8, 6]}
    with pytest.raises(StageError, match=r"b\.weight"):
        channels.cut(module, x, graph, {"b.weight": [0]})


def test_data_dependent_control_flow_is_a_stage_error() -> None:
    module = Net(lambda self, x: self.a(x) if x.sum() > 0 else x, a=conv(3, 3))
    with pytest.raises(StageError, match="cannot be traced"):
        channels.analyse(module, (torch.randn(IMAGE),))


def test_modes_are_kept() -> None:
    module = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), conv(8, 4)).train()
    module[1].eval()
    channels.analyse(module, (torch.randn(1, 3, 8, 8),))
    assert [part.training for part in module] == [True, False, True]


def test_the_analysis_records_and_the_export_is_kept_for_what_lives_on_as_graph() -> None:
    """Every way of reading a network gives the same groups; a recording holds the operators undecomposed."""
    module = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.Flatten(2), nn.Linear(64, 16), nn.Linear(16, 4)
    ).eval()
    x = (torch.randn(IMAGE),)
    recorded, exported = channels.analyse(module, x), channels.analyse(module, x, any_batch=True)
    assert type(recorded.trace.module) is not type(exported.trace.module)
    assert [call.name for call in recorded.trace.calls.values()] == [
        "conv2d", "batch_norm", "flatten", "linear", "linear",
    ]  # fmt: skip
    assert [call.where for call in recorded.trace.calls.values()] == ["0", "1", "2", "3", "4"]
    assert [(g.name, g.units, list(g.slices)) for g in recorded.groups] == [
        (g.name, g.units, list(g.slices)) for g in exported.groups
    ]


def test_products_are_not_computed_and_the_recording_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their zeros have the shape, strides and type of the real thing: everything after them runs alike."""
    seen: list[tuple[torch.Size, tuple[int, ...], torch.dtype]] = []

    def body(self: nn.Module, x: Tensor) -> Tensor:
        y = self.a(x.to(memory_format=torch.channels_last))
        y = torch.baddbmm(
            y.flatten(2), self.b(y.flatten(2)), y.flatten(2)[..., : y.shape[1]].mT @ y.flatten(2)
        )
        z = torch.nn.functional.conv1d(y, y[:1, :, :3].double().float())
        seen.extend((t.shape, t.stride(), t.dtype) for t in (y, z))
        return self.c(y.unflatten(2, (8, 8))) + z.sum()

    module = Net(
        body, a=conv(3, 8), b=nn.Linear(64, 8), c=nn.ConvTranspose2d(8, 4, 2, dtype=torch.float32)
    ).eval()
    quick = tracing.recorded(module, (torch.randn(IMAGE),))
    monkeypatch.setattr(tracing, "PRODUCTS", frozenset())
    computed = tracing.recorded(module, (torch.randn(IMAGE),))
    assert seen[:2] == seen[2:]
    assert [(str(n.target), n.meta.get("shapes")) for n in quick.graph.nodes] == [
        (str(n.target), n.meta.get("shapes")) for n in computed.graph.nodes
    ]


def test_code_that_reads_values_is_left_to_the_exporter() -> None:
    """What depends on a parameter's value may be traced, what depends on the input may not: see the next test."""
    module = Net(lambda self, x: self.b(self.a(x)) * float(x.shape[0]), a=conv(3, 8), b=conv(8, 4)).eval()
    assert channels.analyse(module, (torch.randn(IMAGE),)).groups
    with pytest.raises(tracing.ReadsDataError):
        tracing.recorded(Net(lambda self, x: x * x.sum().item()), (torch.randn(IMAGE),))


# Real networks


def tiny_densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=16, block_config=(2, 2), num_init_features=16, num_classes=10)


def tiny_swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4], num_classes=10, stochastic_depth_prob=0.0)


def tiny_vit() -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4, num_classes=10
    )  # type: ignore[no-any-return]


def torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision.models as zoo

        return zoo.get_model(name, weights=None)  # type: ignore[no-any-return]

    return build


REAL: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (torchvision("resnet18"), 32),
    "mobilenet_v2": (torchvision("mobilenet_v2"), 32),
    "shufflenet_v2_x0_5": (torchvision("shufflenet_v2_x0_5"), 32),
    "mobilenet_v3_small": (torchvision("mobilenet_v3_small"), 32),
    "densenet": (tiny_densenet, 32),
    "vit": (tiny_vit, 32),
    "swin": (tiny_swin, 32),
}


@pytest.mark.parametrize("name", REAL)
def test_the_whole_path(name: str) -> None:
    """Prune by half in multiples of 8 > train a step > save, replay, load > equal."""
    build, side = REAL[name]
    torch.manual_seed(2)
    module, inputs = build().eval(), (torch.randn(2, 3, side, side),)
    graph = channels.analyse(module, inputs)
    removal = allocate.uniform(graph, criteria.scores("l2", module, graph), 0.5, allocate.Room(8))
    smaller, step = channels.cut(module, inputs, graph, removal)
    assert not step["refused"]
    assert set(graph.fixed.values()) == {OUTPUT}
    assert counts(smaller) < 0.5 * counts(module)
    assert all(
        g.width * step["units"][g.name][1] // g.units % 8 == 0 for g in graph.groups if g.name in removal
    )

    smaller.train()
    torch.stack([smaller(torch.randn(3, 3, side, side)).square().mean()]).sum().backward()
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter -= 0.01 * (parameter.grad if parameter.grad is not None else 0)
    smaller.eval()

    again = channels.replay(module, inputs, json.loads(json.dumps(step))).eval()
    again.load_state_dict(smaller.state_dict())
    with torch.no_grad():
        assert torch.equal(again(inputs[0]), smaller(inputs[0]))


class OwnWidthsAndHeads(OwnWidths):
    """Beside a width in its text: a head that only trains, or a loss of its own that takes targets."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.c = kind, conv(4, 8)
        self.side, self.d = conv(8, 4), conv(8, 4)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Any:
        y = self.c(super().forward(x))
        if not self.training:
            return self.d(y)
        if self.kind == "loss":
            assert target is not None, "targets should be given"
            return {"loss": (self.d(y) - target).square().mean()}
        return self.d(y), self.side(y)


@pytest.mark.parametrize(
    ("kind", "why"), [("heads", "returns something else"), ("loss", "targets should be given")]
)
def test_what_only_training_returns_is_kept_with_the_module(kind: str, why: str) -> None:
    """The graph of inference would lose it: so the module stays, and what it cannot take is not cut."""
    module, x = OwnWidthsAndHeads(kind).eval(), (torch.randn(IMAGE),)
    graph = channels.analyse(module, x)
    smaller, step = channels.cut(module, x, graph, half(graph))
    assert not step["graph"]
    assert list(step["refused"]) == ["a.weight"]
    assert why in step["refused"]["a.weight"]
    assert smaller.c.weight.shape[0] == 4  # type: ignore[union-attr, index]
    target = torch.zeros(2, 4, 4, 4)
    trained = smaller.train()(*x, target)
    assert set(trained) == {"loss"} if kind == "loss" else [y.shape[1] for y in trained] == [4, 4]
    alone = {"a.weight": [0]}
    with pytest.raises(StageError, match=why) as error:
        channels.cut(module, x, graph, alone)
    assert "attributes" in error.value.hint
