"""Facts survive the disk as they are, and a description that was damaged is refused in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jetpress.deploy.errors import TrustError
from jetpress.pipeline.store import artifact
from jetpress.pipeline.store.artifact import DESCRIPTION, Artifact, Checkpoint, describe
from jetpress.pipeline.store.facts.network import (
    CheckpointFacts,
    DataFacts,
    Epoch,
    LayerMask,
    Pruning,
    Rounding,
    SparseLayer,
    Sparsity,
    Training,
    Width,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KINDS = [kind for kind in vars(artifact).values() if isinstance(kind, type) and Artifact in kind.__mro__[1:]]
PLAIN: Mapping[object, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=8),
    bool: st.booleans(),
    type(None): st.none(),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that facts are made of."""
    inner = [of(one) for one in get_args(kind) if one is not Ellipsis]
    if get_origin(kind) is Mapping:
        return st.dictionaries(*inner, max_size=3)
    if get_origin(kind) is tuple:
        several = get_args(kind)[-1] is Ellipsis
        return st.lists(inner[0], max_size=3).map(tuple) if several else st.tuples(*inner)
    if inner:
        return st.one_of(inner)
    if is_dataclass(kind):
        return st.builds(kind, **{name: of(hint) for name, hint in get_type_hints(kind).items()})
    return PLAIN[kind]


WHOLE = CheckpointFacts(
    parameters=1000,
    macs=20000,
    inputs={"data": "abc"},
    data=DataFacts("digits", 80, 10, 10, {"train": "the rest"}, ("0", "1"), ()),
    validation=91.5,
    dense_validation=92.0,
    training=Training(1, (Epoch(1, 0.5, 0.1, 91.5),), "float32", ""),
    pruned=True,
    pruning=Pruning((Width("a", 8, 4),), whole={"macs": 30000.0}),
    sparsity=Sparsity("magnitude", "2:4", (SparseLayer("a", "", LayerMask(0.9, 0.8, "", "", None, 0.1)),), 1),
    masked=("a",),
    rounding=Rounding(90.0, 0.01, 3, 3, ()),
)
"""Every kind of value that a description holds."""


def record_of(kind: type[Artifact[object]]) -> type[DataclassInstance]:
    """The record that its facts are."""
    (base,) = vars(kind)["__orig_bases__"]
    record: type[DataclassInstance] = get_args(base)[0]
    return record


def test_every_kind_is_tried() -> None:
    assert len(KINDS) == 13


def records(kind: Any) -> Iterator[Any]:
    """All records that a type is made of."""
    if is_dataclass(kind):
        yield kind
    for one in get_type_hints(kind).values() if is_dataclass(kind) else get_args(kind):
        yield from records(one)


def test_what_may_be_none_is_none_unless_it_is_told() -> None:
    found = {record for kind in KINDS for record in records(record_of(kind))}
    assert len(found) > 30
    for record in found:
        hints = get_type_hints(record)
        optional = {
            one.name: one.default for one in fields(record) if type(None) in get_args(hints[one.name])
        }
        assert set(optional.values()) <= {None}, (record, optional)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_facts_survive_the_disk(kind: type[Artifact[object]], data: st.DataObject) -> None:
    facts = data.draw(of(record_of(kind)))
    with TemporaryDirectory() as folder:
        text, digest = describe(kind(Path(folder), facts))
        assert kind.open(written(Path(folder), text.encode())).facts == facts
        assert digest == named(text.encode())


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    text, _ = describe(Checkpoint(tmp_path, CheckpointFacts(1, 2)))
    assert set(json.loads(text)["facts"]) == {
        "parameters", "macs", "inputs", "measured", "unit", "mean", "masked",
    }  # fmt: skip


def named(text: bytes) -> str:
    """The name of an artifact with this description."""
    return hashlib.sha256(text).hexdigest()


def written(folder: Path, text: bytes) -> Path:
    """An artifact with this description, whose name is right: what is wrong is in the text."""
    place = folder / named(text)
    place.mkdir(exist_ok=True)
    (place / DESCRIPTION).write_bytes(text)
    return place


def refused(made: Artifact[object], text: bytes) -> None:
    """One message, one hint, whatever is wrong."""
    with pytest.raises(TrustError, match="is damaged") as caught:
        type(made).open(written(made.path, text))
    assert caught.value.hint
    assert "\n" not in caught.value.what


def test_a_description_that_is_cut_is_refused(tmp_path: Path) -> None:
    made = Checkpoint(tmp_path, WHOLE)
    text = describe(made)[0].encode()
    for length in range(0, len(text), 7):
        refused(made, text[:length])
    with pytest.raises(TrustError, match="has no"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["null", "[]", '{"kind":"Checkpoint"}', '{"kind":"Checkpoint","facts":null}']
)
def test_a_description_of_nothing_is_refused(text: str, tmp_path: Path) -> None:
    refused(Checkpoint(tmp_path), text.encode())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_fact_that_is_missing_or_null_is_refused(kind: type[Artifact[object]], data: st.DataObject) -> None:
    record = record_of(kind)
    needed = [one.name for one in fields(record) if one.default is one.default_factory is MISSING]
    assert needed
    with TemporaryDirectory() as folder:
        made = kind(Path(folder), data.draw(of(record)))
        whole = json.loads(describe(made)[0])
        for name in needed:
            others = {key: value for key, value in whole["facts"].items() if key != name}
            for facts in (others, {**others, name: None}):
                refused(made, json.dumps({**whole, "facts": facts}).encode())


def places(value: Any, trail: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a JSON document is."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*trail, key)
        yield from places(one, (*trail, key))


def test_a_value_of_another_type_is_refused_wherever_it_is(tmp_path: Path) -> None:
    made = Checkpoint(tmp_path, WHOLE)
    text, _ = describe(made)
    found = list(places(json.loads(text)["facts"]))
    assert len(found) > 60
    for *trail, last in found:
        whole = json.loads(text)
        at = whole["facts"]
        for key in trail:
            at = at[key]
        at[last] = 7 if isinstance(at[last], str) else "x"
        refused(made, json.dumps(whole).encode())
