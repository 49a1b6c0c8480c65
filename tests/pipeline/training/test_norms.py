"""All of it twice: BatchNorm as a module, and as an operator of a pruned network that goes on as its graph."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jetpress.pipeline.network import channels
from jetpress.pipeline.training import norms
from tests.pipeline.network.channels.test_channels import OwnWidths, half


@pytest.fixture(scope="module")
def both() -> dict[str, nn.Module]:
    """Convolution ``a``, BatchNorm ``norm``, dropout, convolution ``b``."""
    torch.manual_seed(0)
    module, x = OwnWidths().eval(), torch.randn(2, 3, 8, 8)
    graph = channels.analyse(module, (x,))
    smaller, step = channels.cut(module, (x,), graph, half(graph))
    assert step["graph"]
    return {"module": module, "graph": smaller}


@pytest.fixture(params=["module", "graph"])
def network(both: dict[str, nn.Module], request: pytest.FixtureRequest) -> nn.Module:
    return copy.deepcopy(both[request.param])


def statistics(network: nn.Module) -> list[torch.Tensor]:
    return [network.get_buffer(f"norm.running_{name}").clone() for name in ("mean", "var")]


def test_statistics_become_the_mean_over_all_batches(network: nn.Module) -> None:
    batches = [k * torch.randn(4, 3, 8, 8) + k for k in (1, 2, 3)]
    before = {name: p.clone() for name, p in network.named_parameters()}
    with torch.no_grad(), norms.measured_anew(network) as begin:
        for number, images in enumerate(batches):
            begin(number)
            assert torch.equal(network(images), network(images)), "no dropout"
            begin(number)
    seen = [F.conv2d(images, before["a.weight"], before["a.bias"]) for images in batches]
    # Each batch went through twice, the second time for the share of the first.
    shares, expected = (1.0, 0.5, 1 / 3), [torch.zeros(1), torch.zeros(1)]
    for share, features in zip(shares, seen, strict=True):
        for _ in range(2):
            measured = features.mean((0, 2, 3)), features.var((0, 2, 3))
            expected = [(1 - share) * old + share * new for old, new in zip(expected, measured, strict=True)]
    for found, wanted in zip(statistics(network), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    # Afterwards it infers, and training takes up its own momentum of a tenth.
    network(batches[0])
    mean = statistics(network)[0]
    torch.testing.assert_close(mean, expected[0], rtol=1e-3, atol=1e-4)
    network.train()(batches[0])
    moved = 0.9 * mean + 0.1 * seen[0].mean((0, 2, 3))
    torch.testing.assert_close(statistics(network)[0], moved, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_weights_keep_their_statistics(network: nn.Module, frozen: bool) -> None:
    network.get_parameter("norm.weight").requires_grad_(not frozen)
    before = statistics(network)
    norms.training_mode(network)
    assert network.training
    network(torch.randn(4, 3, 8, 8) + 1)
    assert torch.equal(statistics(network)[0], before[0]) == frozen


def test_all_statistics_are_kept_while_scale_and_shift_learn(network: nn.Module) -> None:
    before, images = statistics(network), torch.randn(4, 3, 8, 8) + 1
    norms.training_mode(network, frozen=True)
    assert network.training
    network(images).square().sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(statistics(network), before, strict=True))
    for name in ("norm.weight", "norm.bias"):
        gradient = network.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
    norms.training_mode(network)
    network(images)
    assert not torch.equal(statistics(network)[0], before[0])


def test_a_batch_is_normalised_by_itself_and_leaves_nothing(network: nn.Module) -> None:
    images = torch.randn(4, 3, 8, 8) + 1
    before, plain = statistics(network), network(images)
    with norms.of_the_batch(network):
        inside = network(images)
        assert torch.equal(inside, network(images))
    assert not torch.allclose(inside, plain, atol=1e-2)
    assert all(torch.equal(a, b) for a, b in zip(statistics(network), before, strict=True))
    assert torch.equal(network(images), plain)


def test_networks_without_statistics() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False)
    )
    assert not norms.any_of(module)
    norms.training_mode(module.eval())
    assert all(part.training for part in module.modules())
