"""What a run came to, by the budget and by what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.benchmarks import accuracy
from jetpress.benchmarks.report.latency import summary
from jetpress.benchmarks.report.record.networks import Benchmark, Ratio
from jetpress.deploy.targets import find
from jetpress.pipeline.flow import verdict
from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.device import BudgetConfig, BuildConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import AssessmentFacts, Change, Points

times = st.none() | st.lists(st.floats(0.1, 10), min_size=11, max_size=11)


def told(before: float, after: float, guessing: float | None = None, images: int = 1000) -> AssessmentFacts:
    change = Change(after - before, after - before - 1, after - before + 1)
    return AssessmentFacts(Points(before, before), Points(after, after), images, images, change, guessing)


@given(st.floats(0, 100), st.floats(0, 100), times, st.floats(0, 5), st.floats(0.1, 10))
def test_a_limit_is_met_broken_or_open(
    before: float, after: float, samples: list[float] | None, drop: float, limit: float
) -> None:
    latency = summary(samples, 1) if samples else None
    budget = BudgetConfig(accuracy_drop=drop, latency_ms=limit, fps=100.0)
    points, time, speed = verdict.limits(budget, "accuracy", told(before, after), latency)
    assert points.met == (round(before - after, 4) <= drop)
    assert points.low is not None
    assert points.high is not None
    assert points.low < before - after < points.high
    assert time.met == (sorted(samples)[5] <= limit if samples else None)
    fps = latency.fps if latency else None
    assert speed.met == (None if fps is None else fps >= 100)


def test_a_budget_of_accuracy_alone_has_one_check_named_after_what_is_measured() -> None:
    (check,) = verdict.limits(BudgetConfig(), "share of right labels", told(90, 90), None)
    assert check.what == "share of right labels drop on the test split"


def judged(*unanswered: str) -> Benchmark:
    return Benchmark(verdict="noisy", reasons=("busy",), knobs={}, unanswered=unanswered)


def ratio(value: float, low: float, high: float, **more: Any) -> Ratio:
    return Ratio(value=value, low=low, high=high, **more)


@pytest.mark.parametrize(
    ("expected", "met", "as_it_was", "tried", "faster", "benchmark"),
    [
        ("met", True, None, True, ratio(3, 2.9, 3.1), judged()),
        ("met", True, None, True, ratio(1.0, 0.99, 1.01), judged()),
        ("slower", True, None, True, ratio(0.67, 0.6, 0.7), judged()),
        ("met", True, None, True, ratio(0.67, 0.2, 3.0), judged()),
        ("unknown", True, None, True, ratio(0.67, 0.6, 0.7, state="unknown"), judged("the ratio")),
        ("unknown", True, None, True, ratio(3, 2.9, 3.1), judged("3 ms lie inside 2.9 to 3.1 ms")),
        ("unmeasured", True, None, True, None, None),
        ("open", None, None, True, None, None),
        ("not met", False, None, True, ratio(3, 2.9, 3.1), judged()),
        ("not met", False, "round 1: 28 points lost", True, None, None),
        ("nothing compressed", True, "round 1: 28 points lost", True, None, None),
        ("nothing to compress", True, "prune.ratio = 0", False, None, None),
    ],
)
def test_what_a_run_came_to(
    expected: str,
    met: bool | None,
    as_it_was: str | None,
    tried: bool,
    faster: Ratio | None,
    benchmark: Benchmark | None,
) -> None:
    assert verdict._standing(met, as_it_was, tried, faster, benchmark)[0] == expected


def test_a_dense_network_that_guesses() -> None:
    assert "always naming the most frequent class gives 11.00 %" in verdict.at_chance(told(12.0, 12, 11.0))
    assert verdict.at_chance(told(97.0, 97, 11.0)) == ""
    assert verdict.at_chance(told(12.0, 12, None)) == ""


def test_a_dense_detector_that_finds_nothing() -> None:
    nothing = replace(told(0.0, 0.0, 0.0), mean=False)
    assert verdict.at_chance(nothing) == "0.00 on 1000 test images: nothing is found"
    assert verdict.at_chance(replace(told(0.4, 0.4, 0.0), mean=False)) == ""


def a_plan(**changes: Any) -> Plan:
    return resolve(Recipe(name="small", **changes), find("host"))


def a_round(why: str) -> Round:
    return Round(0.5, Checkpoint(Path("p")), None, not why, why)


def test_why_the_network_is_the_dense_one_as_it_was() -> None:
    dense, other = Checkpoint(Path("dense")), Checkpoint(Path("other"))
    lost = a_round("28.00 points lost, the budget is 1.00")
    plan = a_plan()
    assert verdict.untouched(plan, dense, other, [a_round("")], []) is None
    assert verdict.untouched(plan, dense, dense, [lost], []) == f"round 1: {lost.why}"
    assert "2:4 was not kept" in (verdict.untouched(plan, dense, dense, [lost], [other]) or "")
    assert verdict.untouched(plan, dense, dense, [], []) == "the dense network is as fast as it has to be"
    asked = a_plan(prune=PruneConfig(ratio=0))
    assert verdict.untouched(asked, dense, dense, [], []) == "prune.ratio = 0"
    assert verdict.untouched(a_plan(build=BuildConfig(precision="int8")), dense, dense, [lost], []) is None


def test_every_image_counts_the_same_in_the_change_and_in_the_drop() -> None:
    change = accuracy.change([100, 100, 0, 0], [100, 0, 0, 0])
    assert change.value == -25
