"""Without images: BatchNorm says what activations were like, and no statistic of the noise is left in the network."""

from __future__ import annotations

import copy
import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import jetpress
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.functions import sparsifying
from jetpress.pipeline.pruning.imagined import _images, _noise, imagined
from jetpress.pipeline.training.norms import statistics


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.two, self.last = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.two(F.relu(self.norm(self.one(x)))))
        return F.relu(x + y)


def net() -> nn.Sequential:
    stem = (nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    return nn.Sequential(*stem, Block(32), nn.MaxPool2d(2), Block(32), nn.Flatten(), nn.Linear(32 * 16, 10))


@cache
def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)[:, None]
    return (x - x.mean()) / x.std(), torch.tensor(found.target)


@cache
def trained() -> nn.Sequential:
    torch.manual_seed(0)
    module, (x, y) = net(), digits()
    optimizer = torch.optim.AdamW(module.parameters(), 0.003)
    for _ in range(3):
        for chosen in torch.randperm(1200).split(64):
            optimizer.zero_grad()
            F.cross_entropy(module.train()(x[chosen]), y[chosen]).backward()
            optimizer.step()
    return module.eval()


def accuracy(module: nn.Module) -> float:
    x, y = digits()
    with torch.no_grad():
        return 100 * float((module.eval()(x[1200:]).argmax(1) == y[1200:]).double().mean())


def held(module: nn.Module) -> dict[str, Tensor]:
    return {name: one.clone() for name, one in module.state_dict().items()}


def is_as_it_was(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(one, before[name]) for name, one in module.state_dict().items())


def example() -> Tensor:
    return torch.zeros(1, 1, 8, 8)


def test_most_of_what_a_cut_costs_comes_back_without_an_image() -> None:
    dense = trained()
    before = held(dense)
    some = digits()[0][:256].split(32)
    cut, free, shown = (
        jetpress.prune(dense, example(), ratio=0.5, channel_multiple=1, reconstruct=how, batches=batches)
        for how, batches in ((False, None), (None, None), (None, some))
    )
    assert cut.size == free.size == shown.size
    losses = [accuracy(dense) - accuracy(one.module) for one in (cut, free, shown)]
    assert losses[0] > 15
    assert losses[1] < losses[0] / 2
    assert losses[2] < losses[1]
    assert "no batches were given" in str(free.notes)
    assert not cut.notes
    assert not shown.notes
    assert is_as_it_was(dense, before)


def test_widths_are_measured_on_noise_too() -> None:
    measured = jetpress.prune(
        trained(), example(), macs=0.5, scope="measured", criterion="obs", channel_multiple=1
    )
    uniform = jetpress.prune(trained(), example(), macs=0.5, channel_multiple=1)
    assert measured.size.macs <= 0.5 * measured.dense.macs
    assert accuracy(measured.module) > accuracy(uniform.module)


def test_batchnorm_has_its_own_statistics_again() -> None:
    dense = trained()
    slim = jetpress.prune(dense, example(), ratio=0.25, ignore=["0.*", "3.two.*"])
    old, new = dense.state_dict(), slim.module.state_dict()
    uncut = ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert all(torch.equal(old[name], new[name]) for name in uncut)
    kept = len(new["3.norm.running_var"])
    assert kept < 32
    found = (new["3.norm.running_var"][:, None] == old["3.norm.running_var"]).any(1)
    assert found.all()


def test_modes_stay() -> None:
    dense = copy.deepcopy(trained()).train()
    dense[1].eval()
    for made in (
        jetpress.prune(dense, example(), ratio=0.25),
        jetpress.sparsify(dense, example(), mode="force"),
    ):
        assert [part.training for part in made.module.modules()] == [
            part.training for part in dense.modules()
        ]


def test_what_is_not_cut_is_as_it_was() -> None:
    dense = trained()
    same = jetpress.prune(dense, example(), ratio=0.0)
    assert not same.removed
    assert not same.notes
    assert is_as_it_was(same.module, held(dense))


def test_a_network_that_goes_on_as_its_graph_and_one_that_is_cut_again() -> None:
    class Own(nn.Module):
        """Its reshape names a width, which a cut cannot change in the code."""

        def __init__(self) -> None:
            super().__init__()
            self.body = trained()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body[7](self.body[:6](x).reshape(-1, 32 * 16))
            return y

    once = jetpress.prune(Own().eval(), example(), ratio=0.25, channel_multiple=1)
    twice = jetpress.prune(once, example(), ratio=0.5, channel_multiple=1)
    plain = jetpress.prune(Own().eval(), example(), ratio=0.5, channel_multiple=1, reconstruct=False)
    names = {name for pair in statistics(twice.module) for name in pair}
    assert {name for name in twice.module.state_dict() if "running" in name} == names
    assert twice.size.parameters == plain.size.parameters
    assert accuracy(twice.module) > accuracy(plain.module) + 10


@pytest.mark.parametrize(
    "module", [net(), nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())], ids=["untrained", "none"]
)
def test_nothing_is_imagined_where_nothing_is_known(module: nn.Module) -> None:
    before = held(module.eval())
    assert imagined(module, (example(),), 0) is None
    assert is_as_it_was(module, before)
    assert not jetpress.prune(module, example(), ratio=0.5, channel_multiple=1).notes
    with pytest.raises(RecipeError, match="criterion='obs' looks at data") as error:
        jetpress.prune(module, example(), criterion="obs")
    assert "only for a network with trained BatchNorm" in error.value.hint


def test_statistics_that_are_not_finite_are_taken_back() -> None:
    class Wild(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = trained()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.body(x / x.abs().clamp(max=0))
            return y

    module = Wild().eval()
    before = held(module)
    assert imagined(module, (example(),), 0) is None
    assert is_as_it_was(module, before)


@settings(max_examples=30)
@given(
    batch=st.integers(1, 4),
    channels=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_noise_is_of_unit_variance_and_finite(batch: int, channels: int, height: int, width: int) -> None:
    found = _images((batch + 8, channels, height, width), torch.Generator().manual_seed(0))
    assert found.shape == (batch + 8, channels, height, width)
    assert math.isclose(float(found.std()), 1.0, rel_tol=1e-4)


def test_its_amplitude_falls_as_one_over_the_frequency() -> None:
    found = torch.fft.rfft2(_images((64, 3, 64, 64), torch.Generator().manual_seed(0))).abs().mean((0, 1))
    assert float(found[0, 2] / found[0, 16]) == pytest.approx(8.0, rel=0.15)
    assert float(found[4, 0] / found[16, 0]) == pytest.approx(4.0, rel=0.15)


def test_masks_are_chosen_on_noise_too() -> None:
    """Also where channels are reordered first, and BatchNorm's statistics with them."""
    dense = trained()
    found = {
        name: jetpress.sparsify(dense, example(), batches, mode="force", **keys)
        for name, batches, keys in (
            ("magnitude", None, {"method": "magnitude"}),
            ("noise", None, {}),
            ("noise, in order", None, {"permute": False}),
            ("images", digits()[0][:128], {}),
        )
    }
    assert [one.report.method for one in found.values()] == ["magnitude", *["sparsegpt"] * 3]
    x = digits()[0][1200:]
    with torch.no_grad():
        y = dense(x)
        far = {name: float((one.module.eval()(x) - y).square().mean()) for name, one in found.items()}
    assert far["images"] < far["noise"] < far["magnitude"]
    assert far["noise, in order"] < far["magnitude"]
    means = [sorted(one.state_dict()["1.running_mean"].tolist()) for one in (found["noise"].module, dense)]
    assert means[0] == means[1]


def test_without_trained_batchnorm_masks_go_by_magnitude(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jetpress.sparsify(net().eval(), example(), mode="force").report.method == "magnitude"
    monkeypatch.setattr(sparsifying, "make_sparse", None)  # what cannot be had is refused before any work
    with pytest.raises(RecipeError, match='method = "wanda" looks at data'):
        jetpress.sparsify(net().eval(), example(), method="wanda")


@pytest.mark.parametrize("shape", [(2, 64), (1, 3, 5000), (1, 3, 8, 60, 60), (1, 3, 700, 1400)])
def test_noise_of_any_shape_in_bounded_memory(shape: tuple[int, ...]) -> None:
    batches = _noise((torch.zeros(shape),), 0)
    assert all(one.shape[1:] == shape[1:] for (one,) in batches)
    assert 8 <= sum(len(one) for (one,) in batches) <= 256
    assert sum(one.numel() for (one,) in batches) <= max(2**23, 8 * math.prod(shape[1:]))
    assert all(one.isfinite().all() for (one,) in batches)


def test_statistics_that_two_share() -> None:
    first, second = nn.BatchNorm2d(32), nn.BatchNorm2d(32)
    module = nn.Sequential(nn.Conv2d(1, 32, 3), first, nn.Conv2d(32, 32, 3), second).train()
    module(digits()[0][:64])
    second.running_mean, second.running_var = first.running_mean, first.running_var
    slim = jetpress.prune(module.eval(), example(), ratio=0.25)
    assert all(one.isfinite().all() for one in slim.module.state_dict().values())
