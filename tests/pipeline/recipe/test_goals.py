from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.goals import EXAMPLES, FURTHEST, Goal, goal


@pytest.mark.parametrize(
    ("words", "key", "value", "points", "int8"),
    [
        ("fastest at 1 point", "macs", FURTHEST, 1.0, False),
        ("fastest", "macs", FURTHEST, 1.0, False),
        ("Fastest within 0.5 points", "macs", FURTHEST, 0.5, False),
        ("as small as possible at 2 points", "params", FURTHEST, 2.0, False),
        ("5 ms", "latency_ms", 5.0, 1.0, False),
        ("under 2.5ms at 3 points", "latency_ms", 2.5, 3.0, False),
        ("200 fps", "fps", 200.0, 1.0, False),
        ("at least 30 fps for 1 point", "fps", 30.0, 1.0, False),
        ("half the size at 0.5 points", "params", 0.5, 0.5, False),
        ("a quarter of the size", "params", 0.75, 1.0, False),
        ("4x smaller", "params", 0.75, 1.0, False),
        ("half the work", "macs", 0.5, 1.0, False),
        ("30 % of the macs", "macs", 0.7, 1.0, False),
        ("30 % less work", "macs", 0.3, 1.0, False),
        ("twice as fast", "latency", 0.5, 1.0, False),
        ("2 times faster at 1 point", "latency", 0.5, 1.0, False),
        ("int8", "ratio", 0.0, 1.0, True),
        ("int8 at 1 point", "ratio", 0.0, 1.0, True),
        ("fastest with int8 at 1 point", "macs", FURTHEST, 1.0, True),
        ("half the size in int8 at 1 point", "params", 0.5, 1.0, True),
    ],
)
def test_words_become_keys(words: str, key: str, value: float, points: float, int8: bool) -> None:
    assert goal(words) == Goal(words, key, pytest.approx(value, abs=1e-4), points, int8)


@pytest.mark.parametrize(
    "words", ["soon", "0 ms", "1x smaller", "half the fun", "200 % of the size", "half", "size"]
)
def test_what_means_nothing_is_refused_with_examples(words: str) -> None:
    with pytest.raises(RecipeError, match="not understood") as raised:
        goal(words)
    assert EXAMPLES[0] in raised.value.hint


def test_a_typo_gets_the_nearest_example() -> None:
    with pytest.raises(RecipeError) as raised:
        goal("half the sze")
    assert "did you mean 'half the size at 1 point'?" in raised.value.hint


@given(st.floats(0.1, 1e4), st.floats(0.1, 50))
def test_numbers_come_through_as_they_are(milliseconds: float, points: float) -> None:
    milliseconds, points = round(milliseconds, 3), round(points, 2)
    understood = goal(f"{milliseconds} ms at {points} points")
    assert (understood.value, understood.accuracy_drop) == (milliseconds, points)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(words: str) -> None:
    try:
        understood = goal(words)
    except RecipeError:
        return
    assert understood.value >= 0
    assert understood.accuracy_drop >= 0
