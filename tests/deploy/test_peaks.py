from __future__ import annotations

import pytest

from jetpress.deploy.peaks import PEAKS
from jetpress.deploy.targets import TARGETS


@pytest.mark.parametrize("name", PEAKS)
def test_a_peak_belongs_to_a_target_and_says_where_it_is_from(name: str) -> None:
    peak, target = PEAKS[name], TARGETS[name]
    assert set(peak.operations) <= set(target.precisions)
    assert "GB/s" in peak.source
    assert 1 < max(peak.operations.values()) / peak.bandwidth < 10_000  # operations for each byte


def test_boards_of_one_kind_have_one_peak_whatever_their_jetpack() -> None:
    assert PEAKS["agx-orin"] is PEAKS["agx-orin-jp5"] is PEAKS["agx-orin-jp7"]
    assert PEAKS["orin-nano-jp5"].bandwidth < PEAKS["orin-nano"].bandwidth  # no Super mode before JetPack 6.2
