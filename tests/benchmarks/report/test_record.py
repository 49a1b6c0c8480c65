"""A report survives its way through JSON, and what is no report is one message with a remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from jetpress.benchmarks.report import record
from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.errors import RecipeError
from tests.benchmarks.runs import bare, hostile, realistic

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
st.register_type_strategy(JsonValue, values)  # type: ignore[arg-type]


def with_finite_numbers(item: Any) -> Any:
    if is_dataclass(item) and not isinstance(item, type):
        return replace(
            item, **{one.name: with_finite_numbers(getattr(item, one.name)) for one in fields(item)}
        )
    if isinstance(item, Mapping):
        return {key: with_finite_numbers(inner) for key, inner in item.items()}
    if isinstance(item, (list, tuple)):
        return type(item)(with_finite_numbers(inner) for inner in item)
    return 0.5 if isinstance(item, float) and not math.isfinite(item) else item


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.builds(RunReport, headline=..., folder=st.none()))
def test_any_report_survives_json(found: RunReport) -> None:
    run = with_finite_numbers(found)
    text = json.dumps(run.to_dict(), allow_nan=False)
    assert record.of(json.loads(text)) == run


def test_nothing_of_a_run_is_lost() -> None:
    for run in (realistic(), bare()):
        assert record.of(run).to_dict() == run


def test_what_is_not_finite_is_not_known() -> None:
    plain = record.of(hostile()).to_dict()
    json.dumps(plain, allow_nan=False)
    assert isinstance(plain["ratios"], dict)
    assert plain["ratios"]["parameters"] is None


def test_where_it_was_read_is_known(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(bare()))
    assert record.read(tmp_path / "report.json") == replace(record.of(bare()), folder=tmp_path)


def refusal(path: Path, text: bytes) -> str:
    """What is said about it; empty where it is read all the same."""
    path.write_bytes(text)
    try:
        record.read(path)
    except RecipeError as error:
        refused = error
    else:
        return ""
    assert refused.hint == record.AGAIN
    assert str(path) in refused.what
    assert "\n" not in refused.what
    return refused.what


def short() -> dict[str, Any]:
    """Something of every kind, and little of it."""
    run = realistic()
    for key in ("layers", "rounds", "histograms", "stages", "equivalence"):
        run[key] = run[key][:2]
    for key in ("dense", "compressed"):
        run[key]["samples_ms"] = run[key]["samples_ms"][:3]
    run["quantization"]["layers"] = run["quantization"]["layers"][:2]
    return run


WHOLE = json.dumps(short()).encode()
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.integers(0, len(WHOLE) - 1))
def test_a_cut_file_is_damaged(tmp_path: Path, end: int) -> None:
    assert "is damaged" in refusal(tmp_path / "report.json", WHOLE[:end])


@quick
@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4))
def test_bytes_that_changed_are_read_or_refused(tmp_path: Path, place: int, other: bytes) -> None:
    refusal(tmp_path / "report.json", WHOLE[:place] + other + WHOLE[place + len(other) :])


@quick
@given(st.data())
def test_a_value_that_changed_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    run: Any = json.loads(WHOLE)
    at = run
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(values)
    refusal(tmp_path / "report.json", json.dumps(run).encode())


@pytest.mark.parametrize("key", sorted(bare()))
def test_an_older_file_without_a_key_is_refused_by_its_name(key: str, tmp_path: Path) -> None:
    run = bare()
    del run[key]
    assert f"{key}: field required" in refusal(tmp_path / "report.json", json.dumps(run).encode())


def test_an_older_file_without_what_came_later_is_read(tmp_path: Path) -> None:
    run = realistic()
    del run["predictions"], run["layer_costs"]
    for one in (*run["rounds"], *run["builder"]):
        for key in ("macs", "parameters", "bytes"):
            one.pop(key, None)
    assert not refusal(tmp_path / "report.json", json.dumps(run).encode())
    assert record.read(tmp_path / "report.json").layer_costs is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
        (WHOLE.replace(b'"seed": 0', b'"seed": ' + 600 * b"[" + 600 * b"]"), "damaged"),
        (b"{}", "format: field required"),
        (b"null", "no report"),
        (b"[]", "no report"),
        (WHOLE.replace(b'"format": 1', b'"format": 2'), "has format 2, this jetpress reads 1"),
        (WHOLE.replace(b'"engine_built": true', b'"engine_built": "perhaps"'), "engine_built: "),
        (WHOLE.replace(b'"cores": 2', b'"cores": 1e999'), "read"),
    ],
)
def test_what_is_no_report(text: bytes, said: str, tmp_path: Path) -> None:
    assert said in (refusal(tmp_path / "report.json", text) or "read")
