"""A layer's columns are what the operator sums, in whole or in parts."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from jetpress.pipeline.network import channels
from jetpress.pipeline.sparse.matrices import Parts, columns, operand, put, taken
from jetpress.pipeline.sparse.products import Product, products


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


def test_taken_and_put_are_inverse() -> None:
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


@given(group=st.sampled_from([2, 4]), largest=st.integers(8, 300))
def test_what_the_parts_of_a_layer_sum_adds_up(group: int, largest: int) -> None:
    """Each part has whole channels, in N:M groups, and no more columns than may be looked at together."""
    module, _, graph = every()
    for product in products(graph.trace)[1:]:
        weight = taken(module.get_parameter(product.name).detach(), product)
        seen = drawn(len(weight), 5, weight.shape[-1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jetpress.pipeline.sparse.matrices.LARGEST", largest)
            parts = Parts.of(product, weight.shape[-1], group)
        channels_of = parts.columns // parts.positions
        assert channels_of * parts.positions * parts.count == weight.shape[-1]
        assert channels_of % group == 0
        assert parts.columns <= max(largest, parts.positions * group)
        assert torch.equal(parts.joined(parts.split(weight)), weight)
        part = parts.split(weight) @ parts.split(seen).mT
        whole = part.unflatten(0, (-1, parts.count)).sum(1)
        torch.testing.assert_close(whole, weight @ seen.mT, rtol=1e-4, atol=1e-5)
        if product.call.name.startswith("conv") and parts.count > 1:
            kernel = module.get_parameter(product.name).detach()
            first = kernel[:, :channels_of].flatten(2).mT.flatten(1)  # positions, then channels
            assert torch.equal(parts.split(weight)[0], first[: weight.shape[1]])
