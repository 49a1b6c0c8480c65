"""The runner's events as the host reads them: held against the schema, and against lines that nobody should send."""

from __future__ import annotations

import json
import string
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetpress.deploy.device import events
from jetpress.deploy.errors import DeviceError, StageError
from tests.deploy.runner_schema import SCHEMA, faults
from tests.deploy.test_fields import VALUES

SHAPES = {shape["properties"]["event"]["const"]: shape for shape in SCHEMA["oneOf"]}
NAMES = st.text(string.ascii_letters, min_size=1, max_size=6)
POSITIVE = st.floats(1e-6, 1e9)


def failure(line: str) -> str | None:
    """What the reader says where it refuses a line."""
    try:
        events.read(line)
    except DeviceError as error:
        return error.what
    return None


def valid(shape: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Everything that the schema allows, numbers above 0: times and sizes are."""
    if "$ref" in shape:
        return valid(SCHEMA["$defs"][shape["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in shape:
        return st.one_of([valid(item) for item in shape["anyOf"]])
    if "const" in shape:
        return st.just(shape["const"])
    if "enum" in shape:
        return st.sampled_from(shape["enum"])
    if shape["type"] == "array":
        least, most = shape.get("minItems", 0), shape.get("maxItems", 3)
        return st.lists(valid(shape["items"]), min_size=least, max_size=most).map(
            lambda items: sorted(items) if shape.get("maxItems") == 2 else items
        )
    if shape["type"] == "object":
        required = shape.get("required", [])
        known = {key: valid(inner) for key, inner in shape.get("properties", {}).items()}
        if isinstance(more := shape.get("additionalProperties"), dict):
            return st.dictionaries(NAMES, valid(more), max_size=2)
        return st.fixed_dictionaries(
            {key: known[key] for key in required},
            optional={key: value for key, value in known.items() if key not in required},
        )
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": st.from_regex(shape["pattern"], fullmatch=True, alphabet=st.characters(codec="ascii"))
        if "pattern" in shape
        else NAMES,
        "integer": st.integers(1, 2**40),
        "number": POSITIVE,
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple[shape["type"]]


@pytest.mark.parametrize("name", SHAPES)
def test_every_event_of_the_schema_is_understood(name: str) -> None:
    """Also without what the schema calls optional: nothing is relied on that a runner may leave out."""
    kinds = set()

    @settings(max_examples=30)
    @given(valid(SHAPES[name]))
    def check(event: dict[str, Any]) -> None:
        assert faults(event) == []
        read = events.read(json.dumps(event))
        kinds.add(type(read))
        for known in {"model", "verdict", "of", "against", "what", "hint"} & set(event):
            if name in events.READERS:
                assert getattr(read, known) == event[known]

    check()
    assert len(kinds) == 1
    assert (kinds == {events.Other}) == (name not in events.READERS)


def test_the_reader_knows_no_event_that_the_schema_does_not() -> None:
    assert set(events.READERS) <= set(SHAPES)


@pytest.mark.parametrize("name", events.READERS)
@settings(max_examples=50)
@given(data=st.data())
def test_a_field_of_another_type_is_a_message_that_names_the_event(name: str, data: st.DataObject) -> None:
    event = data.draw(valid(SHAPES[name]))
    key = data.draw(st.sampled_from(sorted(event)))
    event[key] = data.draw(VALUES)
    message = failure(json.dumps(event))
    assert message is None or (repr(name) in message and key in message)


@given(
    st.dictionaries(st.text(max_size=8), VALUES, max_size=4).map(json.dumps)
    | st.builds(
        lambda name, rest: json.dumps({**rest, "event": name}),
        st.sampled_from([*events.READERS, "else"]),
        st.dictionaries(st.sampled_from(["model", "stamp", "knobs", "outputs", "raw"]), VALUES, max_size=5),
    )
    | st.text(max_size=60)
)
@example('{"event": "built", "stamp": ' + '{"models":' * 10**5)
@example('{"event": "result", "seconds": ' + "9" * 6000 + "}")
@example('{"event": ["result"]}')
@example('{"event": "error", "what": "\\ud800", "hint": ""}')
def test_any_line_is_an_event_or_nothing_or_one_message(line: str) -> None:
    message = failure(line)
    if message is None:
        event = events.read(line)
        assert event is None or isinstance(event, events.Event)
    else:
        assert message.encode().startswith(b"the runner's event ")
        assert len(message) < 400


@pytest.mark.parametrize("file", ["../engine.json", "/etc/passwd", "a/b", "", ".", "..", "a\0", "\ud800"])
def test_a_file_is_a_name_and_no_path(file: str) -> None:
    output = {"name": "y", "file": file, "sha256": "0" * 64, "shape": [1], "dtype": "f", "finite": True}
    event = {"event": "infer", "model": "m", "samples": 1, "top1": None, "labels": False, "outputs": [output]}
    with pytest.raises(DeviceError, match="'infer' makes no sense: outputs"):
        events.read(json.dumps(event))


def test_what_is_missing_is_named() -> None:
    ratio = events.Ratio("A", "B", 2.0, (1.9, 2.1), 95, 16, 5, "faster", "known", (), {})
    assert events.last([ratio], events.Ratio) is ratio
    with pytest.raises(StageError, match="'built'"):
        events.last([ratio], events.Built)
    with pytest.raises(StageError, match="'profile of dense'"):
        events.by_model([], events.Profile, needed=["dense"])


def test_every_record_says_what_it_holds() -> None:
    """No record carries a field without a type of its own."""
    for kind in (events.Progress, events.Built, events.Infer, events.Result, events.Ratio, events.Profile):
        assert all("Any" not in str(one.type) for one in fields(kind))


def test_nothing_of_an_event_moves_a_cursor() -> None:
    """What is kept of an event as it came is shown later: the engine's warnings, its name, the machine."""
    evil = "\x1b[2J\u202e"
    model = {"size": 1, "build_seconds": 1.0, "sparse": False, "flags": [evil], "warnings": [evil]}
    model |= {"sparse_layers": None, "findings": None}
    stamp = {"backend": "b", "version": evil, "models": {evil: model}}
    for line in ({"event": "built", "stamp": stamp}, {"event": "other", evil: {"a": [evil]}}):
        found = events.read(json.dumps(line))
        assert found is not None
        assert "\\\\u001b" in repr(getattr(found, "models", getattr(found, "source", None)))
        assert evil[:3] not in str(getattr(found, "models", getattr(found, "source", None)))
