"""How many units go, and which: widths that fill the hardware, shares of the original width."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.pipeline.network.channels import ChannelGraph, Group
from jetpress.pipeline.network.channels.graph import Trace
from jetpress.pipeline.pruning import allocate
from jetpress.pipeline.pruning.allocate import Room


def group(name: str, units: int, occurrences: int = 1, inner: bool = False) -> Group:
    """Units as blocks of neighbours, or (``inner``) as an axis that repeats."""
    places = np.arange(units * occurrences)
    indices = places.reshape(occurrences, units).T if inner else places.reshape(units, occurrences)
    return Group(name, units, units * occurrences, {(name, 0): indices}, (name,))


def graph(*groups: Group) -> ChannelGraph:
    """Every tensor is a vector: all groups are of one kind."""
    tensors = {name: [np.zeros(g.width)] for g in groups for name, _ in g.slices}
    return ChannelGraph(groups, {}, cast("Trace", SimpleNamespace(tensors=tensors)))


def scores(of: ChannelGraph, seed: int = 0) -> dict[str, np.ndarray]:
    return {g.name: np.random.default_rng(seed).random(g.units) for g in of.groups}


@given(
    st.integers(2, 200),
    st.sampled_from([1, 2, 4, 16]),
    st.booleans(),
    st.floats(0, 0.95),
    st.sampled_from([1, 4, 8, 32]),
)
def test_what_stays_fills_the_hardware(
    units: int, occurrences: int, inner: bool, ratio: float, multiple: int
) -> None:
    one = graph(group("a", units, occurrences, inner))
    found = scores(one)
    gone = allocate.uniform(one, found, ratio, Room(multiple)).get("a", [])
    kept = units - len(gone)
    assert kept >= 1
    if gone:
        assert kept * occurrences % multiple == 0
        assert gone == sorted(gone)
        stays = np.delete(found["a"], gone)
        assert found["a"][gone].max() <= stays.min()
        assert abs(kept - units * (1 - ratio)) <= multiple


def test_uniform_counts_from_the_original_width() -> None:
    one = graph(group("a", 64))
    assert len(allocate.uniform(one, scores(one), 0.25, Room(8))["a"]) == 16
    later = graph(group("a", 48))
    assert len(allocate.uniform(later, scores(later), 0.5, Room(8, original={"a": 64}))["a"]) == 16
    assert allocate.uniform(later, scores(later), 0.25, Room(8, original={"a": 64})) == {}


@pytest.mark.parametrize("allocation", allocate.ALLOCATIONS.values())
def test_nothing_is_removed_at_ratio_zero(allocation: object) -> None:
    some = graph(group("a", 64), group("b", 20))
    assert allocation(some, scores(some), 0.0, Room(8)) == {}  # type: ignore[operator]


@pytest.mark.parametrize("allocation", allocate.ALLOCATIONS.values())
def test_ignored_layers_keep_everything(allocation: object) -> None:
    added = Group(
        "b.weight", 32, 32, {("b.weight", 0): np.arange(32)[:, None]}, ("b.weight", "shortcut.weight")
    )
    some = graph(group("a.weight", 32), added)
    assert set(allocation(some, scores(some), 0.5, Room(8, ("short*",)))) == {"a.weight"}  # type: ignore[operator]
    assert set(allocation(some, scores(some), 0.5, Room(8, ("a.*",)))) == {"b.weight"}  # type: ignore[operator]
    assert allocation(some, scores(some), 0.5, Room(8, ("*",))) == {}  # type: ignore[operator]


def test_a_small_layer_stays() -> None:
    one = graph(group("a", 8))
    assert allocate.uniform(one, scores(one), 0.5, Room(8)) == {}


def test_heads_are_filled_blocks_are_counted_whole() -> None:
    """64 channels in each of 3 heads: 32 in each stay. 32 groups of 4 channels: any even number of groups."""
    assert allocate.step(group("qkv", 64, 3, inner=True), 8) == 8
    assert allocate.step(group("grouped", 32, 4), 8) == 2
    assert allocate.step(group("heads", 3, 64), 8) == 1
    assert allocate.step(group("narrow", 4, 8, inner=True), 8) == 1


def test_global_takes_from_the_group_whose_channels_matter_least() -> None:
    some = graph(group("flat", 64), group("steep", 64))
    found = {"flat": np.linspace(0.9, 1.1, 64), "steep": np.linspace(0.0, 2.0, 64)}
    removal = allocate.global_(some, found, 0.25, Room(8))
    assert set(removal) == {"steep"}
    assert removal["steep"] == list(range(32))


def test_global_removes_the_share_asked_for_over_rounds() -> None:
    some = graph(group("a", 128), group("b", 128, 2), group("c", 64))
    found = scores(some, 3)
    removal = allocate.global_(some, found, 0.5, Room(8))
    left = {g.name: g.units - len(removal.get(g.name, ())) for g in some.groups}
    assert left["a"] + 2 * left["b"] + left["c"] == pytest.approx(0.5 * (128 + 256 + 64), rel=0.05)
    original = {g.name: g.units for g in some.groups}
    later = graph(group("a", left["a"]), group("b", left["b"], 2), group("c", left["c"]))
    again = allocate.global_(later, scores(later, 4), 0.5, Room(8, original=original))
    assert sum(map(len, again.values())) <= 8


def test_global_leaves_a_tenth() -> None:
    some = graph(group("a", 160), group("b", 160))
    found = {"a": np.full(160, 1.0), "b": np.concatenate([np.full(159, 1e-6), [1e3]])}
    removal = allocate.global_(some, found, 0.5, Room(8))
    assert 160 - len(removal["b"]) == 16


def test_isomorphic_ranks_each_kind_by_itself() -> None:
    """Convolutions inside blocks matter ten times less than the stream that they feed: globally, only they go."""
    inner, stream = group("inner", 64), group("stream", 64)
    some = graph(inner, stream)
    some.trace.tensors["stream"] = [np.zeros(64)] * 2  # type: ignore[index]
    spread = np.linspace(0.5, 1.5, 64)
    found = {"inner": spread, "stream": np.linspace(0.9, 1.1, 64)}
    assert len(allocate.global_(some, found, 0.25, Room(8))["inner"]) > 16
    each = allocate.isomorphic(some, found, 0.25, Room(8))
    assert {name: len(units) for name, units in each.items()} == {"inner": 16, "stream": 16}


@pytest.mark.parametrize("allocation", allocate.ALLOCATIONS.values())
def test_limits_hold_whatever_the_ratio(allocation: object) -> None:
    some = graph(group("a.weight", 64), group("b.weight", 64))
    room = Room(8, limits={"a.*": 0.25})
    removal = allocation(some, scores(some), 0.75, room)  # type: ignore[operator]
    assert len(removal["a.weight"]) <= 16
    assert len(removal["b.weight"]) >= 32
    later = Room(8, limits={"a.*": 0.25}, original={"a.weight": 80})
    assert "a.weight" not in allocation(some, scores(some), 0.9, later)  # type: ignore[operator]


def test_what_stays_whole_says_why() -> None:
    some = graph(*(group(f"{name}.weight", 64) for name in "abcd"), group("e.weight", 8))
    room = Room(8, ["b.*"], {"c.*": 0.1}, {"d.weight": 96})
    assert room.whole(some, {}) == {
        "a.weight": "its share of what goes is less than a multiple of 8",
        "b.weight": "prune.ignore",
        "c.weight": "prune.limits leaves less than a multiple of 8",
        "e.weight": "8 channels: no smaller multiple of 8",
    }
    assert "a.weight" not in room.whole(some, {"a.weight": list(range(8))})


@given(st.floats(0.05, 0.9), st.integers(0, 50))
def test_the_smallest_ratio_for_a_cost(share: float, seed: int) -> None:
    some = graph(group("a", 128), group("b", 64, 2))
    found = scores(some, seed)

    def cost(removal: allocate.Removal) -> float:
        return sum((g.width / g.units) * (g.units - len(removal.get(g.name, ()))) for g in some.groups)

    def at(ratio: float) -> allocate.Removal:
        return allocate.uniform(some, found, ratio, Room(8))

    removal = allocate.smallest(at, lambda removal: cost(removal) <= (1 - share) * cost({}))
    assert cost(removal) <= (1 - share) * cost({})
    narrower = [cost(at(r)) for r in np.linspace(0, 0.95, 96)]
    assert cost(removal) >= max(c for c in narrower if c <= (1 - share) * cost({})) - 1e-9


def test_the_choices_of_a_group() -> None:
    one = group("a", 20)
    losses = np.linspace(1, 0, 20)
    found = allocate.choices(one, losses, Room(8))
    assert [(c.kept, c.loss) for c in found] == [(20, 0.0), (16, losses[15]), (8, losses[7])]
    assert [c.kept for c in allocate.choices(one, losses, Room(8, limits={"a": 0.3}))] == [20, 16]
