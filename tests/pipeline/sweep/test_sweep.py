"""A sweep of real runs: a cell that fails stops no other, and the same command goes on."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.cli import main
from jetpress.pipeline.sweep import page as page_module
from jetpress.pipeline.sweep import sweep, table
from jetpress.pipeline.sweep.page import embedded, write_page
from jetpress.pipeline.sweep.records import Record
from tests.pipeline import small
from tests.pipeline.cli.test_several import TINY

SWEEP = """
recipes = ["tiny.toml"]
targets = ["xavier"]
[models.good]
builder = "network.py:build"
[models.bad]
builder = "network.py:ends"
"""
ENDS = "\ndef ends():\n    raise ValueError('no such layer')\n"


def test_a_cell_that_fails_stops_no_other_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path / "runs"))
    small.model(tmp_path)
    network = tmp_path / "network.py"
    network.write_text(network.read_text() + ENDS)
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "s.toml").write_text(SWEEP)
    command = ["sweep", str(tmp_path / "s.toml"), "--workers", "2", "--json"]
    assert main(command) == 2
    told = capsys.readouterr()
    rows = {row["model"]: row for row in json.loads(told.out)["cells"]}
    assert (rows["good"]["state"], rows["bad"]["state"]) == ("done", "failed"), told.err
    assert "no such layer" in rows["bad"]["why"]
    assert rows["good"]["accuracy"] > 0
    assert rows["good"]["stages_ran"] > 10
    page = Path(json.loads(told.out)["page"]).read_text()
    assert "tiny good xavier" in page

    assert main(command) == 2
    told = capsys.readouterr()
    assert "2 cells, 1 to run" in told.err
    again = {row["model"]: row for row in json.loads(told.out)["cells"]}
    assert again["good"] == rows["good"]

    assert main(["results", str(tmp_path / "s.toml")]) == 2
    assert "tiny good xavier" in capsys.readouterr().out
    assert main(["results", "nothing"]) == 2


def test_one_process_at_a_time_works_on_a_sweep(tmp_path: Path) -> None:
    with (
        sweep.only_one(tmp_path),
        pytest.raises(RecipeError, match="another process"),
        sweep.only_one(tmp_path),
    ):
        pass


RECORD = Record(
    id="a1", name="</script><b>x", recipe="r", model=None, target="host", device=None, state="done",
    values={"prune.ratio": 0.5, "prune.ignore": ["a", "b"]}, figures={"accuracy": 98.5, "latency_ms": None},
)  # fmt: skip


def test_what_is_written_into_the_page_cannot_leave_its_script(tmp_path: Path) -> None:
    write_page(tmp_path, [RECORD])
    page = (tmp_path / "index.html").read_text()
    assert "</script><b>" not in page
    assert json.loads(embedded({"a": "</script>&"})) == {"a": "</script>&"}


def test_parquet_has_every_column_of_every_cell(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra results")
    other = Record("b2", "b", "r", "m", "nano", None, {}, state="refused", why="no INT8")
    path = tmp_path / "results.parquet"
    table.write_parquet(table.rows([RECORD, other]), path)
    with duckdb.connect() as connection:
        found = connection.execute(
            'SELECT id, "prune.ratio", accuracy, why FROM read_parquet(?) ORDER BY id', [str(path)]
        )
        assert found.fetchall() == [("a1", 0.5, 98.5, ""), ("b2", None, None, "no INT8")]
    assert [one.name for one in tmp_path.iterdir()] == ["results.parquet"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_others_read_that_parquet(tmp_path: Path, library: str) -> None:
    pytest.importorskip("duckdb", reason="the extra results")
    read = pytest.importorskip(library, reason=f"{library} is no dependency")
    table.write_parquet(table.rows([RECORD]), tmp_path / "results.parquet")
    found = read.read_parquet(tmp_path / "results.parquet")
    assert [*found["prune.ratio"]] == [0.5]
    assert [*found["accuracy"]] == [98.5]


@pytest.mark.skipif(not importlib.util.find_spec("vl_convert"), reason="the extra results")
def test_the_plot_is_drawn_by_a_script_inside_the_page(tmp_path: Path) -> None:
    write_page(tmp_path, [RECORD])
    page = (tmp_path / "index.html").read_text()
    assert "window.vegaEmbed=" in page
    assert page.count("</script>") == page.count("<script>") == 3
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="https?://', page.partition("<script>")[0])


def test_without_vega_lite_the_page_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    page_module.plotting.cache_clear()
    write_page(tmp_path, [RECORD])
    page_module.plotting.cache_clear()
    assert "jetpress[results]" in (tmp_path / "index.html").read_text()
