"""Labels on channels: every operator that moves them alone against brute force, and the union-find under them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from jetpress.pipeline.network.channels.graph import trace
from jetpress.pipeline.network.channels.labels import Axes, Labels, outsides

OUTPUT = "output of the network"


class Held(nn.Module):
    """One tensor with channels on every axis, and one operation on it."""

    def __init__(self, shape: tuple[int, ...], operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.held = nn.Parameter(torch.randn(shape))
        self.operation = operation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.operation(self.held), x


def assert_moves(shape: tuple[int, ...], operation: Callable[[Tensor], Tensor]) -> int:
    """Perturb each class of channels that the rule leaves free: just the indices with its label change.

    Returns how many classes were free.
    """
    module = Held(shape, operation)
    found = trace(module, (torch.zeros(3, 1),))
    labels, before = found.labels, found.tensors["held"]
    result = list(found.module.graph.nodes)[-1].args[0][0]
    after: Axes = found.values[result]  # type: ignore[assignment]
    base = operation(module.held.detach())
    free = 0
    for k, axis in enumerate(before):
        for root in np.unique(labels.find(axis)):
            if labels.reasons[int(labels.reason(np.array([root]))[0])] not in ("", OUTPUT) or not root:
                continue
            where = torch.from_numpy(np.flatnonzero(labels.find(axis) == root))
            changed = (
                operation(module.held.detach().index_add(k, where, torch.ones(_with(shape, k, len(where)))))
                != base
            ).numpy()
            carried = [m for m, out in enumerate(after) if (labels.find(out) == root).any()]
            if not carried:
                continue  # reduced away
            assert len(carried) == 1
            others = tuple(m for m in range(changed.ndim) if m != carried[0])
            np.testing.assert_array_equal(changed.any(axis=others), labels.find(after[carried[0]]) == root)
            free += 1
    return free


def _with(shape: tuple[int, ...], k: int, size: int) -> tuple[int, ...]:
    return (*shape[:k], size, *shape[k + 1 :])


MOVES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor], int]] = {
    "permute": ((2, 3, 4), lambda x: x.permute(2, 0, 1), 9),
    "transpose": ((2, 3, 4), lambda x: x.transpose(0, -1), 9),
    "t": ((3, 4), lambda x: x.t(), 7),
    "movedim": ((2, 3, 4), lambda x: x.movedim((0, 1), (2, 0)), 9),
    "flip": ((4, 3), lambda x: x.flip(0), 7),
    "roll": ((4, 3), lambda x: x.roll(1, 0), 3),
    "flatten": ((4, 1, 3), lambda x: x[:1].flatten(1), 3),
    "unflatten": ((2, 12), lambda x: x.unflatten(1, (3, 4)), 6),
    "squeeze": ((4, 1, 3), lambda x: x.squeeze(1).unsqueeze(0), 7),
    "cat": ((4, 3), lambda x: torch.cat([x, 2 * x], 1), 7),
    "stack": ((4, 3), lambda x: torch.stack([x, 2 * x], 1), 7),
    "chunk": ((6, 2), lambda x: torch.cat([x.chunk(2)[1], x.chunk(2)[0]]), 5),
    "split": ((6, 2), lambda x: x.split([2, 4])[1] * 1, 6),
    "slice": ((6, 2), lambda x: x[1:5], 6),
    "step": ((6, 2), lambda x: x[::2], 5),
    "select": ((6, 3), lambda x: x[:, 2], 6),
    "narrow": ((6, 3), lambda x: x.narrow(0, 1, 3), 6),
    "pad": ((4, 3), lambda x: F.pad(x, (0, 0, 2, 2)), 7),
    "repeat": ((4, 3), lambda x: x.repeat(2, 1), 7),
    "repeat_interleave": ((4, 3), lambda x: x.repeat_interleave(2, 0), 7),
    "expand": ((4, 1, 3), lambda x: x.expand(4, 5, 3), 7),
    "index": ((4, 3), lambda x: x[:, torch.tensor([2, 0])], 4),
    "pixel_shuffle": ((1, 8, 2, 2), lambda x: F.pixel_shuffle(x, 2), 2),
    "pixel_unshuffle": ((1, 2, 4, 4), lambda x: F.pixel_unshuffle(x, 2), 2),
    "channel_shuffle": ((1, 6, 2, 2), lambda x: F.channel_shuffle(x, 2), 3),
    "unfold": ((1, 3, 4, 4), lambda x: F.unfold(x, 2), 3),
    "mean": ((4, 3), lambda x: x.mean(1), 4),
    "einsum": ((4, 3), lambda x: torch.einsum("ij->ji", x), 7),
    "pool": ((1, 4, 4, 4), lambda x: F.avg_pool2d(x, 2), 4),
    "cumsum": ((4, 3), lambda x: x.cumsum(0), 0),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str) -> None:
    shape, operation, free = MOVES[name]
    assert assert_moves(shape, operation) == free


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_reshape_moves_labels_exactly(data: st.DataObject) -> None:
    """One axis of channels among others: merged and split at random, its labels stay where the values go."""
    factors = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=5))
    old, new = (
        _grouped(factors, data.draw(st.lists(st.booleans(), min_size=5, max_size=5))) for _ in range(2)
    )
    k = data.draw(st.integers(0, len(old) - 1))
    labels = Labels()
    axes = outsides(old)
    axes[k] = labels.fresh(old[k])
    result = labels.reshape(axes, new, "view")
    assert [len(axis) for axis in result] == new
    shape = [-1 if m == k else 1 for m in range(len(old))]
    values = np.broadcast_to(labels.find(axes[k]).reshape(shape), old).reshape(new)
    for m, axis in enumerate(result):
        if (axis != 0).any():
            shape = [-1 if n == m else 1 for n in range(len(new))]
            np.testing.assert_array_equal(values, np.broadcast_to(labels.find(axis).reshape(shape), new))


def _grouped(factors: list[int], joined: list[bool]) -> list[int]:
    sizes = [1]
    for factor, join in zip(factors, joined, strict=False):
        if join:
            sizes[-1] *= factor
        else:
            sizes.append(factor)
    return sizes


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 19), st.integers(1, 19)), max_size=25), st.integers(1, 19))
def test_union_find_against_brute_force(pairs: list[tuple[int, int]], fixed: int) -> None:
    labels = Labels()
    labels.fresh(19)
    classes = [{i} for i in range(20)]
    labels.fix(np.array([fixed]), "held")
    if pairs:
        first, second = np.array(pairs).T
        labels.unite(first, second, "met")
    for a, b in pairs:
        together = next(c for c in classes if a in c) | next(c for c in classes if b in c)
        classes = [c for c in classes if not c & together] + [together]
    everything = np.arange(20)
    roots, reasons = labels.find(everything), labels.reason(everything)
    for group in classes:
        assert len({int(roots[i]) for i in group}) == 1
        assert (0 in group) or bool(reasons[min(group)]) == (fixed in group)
    assert len(np.unique(roots)) == len(classes)


def test_a_rule_that_cannot_is_no_crash() -> None:
    """Every rule, called with nonsense, fixes instead of failing: the walk catches what it raises."""
    module = Held((4, 4), lambda x: torch.einsum("ii->i", x))
    found = trace(module, (torch.zeros(3, 1),))
    assert found.labels.reasons[-1] == "einsum (no rule)"
