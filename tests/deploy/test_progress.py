from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.deploy.progress import Overall, Progress, duration

SECONDS = st.floats(0, 1e6)
UNITS = {"s": 1, "min": 60, "h": 3600}


@given(SECONDS)
def test_a_duration_in_words_is_the_duration(seconds: float) -> None:
    told = sum(
        float(count) * UNITS[unit] for count, unit in re.findall(r"([\d.]+) (s|min|h)", duration(seconds))
    )
    assert told == pytest.approx(seconds, abs=0.051 if seconds < 9.95 else 0.51 if seconds < 3600 else 31)
    assert "60 s" not in duration(seconds)


@given(total=st.integers(1, 10**6), share=st.floats(0.001, 1), gone=st.floats(0.01, 1e5))
def test_what_is_left_follows_from_the_rate_so_far(total: int, share: float, gone: float) -> None:
    done = max(1, round(total * share))
    work = Progress("x", total, done=done, expected=1e9, began=0.0)
    assert work.left(gone) == pytest.approx(gone / done * (total - done))


@given(earlier=st.integers(1, 99))
def test_what_another_process_did_tells_nothing_about_the_rate(earlier: int) -> None:
    work = Progress("x", 100, done=earlier, earlier=earlier, began=0.0)
    assert work.left(5.0) is None
    work.step()
    assert work.left(5.0) == pytest.approx(5.0 * (99 - earlier))


def test_what_cannot_be_counted_goes_by_the_time_it_took_before() -> None:
    work = Progress("export", expected=10.0, began=0.0)
    assert work.line(4.0) == "export, 4.0 s, about 6.0 s left"
    assert work.line(12.0) == "export, 12 s so far (10 s last time)"
    assert Progress("export", began=0.0).line(4.0) == "export, 4.0 s so far"


def test_the_note_that_was_given_last_stays() -> None:
    work = Progress("x", 4, began=0.0)
    work.step("loss 3")
    work.step()
    assert work.line(4.0) == "x 50 %, 4.0 s, about 4.0 s left  loss 3"


@pytest.mark.parametrize(
    ("overall", "line"),
    [
        (Overall(began=0.0), "train, 30 s in all"),
        (Overall(2, 9, None, False, 0.0), "[2 of 9] train, 30 s in all"),
        (Overall(2, 9, 60.0, True, 0.0), "[2 of 9] train, 30 s in all, about 1 min 30 s left"),
        (Overall(2, 9, 60.0, False, 0.0), "[2 of 9] train, 30 s in all, at least 1 min 30 s left"),
    ],
)
def test_the_overall_line_says_no_more_than_is_known(overall: Overall, line: str) -> None:
    assert (
        overall.line(30.0, [Progress("train", began=20.0), Progress("epoch", 4, done=1, began=20.0)]) == line
    )


def test_without_any_estimate_of_this_step_the_rest_is_a_bound() -> None:
    assert (
        Overall(2, 9, 60.0, True, 0.0)
        .line(30.0, [Progress("train", began=0.0)])
        .endswith("at least 1 min 00 s left")
    )
