"""Fields of an object that somebody else wrote: the value asked for, or one message."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jetpress.deploy.fields import DEEPEST, Fields, Malformed, made_plain, parse

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
READERS = ("text", "integer", "count", "number", "positive", "flag", "texts", "times", "interval",
           "inside", "objects", "each", "named")  # fmt: skip


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("a", {"text"}),
        ("\ud800", set()),
        (3, {"integer", "count", "number", "positive"}),
        (0, {"integer", "number"}),
        (2.5, {"number", "positive"}),
        (2**63, set()),
        (True, {"flag"}),
        (None, set()),
        (float("inf"), set()),
        (float("nan"), set()),
        ([], {"texts", "objects"}),
        ([1, 2.0], {"times", "interval"}),
        ([2, 1], {"times"}),
        ([0, 1], {"interval"}),
        ([0, 1, 2], set()),
        ([1, "a"], set()),
        (["a"], {"texts"}),
        ({}, {"inside", "each", "named"}),
        ({"b": {}}, {"inside", "each"}),
        ({"b": 1}, {"inside", "named"}),
        ({"\ud800": 1}, {"inside"}),
        ([{}], {"objects"}),
    ],
)
def test_each_type_is_told_from_the_others(value: Any, good: set[str]) -> None:
    for reader in READERS:
        if reader in good:
            getattr(Fields({"a": value}), reader)("a")
        else:
            with pytest.raises(Malformed, match=r"^a\b"):
                getattr(Fields({"a": value}), reader)("a")


@given(VALUES)
@example({"\x1b[2J": ["\u202e", {"a": "\x07"}]})
def test_all_texts_of_a_value_are_made_plain(value: Any) -> None:
    made = made_plain(value)
    assert json.dumps(made_plain(made)) == json.dumps(made)
    shown = json.dumps(made, ensure_ascii=False).replace("\\n", "").replace("\\t", "")
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


def test_the_message_says_where() -> None:
    fields = Fields({"a": {"b": [{"c": 1}]}})
    with pytest.raises(Malformed, match=r"a\.b\[0\]\.c is not: text"):
        fields.inside("a").objects("b")[0].text("c")
    with pytest.raises(Malformed, match=r"a\.d is missing"):
        fields.inside("a").is_null("d")


def test_texts_cannot_move_a_cursor() -> None:
    assert Fields({"a": "x\x1b[2Jy"}).text("a") == "x\\u001b[2Jy"


@pytest.mark.parametrize(
    "text",
    ["", "1", "[]", "null", "{", '{"a": 1', '{"a": ' + "9" * 6000 + "}", '{"a":' * 100_000, "[" * 100_000,
     '{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1)],
)  # fmt: skip
def test_what_is_no_object_is_none(text: str) -> None:
    assert parse(text) is None


def test_nesting_as_deep_as_is_allowed() -> None:
    assert parse('{"a":' * (DEEPEST - 1) + "1" + "}" * (DEEPEST - 1)) is not None


@given(st.dictionaries(st.just("a"), VALUES), st.sampled_from(READERS))
@example({"a": 10**4000}, "number")
def test_a_field_or_a_message(values: dict[str, Any], reader: str) -> None:
    again = parse(json.dumps(values))
    assert again is not None
    try:
        getattr(Fields(again), reader)("a")
    except Malformed as error:
        str(error).encode()
