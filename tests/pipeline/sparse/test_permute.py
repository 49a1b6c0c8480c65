"""Permutation: the search never loses, the network computes the same, what cannot be moved says why."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.pipeline.network import channels
from jetpress.pipeline.sparse import masks, permute
from jetpress.pipeline.sparse import search as searching
from jetpress.pipeline.sparse.products import products
from jetpress.pipeline.sparse.search import search

PATTERNS = st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2), (4, 8)])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), PATTERNS, st.integers(0, 2**31))
def test_the_order_is_a_permutation_that_keeps_no_less(
    rows: int, groups: int, pattern: tuple[int, int], seed: int
) -> None:
    kept, group = pattern
    matrix = drawn(rows, group * groups, seed=seed).abs()
    order = search(matrix, kept, group)
    assert sorted(order.tolist()) == list(range(group * groups))
    found, default = (masks.magnitude(m, kept, group) for m in (matrix[:, order], matrix))
    assert default <= found <= masks.ideal(matrix, kept, group) * (1 + 1e-6)
    assert torch.equal(order, search(matrix, kept, group))


def test_the_best_of_all_orders_of_eight_channels() -> None:
    """35 ways to part eight columns, tried out."""
    for seed in range(10):
        matrix = drawn(16, 8, seed=seed).abs()
        halves = [(0, *rest) for rest in torch.combinations(torch.arange(1, 8), 3).tolist()]
        orders = [[*half, *sorted(set(range(8)) - set(half))] for half in halves]
        best = max(masks.magnitude(matrix[:, order]) for order in orders)
        assert masks.magnitude(matrix[:, search(matrix)]) == pytest.approx(best)


def test_the_best_of_all_orders_of_sixteen_channels() -> None:
    """Two and a half million ways to make four groups of them: an integer programme chooses among all 1820 groups."""
    groups = np.array(list(itertools.combinations(range(16), 4)))
    once = LinearConstraint((groups[None] == np.arange(16)[:, None, None]).any(-1), 1, 1)
    for seed in range(3):
        matrix = drawn(40, 16, seed=seed).abs()
        worth = [masks.magnitude(matrix[:, one]) for one in groups]
        best = -milp(-np.array(worth), constraints=once, integrality=np.ones(len(groups))).fun
        assert masks.magnitude(matrix[:, search(matrix)]) == pytest.approx(best, rel=1e-6)


def test_what_the_table_says_is_what_swapping_gains() -> None:
    matrix = drawn(32, 24).abs()
    for kept, group in ((2, 4), (1, 4), (3, 8), (1, 2)):
        members = np.arange(24).reshape(1, -1, group)
        table = searching._worth(matrix.t().contiguous(), members, kept)[0]
        if group <= 4:  # looked up, it says the same, but for what each group has in common
            looked = searching._looked_up(searching._listed(matrix.t().contiguous(), kept, group), members)[0]
            np.testing.assert_allclose(*(t - t.mean(1, keepdims=True) for t in (looked, table)), atol=1e-4)
        swapped = members[0].copy()
        swapped[[0, 2], -1] = swapped[[2, 0], -1]
        gained = table[0, 2] + table[2, 0] - table[0, 0] - table[2, 2]
        new, old = (masks.magnitude(m, kept, group) for m in (matrix[:, swapped.flatten()], matrix))
        assert gained == pytest.approx(new - old, abs=1e-4)


def test_no_less_than_asp() -> None:
    """apex's ``permutation_test.py --channels 64 --filters 128``: 2919.759 with optimize_stripe_groups,8,100."""
    np.random.seed(1)  # noqa: NPY002
    matrix = torch.tensor(np.random.rand(128, 64), dtype=torch.float32)  # noqa: NPY002
    assert masks.magnitude(matrix) == pytest.approx(2852.377, abs=1e-2)
    assert masks.magnitude(matrix[:, search(matrix)]) > 2919.759


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.inner = nn.Conv2d(16, 32, 1)
        self.group = nn.GroupNorm(2, 32)
        self.back = nn.Conv2d(32, 16, 3, padding=1, groups=2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.back(self.group(self.inner(self.depthwise(x))).relu())
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, 9, 24))
        self.block = nn.TransformerEncoderLayer(24, 3, 48, batch_first=True, norm_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.patches(x).flatten(2).mT + self.positions).mean(1))


class Joined(nn.Module):
    """Concatenation, a split, and a flattened map, whose channels do not share a group of four."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 16, 3, padding=1)
        self.both = nn.Conv2d(32, 16, 1)
        self.flat = nn.Linear(8 * 12 * 12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.both(torch.cat([self.a(x), self.b(x)], 1).relu())
        first, second = y.chunk(2, 1)
        return self.flat((first * second.sigmoid()).flatten(1))


def run(module: nn.Module) -> tuple[dict[str, str], float, dict[str, float], nn.Module, Tensor]:
    """Permute for every layer that is a multiple of four; the function must stay."""
    torch.manual_seed(0)
    module = module.eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean = torch.randn_like(norm.bias)
            norm.running_var = torch.rand_like(norm.bias) + 0.5
    x = drawn(2, 3, 12, 12)
    graph = channels.analyse(module, (x,))
    tensors = dict(module.named_parameters())
    layers = [p for p in products(graph.trace)[1:] if not p.reason and tensors[p.name].shape[p.axis] % 4 == 0]
    before = {p.name: masks.magnitude(masks.rows(tensors[p.name], p.axis)) for p in layers}
    dense = copy.deepcopy(module)
    done = permute.permute(module, (x,), graph, layers)
    more = {p.name: masks.magnitude(masks.rows(tensors[p.name], p.axis)) - before[p.name] for p in layers}
    fresh = drawn(3, 3, 12, 12, seed=1).double()
    with torch.no_grad():
        expected, found = (copy.deepcopy(one).double()(fresh) for one in (dense, module))
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-6
    assert done.error <= 1e-6
    return dict(done.reasons), done.error, more, module, expected


def test_residual_depthwise_and_grouped() -> None:
    torch.manual_seed(0)  # whatever ran before: not every draw has something to gain
    reasons, _, more, _, _ = run(Residual())
    assert reasons == {}
    assert more["inner.weight"] + more["head.weight"] > 0  # they read the same channels
    assert more["back.weight"] > 0


def test_attention_and_positions() -> None:
    reasons, _, more, _, _ = run(Attention())
    assert reasons == {}
    assert sum(more.values()) > 0
    assert more["block.linear2.weight"] > 0


def test_concatenation_split_and_flatten() -> None:
    reasons, _, more, _, _ = run(Joined())
    assert more["both.weight"] > 0
    assert set(reasons) == {"flat.weight"}


def test_the_permuted_weights_are_an_ordinary_state_dict() -> None:
    _, _, _, module, expected = run(Residual())
    other = Residual().eval()
    other.load_state_dict(module.state_dict())
    found = other.double()(drawn(3, 3, 12, 12, seed=1).double())
    torch.testing.assert_close(found, expected)


def test_masks_follow_their_weights() -> None:
    torch.manual_seed(0)
    module = Residual().eval()
    x = drawn(2, 3, 12, 12)
    graph = channels.analyse(module, (x,))
    held = {name: torch.rand_like(p) > 0.3 for name, p in module.named_parameters() if p.ndim == 4}
    marked = {name: module.get_parameter(name).detach() * mask for name, mask in held.items()}
    values = {name: weight.sort().values.sum() for name, weight in marked.items()}
    permute.permute(module, (x,), graph, products(graph.trace)[2:], others=held)
    for name, mask in held.items():
        weight = module.get_parameter(name).detach() * mask
        assert weight.sum() == pytest.approx(float(marked[name].sum()), abs=1e-4)
        assert weight.sort().values.sum() == pytest.approx(float(values[name]), abs=1e-4)
    assert any(not torch.equal(marked[n], module.get_parameter(n).detach() * m) for n, m in held.items())


class Positional(nn.Module):
    """Both halves are read by one weight, but treated differently: no parameter tells them apart."""

    def __init__(self, treat: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 16)
        self.head, self.treat = nn.Linear(16, 4), treat

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.treat(self.first(x.mean((1, 2))))).relu())


def halves(x: Tensor) -> Tensor:
    return torch.cat([x[:, :8].relu(), x[:, 8:].sigmoid()], 1)


def weighted(x: Tensor) -> Tensor:
    return x * torch.arange(16.0)


@pytest.mark.parametrize("treat", [halves, weighted])
def test_what_would_change_the_function_is_left_alone(treat: Callable[[Tensor], Tensor]) -> None:
    reasons, _, more, _, _ = run(Positional(treat))
    assert "second.weight" in reasons
    assert more["second.weight"] == 0
    assert "head.weight" not in reasons


def test_a_buffer_that_is_not_saved_stays_and_so_do_its_channels() -> None:
    class Hidden(Positional):
        def __init__(self) -> None:
            super().__init__(lambda x: x)
            self.register_buffer("scale", torch.rand(16), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.second(self.first(x.mean((1, 2))) * self.scale).relu())

    reasons, _, more, _, _ = run(Hidden())
    assert reasons["second.weight"] == "scale is not among the saved weights"
    assert more["second.weight"] == 0


def test_one_bad_group_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong rule of the analysis is caught by running the network."""
    honest = channels.analyse

    def wrong(module: nn.Module, inputs: tuple[Tensor, ...]) -> channels.ChannelGraph:
        graph = honest(module, inputs)
        broken = [
            replace(g, slices={p: i for p, i in g.slices.items() if p[0] != "norm.bias"})
            for g in graph.groups
        ]  # fmt: skip
        return channels.ChannelGraph(tuple(broken), graph.fixed, graph.trace)

    monkeypatch.setattr(channels, "analyse", wrong)
    module = Residual()
    module.norm.bias.data = torch.randn(16)
    reasons, _, more, _, _ = run(module)
    assert "computes something else" in reasons["inner.weight"]
    assert "back.weight" not in reasons
    assert more["back.weight"] > 0


def test_functional_layers_and_shared_weights() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(12, 16)
            self.weight = nn.Parameter(torch.randn(16, 16) / 4)
            self.head = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x.mean((1, 2)))
            return self.head(F.linear(F.linear(x, self.weight).relu(), self.weight))

    reasons, _, more, _, _ = run(Shared())
    assert min(more.values()) > -1e-4
    assert set(reasons) <= {"weight", "head.weight"}
