"""The coverage benchmark: processes that die are results, and the page counts what the records say."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torchvision

from studies import (
    coverage,
    coverage_dense,
    coverage_networks,
    coverage_path,
    coverage_restoration,
    coverage_sequences,
    coverage_table,
    coverage_transformers,
)


def test_a_process_gives_its_record_or_says_why_not() -> None:
    assert coverage.in_a_process(lambda: {"ok": True}, 10) == {"ok": True}
    assert coverage.in_a_process(_forever, 1) == "no result after 1 s of processor time"
    died = coverage.in_a_process(_killed, 10)
    assert isinstance(died, str)
    assert died.startswith(f"wait status {int(signal.SIGKILL)}")


def _killed() -> dict[str, object]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _forever() -> dict[str, object]:
    while True:
        pass


def test_a_users_file_goes_the_whole_path() -> None:
    record = coverage_path.one("files:own_widths", "jetpress", (18, 13))
    assert record["ok"], record
    assert record["graph"]
    assert record["recorded"]
    assert [record["opsets"][o]["delivered"] for o in ("18", "13")] == [18, 13]


def test_what_fails_says_where() -> None:
    record = coverage_path.one("timm:no_such_network", "jetpress", ())
    assert (record["ok"], record["stage"]) == (False, "build")
    assert "no_such_network" in record["error"]


def test_fixed_channels_are_counted_by_operator() -> None:
    fixed = {"a": "4 of 8 channels: gru in x.y", "b": "gru in z", "c": coverage_table.OUTPUT}
    assert coverage_path.fixed_by(fixed) == {"gru": 2, coverage_table.OUTPUT: 1}


def test_the_page_counts_the_last_record_of_a_network(tmp_path: Path) -> None:
    common = {
        "tool": "jetpress",
        "groups": 4,
        "cut": 3,
        "refused": [],
        "odd": 0,
        "graph": True,
        "analysis_s": 0.5,
    }
    good = {
        "opsets": {"18": {"delivered": 18, "error": 1e-6}},
        "ok": True,
        "stage": "export",
        "fixed": {"gru": 2},
    }
    bad = {
        "opsets": {"18": {"reason": "a | b"}},
        "ok": False,
        "stage": "export",
        "error": "a | b",
        "fixed": {},
    }
    peer = {
        "network": "timm:x",
        "tool": "torch-pruning",
        "ok": False,
        "stage": "prune",
        "error": "crash",
        "analysis_s": 1,
        "jetpress_analysis_s": 0.5,
    }
    lines = [
        {"network": "timm:x", **common, **bad},
        {"network": "timm:x", **common, **good},
        {"network": "timm:y", **common, **bad},
        {"network": "random:z", "tool": "jetpress", "ok": False, "skipped": "61 M parameters"},
        peer,
    ]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = coverage_table.table(results)
    assert "| timm families | 1 of 2 | 2 of 2 | 0 of 1 | 2 | 0.50 | 1.00 | 1 |" in page
    assert "| timm families | 1 of 2 |" in page
    assert "| gru | 2 | 1 |" in page
    assert "| timm:y | export | a / b |" in page
    assert "random:z" not in page


def test_the_networks_of_other_tasks_are_there() -> None:
    """At least forty, each in the file that it is said to be in."""
    files = {
        "coverage_dense.py": vars(coverage_dense),
        "coverage_restoration.py": vars(coverage_restoration),
        "coverage_sequences.py": vars(coverage_sequences),
        "coverage_transformers.py": coverage_transformers.NETWORKS,
        "": set(torchvision.models.list_models()),
    }
    named = [(file, name) for some in coverage_networks._TASKS.values() for name, (file, _) in some.items()]
    assert len(named) >= 40
    assert not [name for file, name in named if name not in files[file]]
    assert set(coverage_networks._TASKS) == set(coverage_table.TASKS) <= set(coverage_table.SETS)


def test_a_network_that_loses_nothing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_path, "RATIO", 0.0)
    record = coverage_path.one("files:own_widths", "jetpress", (18,))
    assert (record["ok"], record["stage"], record["error"]) == (
        False,
        "prune",
        "no group of channels was cut",
    )
