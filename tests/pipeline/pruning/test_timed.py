"""What a network takes is known where most of its rounds were disturbed."""

from __future__ import annotations

import random

import pytest

from jetpress.deploy.device.events import Profile
from jetpress.pipeline.pruning.timed import undisturbed


def rounds(latency: float, share: float, draw: random.Random) -> Profile:
    """Of 16 rounds ``share`` stood still for 40 ms."""
    taken = [latency * draw.uniform(1.0, 1.02) + (40.0 if draw.random() < share else 0.0) for _ in range(16)]
    return Profile("one", latency, tuple(taken), {})


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_a_ratio_is_known_beside_other_programs(share: float) -> None:
    """The longer of the two is disturbed the more often."""
    draw = random.Random(0)
    long, short = rounds(3.3, share, draw), rounds(1.0, share / 2, draw)
    assert undisturbed(short) / undisturbed(long) == pytest.approx(0.3, rel=0.03)
