"""The rule that decides when a benchmark has measured enough, on simulated load; one real benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studies import calibration
from studies.calibration import LOADS, Load, Rates, Told, simulate, simulated


def test_false_claims_and_refusals_are_rare_under_every_load() -> None:
    for name, rates in simulate(200).items():
        assert rates.false <= 5, name
        assert rates.refused <= 1, name
        assert rates.covered >= 92.5, f"{name}: 95 % less three standard errors of 200 tries"


def test_three_percent_are_seen_on_a_quiet_machine_and_less_than_one_is_never_called() -> None:
    draw = np.random.default_rng(1)
    seen = [simulated(LOADS["quiet"], 1.03, draw).verdict for _ in range(100)]
    assert seen.count("faster") >= 95
    assert {simulated(LOADS["quiet"], 1.005, draw).verdict for _ in range(100)} == {"noise"}


def test_a_rule_that_would_stop_on_good_luck_is_caught() -> None:
    """The table can fail: identical engines whose sessions all lean one way are called different."""
    draw = np.random.default_rng(2)
    leaning = [simulated(Load(), 1.1, draw) for _ in range(20)]
    assert Rates.of(leaning, leaning).false == 100


@pytest.mark.parametrize(("layers", "verdict"), [(12, "faster")])
def test_a_real_benchmark(layers: int, verdict: str, tmp_path: Path) -> None:
    place = calibration.bundle(tmp_path / "bundle", layers)
    told = calibration.measured(place, 0.3)
    assert (told.verdict, told.level) == (verdict, 95)
    assert len(told.session_ratios) >= 3


def test_benchmarks_are_kept_and_go_on(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    one = simulated(LOADS["quiet"], 1.0, np.random.default_rng(0))
    Told(file).add(1, "same", one)
    again = Told(file)
    assert [(len(again.of(1, "same")), len(again.of(0, "same"))), again.of(1, "same")[0].verdict] == [
        (1, 0),
        "noise",
    ]
    assert again.loads(1).startswith("1 neighbours, load ")
