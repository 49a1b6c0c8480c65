"""Layers behind a cut are fitted to what they gave before: exactly where that is possible, never for the worse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import jetpress
from jetpress.deploy.errors import RecipeError


class Net(nn.Module):
    """Plain, depthwise and grouped convolutions, a residual sum, a linear layer."""

    def __init__(self, twins: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.wide = nn.Conv2d(16, 32, 1)
        self.deep = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.back = nn.Conv2d(32, 16, 1)
        self.last = nn.BatchNorm2d(16)
        self.some = nn.Conv2d(16, 32, 3, stride=2, groups=4)
        self.head = nn.Linear(32, 5)
        if twins:  # the second half of the wide channels is a mixture of the first
            with torch.no_grad():
                for one in (self.wide, self.deep):
                    one.weight[16:] = one.weight[:16] if one is self.deep else 0.1 * one.weight[:16]
                    assert one.bias is not None
                    one.bias[16:] = one.bias[:16] if one is self.deep else 0.1 * one.bias[:16]
                self.deep.bias[:] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = x + self.last(self.back(F.relu(self.deep(F.relu(self.wide(x))))))
        return self.head(F.relu(self.some(x)).mean((2, 3)))


def images(count: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def network(twins: bool = False) -> Net:
    torch.manual_seed(0)
    module = Net(twins).train()
    for _ in range(20):  # statistics that fit
        module(images())
    return module.eval()


def far(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((one(x) - other(x)).square().sum() / one(x).square().sum())


def test_what_others_can_give_is_given_back() -> None:
    """The channels that go are multiples of ones that stay: nothing is lost, on images that were never seen."""
    dense = network(twins=True)
    cut = {
        "criterion": "l1",
        "ratio": 0.5,
        "channel_multiple": 1,
        "ignore": ["stem.*", "some.*", "norm.*", "head.*"],
    }
    plain = jetpress.prune(dense, images(2), **cut, reconstruct=False)
    fitted = jetpress.prune(dense, images(2), **cut, reconstruct=True, batches=[images()])
    assert fitted.module.wide.out_channels == 16
    assert far(dense, plain.module, images(seed=1)) > 1e-4
    assert far(dense, fitted.module, images(seed=1)) < 1e-5


@pytest.mark.parametrize("normed", [True, False])
def test_a_constant_goes_into_the_bias_or_the_mean_that_is_taken_off(normed: bool) -> None:
    """The channels that go say the same of every image: nothing is lost."""
    torch.manual_seed(0)
    reader = (nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)) if normed else (nn.Conv2d(8, 6, 1),)
    dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *reader, nn.Flatten(), nn.Linear(600, 4)).eval()
    with torch.no_grad():
        dense[0].weight[4:], dense[0].bias[4:] = 0, 1  # type: ignore[operator, index]
    cut = {"criterion": "l1", "channel_multiple": 1, "ignore": ["2.*"]}
    plain = jetpress.prune(dense, images(2), **cut)
    fitted = jetpress.prune(dense, images(2), **cut, reconstruct=True, batches=[images()])
    assert fitted.module[0].out_channels == 4
    assert far(dense, plain.module, images(seed=1)) > 1e-2
    assert far(dense, fitted.module, images(seed=1)) < 1e-6


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_any_cut_is_nearer_to_the_dense_network_afterwards(ratio: float) -> None:
    dense, unseen = network(), images(seed=1)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    plain = jetpress.prune(dense, images(2), ratio=ratio, channel_multiple=1)
    fitted = jetpress.prune(
        dense, images(2), ratio=ratio, channel_multiple=1, reconstruct=True, batches=[images()]
    )
    assert {name: t.shape for name, t in fitted.module.state_dict().items()} == {
        name: t.shape for name, t in plain.module.state_dict().items()
    }
    assert far(dense, fitted.module, unseen) < 0.7 * far(dense, plain.module, unseen)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


def test_the_same_cut_gives_the_same_weights() -> None:
    dense = network()
    first, second = (
        jetpress.prune(
            dense, images(2), channel_multiple=1, reconstruct=True, batches=[images()]
        ).module.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_shared_weight_is_fitted_once_and_stays_shared() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 16)
            self.middle = nn.Linear(16, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.middle(F.relu(self.middle(F.relu(self.first(x)))))))

    torch.manual_seed(0)
    dense, x = Shared().eval(), torch.randn(256, 6)
    fitted = jetpress.prune(dense, x[:2], channel_multiple=1, reconstruct=True, batches=[x]).module
    assert fitted.middle.in_features == 8
    assert torch.isfinite(fitted(x)).all()


@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (16, 1, 1), (1,), ()])
def test_a_parameter_that_is_added_lacks_nothing(shape: tuple[int, ...]) -> None:
    """A bias as Paddle's files have it."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 16, 3, bias=False)
            self.shift, self.head = nn.Parameter(torch.randn(shape)), nn.Conv2d(16, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.second(F.relu(self.first(x))) + self.shift))

    torch.manual_seed(0)
    dense, unseen = Shifted().eval(), images(seed=1)
    plain, fitted = (
        jetpress.prune(dense, images(2), channel_multiple=1, reconstruct=how, batches=[images()])
        for how in (False, True)
    )
    assert far(dense, fitted.module, unseen) < far(dense, plain.module, unseen)


def test_without_images_it_is_refused_where_no_batchnorm_was_trained() -> None:
    with pytest.raises(RecipeError, match="reconstruct=True looks at data"):
        jetpress.prune(Net(), images(2), reconstruct=True)
