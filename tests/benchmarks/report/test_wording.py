from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from jetpress.benchmarks.report import wording


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (wording.amount(1.0, "points"), "1 points"),
        (wording.amount(1200.0, "ms"), "1,200 ms"),
        (wording.amount(0.37), "0.37"),
        (wording.amount(None, "ms"), "—"),
        (wording.ms(0.04123), "0.0412 ms"),
        (wording.ms(12.34), "12.3 ms"),
        (wording.ms(1234.5), "1,234 ms"),
        (wording.ms(None), "—"),
        (wording.number(-2.5), "−2.50"),
        (wording.number(0), "0"),
        (wording.points(-0.4), "−0.40 points"),
        (wording.quantity(11_181_642), "11.2 M"),
        (wording.quantity(999_600), "1.00 M"),
        (wording.quantity(64), "64"),
        (wording.size(44_731_210), "44.7 MB"),
        (wording.times(4.0, "smaller", "larger"), "4.00 × smaller"),
        (wording.times(0.5, "smaller", "larger"), "2.00 × larger"),
        (wording.times(1.0, "smaller", "larger"), "the same"),
        (wording.clock(185), "3 min 05 s"),
        (wording.error(0.0), "0"),
        (wording.sparkline([0, 0, 1, 0, 8, 8]), " ▁█"),
    ],
)
def test_values_are_written_as_a_person_would(shown: str, text: str) -> None:
    assert shown == text


plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8)
scalars = (
    st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | plain
)
inner = st.recursive(
    scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(plain, x, max_size=3), max_leaves=8
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(plain, inner, max_size=4))
def test_a_recipe_survives_its_way_through_toml(table: dict[str, JsonValue]) -> None:
    assert tomllib.loads(wording.toml(table)) == table
