"""Masks and weights by data: the columns are what the operator sums, the error falls, the function is kept."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional as F

from jetpress.pipeline.network import channels
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.sparse.products import Product, products
from jetpress.pipeline.sparse.reconstruct import (
    columns,
    operand,
    put,
    reconstruct,
    refined,
    sparsegpt,
    taken,
)

PATTERNS = st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2), (4, 8)])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Every(nn.Module):
    """Every kind of product, with strides, paddings, dilations and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 32, 3, stride=2, padding=(1, 0), dilation=2, groups=2)
        self.c = nn.Conv1d(32, 16, 3, padding=1)
        self.own = nn.MultiheadAttention(16, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(16, 2, batch_first=True)
        self.right = nn.Parameter(torch.randn(16, 8) / 5)
        self.left = nn.Parameter(torch.randn(24, 8) / 5)
        self.d = nn.Conv3d(24, 8, (1, 2, 3), padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu()).relu()
        x = self.c(x.flatten(2)).relu().mT
        x = self.own(x, x, x, need_weights=False)[0]
        x = self.cross(x, x.relu(), x.relu(), need_weights=False)[0]
        x = (self.left @ (x @ self.right).mT).unflatten(2, (-1, 1, 1)).relu()
        return self.d(x).mean((2, 3, 4))


@cache
def every() -> tuple[nn.Module, Tensor, channels.ChannelGraph]:
    torch.manual_seed(0)
    module = Every().eval()
    x = drawn(12, 3, 17, 15)
    return module, x, channels.analyse(module, (x[:4],), any_batch=True)


class Comparing(fx.Interpreter):
    """Compares each product with its weight times its columns."""

    def __init__(self, graph: channels.ChannelGraph, parameters: dict[str, Tensor]) -> None:
        super().__init__(graph.trace.module, garbage_collect_values=False)
        self.found = {product.node: product for product in products(graph.trace)}
        self.parameters = parameters

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.found:
            product = self.found[n]
            weight = taken(self.parameters[product.name], product)
            product_of = (weight @ columns(self.env[operand(product)], product).mT).flatten(0, 1)
            torch.testing.assert_close(product_of, self.expected(product, result), rtol=1e-4, atol=1e-5)
        return result

    def expected(self, product: Product, result: Tensor) -> Tensor:
        """``[out, samples]`` without the bias."""
        bias = product.call.arguments.get("bias")
        value = self.env[bias] if isinstance(bias, fx.Node) else torch.zeros(1)
        axis = 1 if product.call.name.startswith("conv") else -2 if product.argument == "self" else -1
        if product.call.name.startswith("conv"):
            value = value.reshape(-1, *[1] * (result.ndim - 2))
        return (result - value).movedim(axis, 0).flatten(1)


def test_columns_are_what_the_operator_sums() -> None:
    module, x, graph = every()
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    comparing = Comparing(graph, parameters)
    with torch.no_grad():
        comparing.run(x)
    assert len(comparing.found) == 12


def testtaken_and_put_are_inverse() -> None:
    module, _, graph = every()
    for product in products(graph.trace):
        parameter = module.get_parameter(product.name).detach()
        copied = torch.zeros_like(parameter)
        for one in products(graph.trace):
            if one.name == product.name:
                put(copied, taken(parameter, one), one)
        assert torch.equal(copied, parameter)


@pytest.mark.parametrize("kind", ["same", "valid"])
def test_paddings_with_names(kind: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 8, (2, 3), padding=kind, dilation=(1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    module = Net().eval()
    graph = channels.analyse(module, (drawn(2, 4, 9, 9),), any_batch=True)
    with torch.no_grad():
        Comparing(graph, dict(module.named_parameters())).run(drawn(3, 4, 9, 9))


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


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_a_network_with_every_product(method: str) -> None:
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
        assert distances[0] < 0.5 * distances[1]


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
