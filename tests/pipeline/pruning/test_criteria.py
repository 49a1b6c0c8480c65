"""What every criterion owes: a number per unit, the right order, no dependence on the order of the units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network.channels import ChannelGraph, analyse
from jetpress.pipeline.pruning import criteria
from jetpress.pipeline.pruning.criteria import Statistics
from jetpress.pipeline.pruning.statistics import activations, gradients

INPUTS = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)
NAMES = sorted(criteria.CRITERIA)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 2, 3)
    )
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.eval()


def statistics(module: nn.Module) -> Statistics:
    """All that the criteria may look at: on one batch, with the mean square of the outputs as loss."""
    batches = [((INPUTS[0],), None)]
    slopes = gradients(module, batches, lambda outputs, *_: outputs.square().mean())
    shown = activations(module, batches)
    return Statistics(slopes.gradients, slopes.squares, shown.means, shown.zeros)


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return analyse(network(), INPUTS)


@pytest.mark.parametrize("name", NAMES)
def test_shape_sign_and_determinism(name: str, graph: ChannelGraph) -> None:
    module = network()
    first, second = (criteria.scores(name, module, graph, statistics(module), seed=7) for _ in range(2))
    assert {key: value.shape for key, value in first.items()} == {"0.weight": (8,), "3.weight": (6,)}
    for key, value in first.items():
        assert np.isfinite(value).all()
        assert (value >= 0).all()
        np.testing.assert_array_equal(value, second[key])


@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
def test_units_reordered_reorder_the_scores(name: str, graph: ChannelGraph) -> None:
    module = network()
    before = criteria.scores(name, module, graph, statistics(module))["0.weight"]
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    with torch.no_grad():
        for tensor in (module[0].weight, module[0].bias, module[1].weight, module[1].bias):
            tensor.copy_(tensor[order])
        module[3].weight.copy_(module[3].weight[:, order])
    after = criteria.scores(name, module, graph, statistics(module))["0.weight"]
    np.testing.assert_allclose(after, before[order.numpy()], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("random", "fpgm")])
def test_a_unit_of_zeros_matters_least(name: str, graph: ChannelGraph) -> None:
    module = network()
    slopes = statistics(module)
    with torch.no_grad():
        for tensor in (module[0].weight, module[0].bias, module[1].weight, module[1].bias):
            tensor[5] = 0
        module[3].weight[:, 5] = 0
    if name in ("activation", "apoz"):
        slopes = statistics(module)
    scores = criteria.scores(name, module, graph, slopes)["0.weight"]
    assert scores.argmin() == 5
    assert scores[5] == 0


def test_norms_are_over_everything_that_goes(graph: ChannelGraph) -> None:
    module = network()
    numbers = np.concatenate(
        [
            module[0].weight.detach()[2].flatten(),
            *(t.detach()[2:3] for t in (module[0].bias, module[1].weight, module[1].bias)),
            module[3].weight.detach()[:, 2].flatten(),
        ]
    ).astype(np.float64)
    l1, l2 = (criteria.scores(name, module, graph)["0.weight"][2] for name in ("l1", "l2"))
    assert l1 == pytest.approx(np.abs(numbers).sum(), rel=1e-6)
    assert l2 == pytest.approx(np.linalg.norm(numbers), rel=1e-6)


DEGREES = {
    "l1": 1,
    "l2": 1,
    "fpgm": 1,
    "bn_scale": 1,
    "taylor": 1,
    "fisher": 2,
    "activation": 0,
    "apoz": 0,
    "lamp": 0,
}
"""How scores grow with the weights, where what the data shows stays the same; ``random`` looks at neither."""


@pytest.mark.parametrize("name", DEGREES)
@settings(max_examples=5, deadline=None)
@given(scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_a_common_scale_changes_no_order(name: str, graph: ChannelGraph, scale: float, seed: int) -> None:
    module = network(seed)
    shown = statistics(module)
    before = criteria.scores(name, module, graph, shown)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= scale
    after = criteria.scores(name, module, graph, shown)
    for key, value in before.items():
        np.testing.assert_allclose(after[key], scale ** DEGREES[name] * value, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["l1", "l2", "bn_scale", "taylor", "fisher", "lamp"])
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(8)))
def test_a_unit_with_more_of_the_same_matters_more(name: str, graph: ChannelGraph, order: list[int]) -> None:
    """Units that are one and the same but for their size are ranked by it."""
    module = network()
    shown = Statistics(*({n: torch.ones_like(p) for n, p in module.named_parameters()} for _ in range(2)))
    sizes = 1 + torch.tensor(order, dtype=torch.float32)
    with torch.no_grad():
        for tensor in (module[0].weight, module[0].bias, module[1].weight, module[1].bias):
            tensor.copy_(torch.einsum("i,...->i...", sizes, tensor[0]))
        module[3].weight.copy_(torch.einsum("i,o...->oi...", sizes, module[3].weight[:, 0]))
    scores = criteria.scores(name, module, graph, shown)["0.weight"]
    assert scores.argsort().tolist() == np.argsort(order).tolist()


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_norms_scale_with_the_weights(name: str, graph: ChannelGraph) -> None:
    module = network()
    before = criteria.scores(name, module, graph)["3.weight"]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 4
    np.testing.assert_allclose(criteria.scores(name, module, graph)["3.weight"], 4 * before, rtol=1e-6)


def test_fpgm_finds_the_filter_in_the_middle(graph: ChannelGraph) -> None:
    module = network()
    with torch.no_grad():
        module[0].weight[4] = module[0].weight.mean(0)
    assert criteria.scores("fpgm", module, graph)["0.weight"].argmin() == 4


def test_bn_scale_is_the_scale_and_falls_back(graph: ChannelGraph) -> None:
    module = network()
    found = criteria.scores("bn_scale", module, graph)
    np.testing.assert_allclose(found["0.weight"], module[1].weight.detach().abs().double(), rtol=1e-6)
    np.testing.assert_array_equal(found["3.weight"], criteria.scores("l2", module, graph)["3.weight"])


def test_taylor_predicts_the_loss_of_small_units(graph: ChannelGraph) -> None:
    """The bias alone: removing it changes the loss by its gradient, to first order."""
    module = network()
    slope = statistics(module).gradients["3.bias"]
    found = criteria.scores("taylor", module, graph, Statistics({"3.bias": slope}))["3.weight"]
    np.testing.assert_allclose(found, (module[3].bias.detach() * slope).abs().double(), rtol=1e-5)


def test_activations_are_those_where_the_channel_is_read(graph: ChannelGraph) -> None:
    module = network()
    seen = module[:3](*INPUTS).detach()
    found = criteria.scores("activation", module, graph, statistics(module))["0.weight"]
    np.testing.assert_allclose(found, seen.abs().mean((0, 2, 3)), rtol=1e-5)
    found = criteria.scores("apoz", module, graph, statistics(module))["0.weight"]
    np.testing.assert_allclose(found, (seen > 0).double().mean((0, 2, 3)), rtol=1e-6)


def test_data_is_asked_for(graph: ChannelGraph) -> None:
    with pytest.raises(StageError, match="looks at data"):
        criteria.scores("taylor", network(), graph)


def test_random_depends_on_the_seed_and_the_group(graph: ChannelGraph) -> None:
    first, second = (criteria.scores("random", network(), graph, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first["0.weight"], second["0.weight"])
    assert not np.array_equal(first["0.weight"][:6], first["3.weight"])
