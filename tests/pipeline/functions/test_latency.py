"""A module in hand is pruned until its engine takes what it may, on this machine."""

from __future__ import annotations

import pytest

import jetpress
from jetpress.deploy.errors import RecipeError
from tests.pipeline.functions.small import convolutions, images


def test_a_latency_is_measured_and_told_of() -> None:
    """How near noise lets it come is not the point, what it says is."""
    slim = jetpress.prune(convolutions(), images(2), latency=0.3, params=0.6, channel_multiple=32)
    time = slim.pruning.time
    assert time is not None
    assert time.limit_ms == pytest.approx(0.7 * time.dense_ms)
    assert time.met == (time.measured_ms <= time.limit_ms)
    assert slim.pruning.asked == {"latency": 0.3, "params": 0.6}
    assert slim.module[3].out_channels == 32
    assert slim.size.parameters <= 0.4 * slim.dense.parameters
    assert f"{time.measured_ms:.3g} ms" in slim.summary()
    with pytest.raises(RecipeError, match="pruned before"):
        jetpress.prune(slim, images(2), latency=0.5)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(RecipeError, match="only the Jetson AGX Xavier"):
        jetpress.prune(convolutions(), images(2), latency=0.3, target="xavier")
    with pytest.raises(RecipeError, match="latency"):
        jetpress.prune(convolutions(), images(2), latency=1.5)
