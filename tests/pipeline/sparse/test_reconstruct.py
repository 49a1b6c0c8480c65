"""Masks and weights by data: the columns are what the operator sums, the error falls, the function is kept."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.pipeline.network import channels
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.sparse.products import products
from jetpress.pipeline.sparse.reconstruct import reconstruct, refined, sparsegpt
from tests.pipeline.sparse.test_matrices import drawn, every

PATTERNS = st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2), (4, 8)])


def statistics(groups: int, count: int, seed: int) -> Tensor:
    """A positive definite matrix of strongly correlated inputs."""
    x = drawn(groups, 4 * count, count, seed=seed) @ drawn(groups, count, count, seed=seed + 1)
    return x.mT @ x / (4 * count) + 0.01 * torch.eye(count)


def error(weight: Tensor, sparse: Tensor, hessian: Tensor) -> float:
    difference = weight - sparse
    return float(((difference @ hessian) * difference).sum())


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2), st.integers(1, 5), st.integers(1, 20), PATTERNS, st.integers(0, 2**31))
def test_one_pass_then_conjugate_gradients(
    groups: int, rows: int, count: int, pattern: tuple[int, int], seed: int
) -> None:
    kept, group = pattern
    weight, hessian = drawn(groups, rows, group * count, seed=seed), statistics(groups, group * count, seed)
    sparse, mask = sparsegpt(weight, hessian, kept, group)
    assert masks.holds(mask, kept, group, axis=-1)
    assert not sparse[~mask].any()
    better = refined(weight, sparse, mask, hessian)
    assert not better[~mask].any()
    assert error(weight, better, hessian) <= error(weight, sparse, hessian) * (1 + 1e-4) + 1e-5


def test_against_the_exact_least_squares() -> None:
    """With its mask given, each row's kept weights have a closed form."""
    weight, hessian = drawn(1, 6, 32).double(), statistics(1, 32, 3).double()
    sparse, mask = sparsegpt(weight, hessian)
    best = torch.zeros_like(weight)
    for row in range(6):
        at = mask[0, row].nonzero().flatten()
        target = hessian[0, at] @ weight[0, row]
        best[0, row, at] = torch.linalg.solve(hessian[0][at][:, at], target)
    found = refined(weight, sparse, mask, hessian, steps=200)
    torch.testing.assert_close(found, best, rtol=1e-6, atol=1e-8)
    magnitude = weight * masks.best_mask(weight, axis=-1)
    errors = [error(weight, one, hessian) for one in (best, sparse, magnitude)]
    assert errors == sorted(errors)


def test_a_block_of_columns_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, hessian = drawn(1, 4, 48).double(), statistics(1, 48, 1).double()
    whole, mask = sparsegpt(weight, hessian)
    monkeypatch.setattr("jetpress.pipeline.sparse.reconstruct.BLOCK", 8)
    blocks, same = sparsegpt(weight, hessian)
    assert torch.equal(mask, same)
    torch.testing.assert_close(whole, blocks)


def test_inputs_that_are_never_there_cost_nothing() -> None:
    hessian = torch.zeros(1, 8, 8)
    hessian[0, 4:, 4:] = torch.eye(4)
    damped = hessian + 0.005 * torch.eye(8)
    sparse, mask = sparsegpt(drawn(1, 3, 8), damped)
    assert sparse.isfinite().all()
    assert masks.holds(mask, axis=-1)


@pytest.mark.parametrize("largest", [8192, 16])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_a_network_with_every_product(method: str, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module_of in ("matrices", "reconstruct"):
        monkeypatch.setattr(f"jetpress.pipeline.sparse.{module_of}.LARGEST", largest)
    dense, x, _ = every()
    module = copy.deepcopy(dense)
    graph = channels.analyse(module, (x[:4],), any_batch=True)
    layers, parameters = products(graph.trace)[1:], dict(module.named_parameters())
    found, errors = reconstruct(graph.trace, parameters, layers, [(b,) for b in x.split(4)], method)
    assert set(found) == set(errors) == {layer.name for layer in layers}
    for layer in layers:
        assert masks.holds(found[layer.name], axis=layer.axis)
        assert found[layer.name].sum() * 2 == found[layer.name].numel()
        assert not parameters[layer.name][~found[layer.name]].any()
        same = torch.equal(parameters[layer.name], dense.get_parameter(layer.name) * found[layer.name])
        assert same == (method == "wanda")
    plain = copy.deepcopy(dense)
    with torch.no_grad():
        for layer in layers:
            weight = plain.get_parameter(layer.name)
            weight.mul_(masks.best_mask(weight, axis=layer.axis))
        distances = [float((one(x) - dense(x)).norm()) for one in (module, plain)]
    if method == "sparsegpt":
        assert distances[0] < (0.5 if largest == 8192 else 0.8) * distances[1]


def test_wanda_weighs_by_the_inputs() -> None:
    """A small weight on a large input is kept."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    module = Net().eval()
    module.fc.weight.data = torch.tensor([[1.0, 2.0, 3.0, 0.1]]).repeat(3, 1)
    x = torch.ones(6, 4) * torch.tensor([1.0, 1.0, 1.0, 100.0])
    graph = channels.analyse(module, (x,), any_batch=True)
    found, _ = reconstruct(
        graph.trace, dict(module.named_parameters()), products(graph.trace), [(x,)], "wanda"
    )
    assert found["fc.weight"].tolist() == [[False, False, True, True]] * 3


def test_a_shared_weight_keeps_what_its_first_use_made_of_it() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.linear(x, self.weight).relu(), self.weight)

    torch.manual_seed(0)
    module, x = Shared().eval(), drawn(32, 8)
    graph = channels.analyse(module, (x,), any_batch=True)
    uses = products(graph.trace)
    assert [use.name for use in uses] == ["weight", "weight"]
    found, errors = reconstruct(graph.trace, dict(module.named_parameters()), uses, [(x,)], "sparsegpt")
    assert masks.holds(found["weight"])
    assert masks.holds(module.weight.detach())
    assert 0 < errors["weight"] < 1
