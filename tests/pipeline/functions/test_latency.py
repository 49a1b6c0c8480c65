"""A module in hand is pruned until its engine takes what it may, on this machine: at once, further, and in rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

import jetpress
from jetpress.deploy.errors import RecipeError
from tests.pipeline.functions.small import convolutions, images

INPUTS = images(2)


def test_a_pruned_network_is_pruned_further_beside_the_dense_one(tmp_path: Path) -> None:
    """Also one that was loaded: the dense one is timed without its weights.

    How near noise lets it come is not the point, what it says is.
    """
    first = jetpress.prune(convolutions(), INPUTS, params=0.2, channel_multiple=32, ignore=["6.*"])
    jetpress.save(first, tmp_path)
    first = jetpress.load(tmp_path, build=convolutions)
    assert max(p.untyped_storage().nbytes() for p in first.original.parameters()) <= 4 * 64
    slim = jetpress.prune(first, INPUTS, latency=0.3, params=0.6, channel_multiple=32)
    time = slim.pruning.time
    assert time is not None
    assert time.limit_ms == pytest.approx(0.7 * time.dense_ms)
    assert time.met == (time.measured_ms <= time.limit_ms)
    assert f"{time.measured_ms:.3g} ms" in slim.summary()
    assert slim.pruning.asked == {"latency": 0.3, "params": 0.6}
    assert slim.dense == first.dense
    assert slim.size.parameters <= 0.4 * slim.dense.parameters < first.size.parameters
    assert len(slim.history) == 2


def test_rounds_to_a_latency_measure_the_dense_network_once() -> None:
    steps = jetpress.rounds(convolutions(), INPUTS, latency=0.4, params=0.6, rounds=2, channel_multiple=16)
    times = [slim.pruning.time for slim in steps]
    assert steps.why == "the goal is reached"
    assert len({time.dense_ms for time in times if time}) == 1
    assert [time.limit_ms / time.dense_ms for time in times if time] == pytest.approx([0.8, 0.6])


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(RecipeError, match="only the Jetson AGX Xavier"):
        jetpress.prune(convolutions(), INPUTS, latency=0.3, target="xavier")
    with pytest.raises(RecipeError, match="only the Jetson AGX Xavier"):
        jetpress.rounds(convolutions(), INPUTS, latency=0.3, target="xavier")
    with pytest.raises(RecipeError, match="latency"):
        jetpress.prune(convolutions(), INPUTS, latency=1.5)
