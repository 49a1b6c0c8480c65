"""What a session of the runner comes to in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jetpress.benchmarks.report.record.networks import Power, Ratio
from jetpress.pipeline.flow.measured import Session, benchmark, latency_of, mixed_latency, session, unanswered
from jetpress.pipeline.flow.verdict import timing_limits
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.recipe.sections.device import BudgetConfig
from jetpress.pipeline.store.artifact import Measurement


def result(model: str, verdict: str, median: float, *reasons: str) -> dict[str, Any]:
    return {
        "event": "result",
        "model": model,
        "verdict": verdict,
        "reasons": reasons,
        "knobs": {"batch": 2, "threads": 1},
        "raw": {"latency": [median] * 10 + [median + 1]},
        "latency": {"median": median},
        "interval": [0.9 * median, 1.1 * median],
        "level": 95,
        "sessions": 5,
    }


def ratio(against: str, value: float, **changes: Any) -> dict[str, Any]:
    interval = [value - 0.1, value + 0.1]
    judged = {"verdict": "faster", "state": "known", "reasons": [], "sessions": 5, "level": 95}
    told = {"of": "compressed", "against": against, "ratio": value, "interval": interval}
    return {"event": "ratio", **judged, **told, **changes}


def known(value: float) -> Ratio:
    return Ratio(value=value, low=value - 0.1, high=value + 0.1, verdict="faster", sessions=5, level=95)


def session_of(folder: Path, *events: dict[str, Any]) -> Session:
    (folder / "bench.json").write_text(json.dumps(events))
    return session(Measurement(folder))


def test_the_worse_of_both_verdicts_counts_with_all_reasons(tmp_path: Path) -> None:
    found = session_of(
        tmp_path,
        result("dense", "noisy", 3.0, "drift"),
        result("compressed", "valid", 1.0),
        result("other", "invalid", 1.0, "of no interest"),
        ratio("dense", 3.0),
        ratio("dense", 1.2, of="dense-mapped"),  # its own engine without copies, which comes later
    )
    assert found.engines["compressed"].batch == 2
    assert found.engines["compressed"].samples_ms[-2:] == (1.0, 2.0)
    assert found.engines["compressed"].power is None
    assert found.against == {"dense": known(3.0)}
    assert found.without_copies is None
    mapped = ratio("compressed", 1.4, of="compressed-mapped")
    judged = benchmark(session_of(tmp_path, result("compressed", "valid", 1.0), mapped), BudgetConfig())
    assert judged is not None
    assert judged.without_copies == known(1.4)
    judged = benchmark(found, BudgetConfig())
    assert judged is not None
    assert (judged.verdict, judged.reasons) == ("noisy", ("dense: drift",))
    assert judged.knobs == {"batch": 2, "threads": 1}


def test_power_is_held_to_the_budget_and_the_application_is_told(tmp_path: Path) -> None:
    power = {"watts": 11.0, "millijoules_per_inference": 40.0, "idle_watts": 5.0, "hottest_celsius": 51.0}
    summary = {"median": 20.0}
    film = {"event": "video", "model": "compressed", "side_by_side": True, "frames_per_s": 62.0, "streams": 4,
            "batch": 2, "dropped": 3, "latency": summary, "stages": {"decode": summary}}  # fmt: skip
    found = session_of(tmp_path, {**result("compressed", "valid", 1.0), "power": power}, film)
    judged = benchmark(found, BudgetConfig())
    assert judged is not None
    assert judged.power == Power(watts=11.0, millijoules=40.0, idle_watts=5.0, hottest_celsius=51.0)
    (told,) = judged.application
    assert (told.frames_per_s, told.latency_ms, told.stages_ms) == (62.0, 20.0, {"decode": 20.0})
    limits = list(timing_limits(BudgetConfig(watts=10, millijoules=50), None, judged.power))
    assert [(one.found, one.unit, one.met) for one in limits] == [(11.0, "W", False), (40.0, "mJ", True)]
    assert [one.met for one in timing_limits(BudgetConfig(watts=10), None, None)] == [None]


def test_the_power_mode_to_choose_hangs_on_the_budget_alone(tmp_path: Path) -> None:
    def mode(name: str, rate: float, watts: float) -> dict[str, Any]:
        power = {"watts": watts, "millijoules_per_inference": 1000 * watts / rate, "hottest_celsius": 50.0}
        engine = {"frames_per_s": rate, "median_ms": 1.0, "power": power, "faults": []}
        return {"event": "power_mode", "id": 0, "name": name, "reason": "", "engines": {"compressed": engine, "dense":
                {**engine, "frames_per_s": 1.0}}, "video": None}  # fmt: skip

    refused = {"event": "power_mode", "id": 3, "name": "7W", "reason": "it needs a reboot: --allow-reboot",
               "engines": {}, "video": None}  # fmt: skip
    events = [mode("MAXN", 200.0, 20.0), mode("15W", 120.0, 11.0), refused]
    found = session_of(tmp_path, result("compressed", "valid", 1.0), *events)
    for budget, chosen in (
        (BudgetConfig(), "MAXN"),
        (BudgetConfig(watts=12), "15W"),
        (BudgetConfig(watts=5), None),
    ):
        judged = benchmark(found, budget)
        assert judged is not None
        assert judged.power_choice is not None
        assert (judged.power_choice.mode, judged.power_choice.watts) == (chosen, budget.watts)
    assert [(one.name, one.watts, one.hottest_celsius, one.reason) for one in judged.power_modes] == [
        ("MAXN", 20.0, 50.0, ""),
        ("15W", 11.0, 50.0, ""),
        ("7W", None, None, "it needs a reboot: --allow-reboot"),
    ]


def test_numbers_that_are_not_there() -> None:
    assert benchmark(session(None), BudgetConfig()) is None
    assert mixed_latency(session(None)) is None
    assert unanswered(session(None), BudgetConfig(latency_ms=1.0)) == ()


@pytest.mark.parametrize(
    ("budget", "told", "open_"),
    [
        ({}, {}, []),
        ({"latency_ms": 2.0}, {}, []),
        ({"latency_ms": 1.05}, {}, ["budget.latency_ms = 1.05 lies within what the median may be, 0.9 to 1.1 ms"]),
        ({"fps": 1900.0}, {}, ["budget.fps = 1900 lies within what the median may be, 0.9 to 1.1 ms"]),
        ({"fps": 900.0}, {}, []),
        ({}, {"state": "unknown", "reasons": ["throttled"]}, ["how many times as fast: throttled"]),
    ],
)  # fmt: skip
def test_what_is_not_answered(
    budget: dict[str, float], told: dict[str, Any], open_: list[str], tmp_path: Path
) -> None:
    """An absolute latency that may not be quoted is an answer all the same, as long as no limit lies in it."""
    both = result("dense", "invalid", 3.0, "busy"), result("compressed", "invalid", 1.0, "busy")
    found = session_of(tmp_path, *both, ratio("dense", 3.0, **told))
    assert list(unanswered(found, BudgetConfig(**budget))) == open_
    judged = benchmark(found, BudgetConfig(**budget))
    assert judged is not None
    assert (judged.verdict, judged.sessions, list(judged.unanswered)) == ("invalid", 5, open_)
    quoted = latency_of(found.engines["compressed"])
    assert (quoted.low, quoted.high, quoted.verdict, quoted.reasons) == (0.9, 1.1, "invalid", ("busy",))


@pytest.mark.parametrize("compared", [True, False])
def test_the_mixed_engine_is_held_against_the_one_without(compared: bool, tmp_path: Path) -> None:
    engines = [result("compressed", "valid", 2.0), result(NOT_MIXED, "noisy", 1.0)]
    found = mixed_latency(session_of(tmp_path, *engines, *([ratio(NOT_MIXED, 0.5)] if compared else [])))
    assert (found is not None) == compared
    if found:
        assert (found.mixed_ms, found.throughout_ms) == (2.0, 1.0)
        assert found.times_as_fast == known(0.5)
        assert found.verdicts == ("valid", "noisy")
