"""What a session of the runner comes to in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jetpress.benchmarks.report.record.networks import Ratio
from jetpress.pipeline.flow.measured import Session, benchmark, mixed_latency, session
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.store.artifact import Measurement


def result(model: str, verdict: str, median: float, *reasons: str) -> dict[str, Any]:
    return {
        "event": "result",
        "model": model,
        "verdict": verdict,
        "reasons": reasons,
        "knobs": {"batch": 2, "threads": 1},
        "raw": {"latency": [median, median + 1]},
        "latency": {"median": median},
    }


def ratio(against: str, value: float) -> dict[str, Any]:
    interval = [value - 0.1, value + 0.1]
    return {"event": "ratio", "of": "compressed", "against": against, "ratio": value, "interval": interval}


def told(folder: Path, *events: dict[str, Any]) -> Session:
    (folder / "bench.json").write_text(json.dumps(events))
    return session(Measurement(folder))


def test_the_worse_of_both_verdicts_counts_with_all_reasons(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        result("dense", "noisy", 3.0, "drift"),
        result("compressed", "valid", 1.0),
        result("other", "invalid", 1.0, "of no interest"),
        ratio("dense", 3.0),
    )
    assert found.engines["compressed"].batch == 2
    assert found.engines["compressed"].samples_ms == (1.0, 2.0)
    assert found.against == {"dense": Ratio(value=3.0, low=2.9, high=3.1)}
    judged = benchmark(found, "")
    assert judged is not None
    assert (judged.verdict, judged.reasons) == ("noisy", ("dense: drift",))
    assert judged.knobs == {"batch": 2, "threads": 1}


def test_numbers_that_are_not_there() -> None:
    assert benchmark(session(None), "") is None
    assert mixed_latency(session(None)) is None
    judged = benchmark(session(None), "throttled")
    assert judged is not None
    assert (judged.verdict, judged.reasons) == ("invalid", ("throttled",))


@pytest.mark.parametrize("compared", [True, False])
def test_the_mixed_engine_is_held_against_the_one_without(compared: bool, tmp_path: Path) -> None:
    engines = [result("compressed", "valid", 2.0), result(NOT_MIXED, "noisy", 1.0)]
    found = mixed_latency(told(tmp_path, *engines, *([ratio(NOT_MIXED, 0.5)] if compared else [])))
    assert (found is not None) == compared
    if found:
        assert (found.mixed_ms, found.throughout_ms) == (2.0, 1.0)
        assert found.times_as_fast == Ratio(value=0.5, low=0.4, high=0.6)
        assert found.verdicts == ("valid", "noisy")
