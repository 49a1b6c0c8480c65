"""The results of a sweep: one row a cell, in JSON and in one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from jetpress.benchmarks.report.headline import gained, shown, standing
from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.errors import ToolMissing
from jetpress.pipeline.store.store import write_atomically
from jetpress.pipeline.sweep.records import Record

PARQUET = "results.parquet"


def figures(report: RunReport) -> dict[str, JsonValue]:
    """The numbers of a run that a table is sorted by. None: not measured."""
    latency, ratio = report.compressed.latency, report.ratios.latency
    known = ratio if ratio and ratio.state == "known" else None
    stages = [stage.state for stage in report.stages]
    return {
        "verdict": shown(report).words.format(beside=report.beside),
        "standing": standing(report),
        "accuracy": report.compressed.test,
        "accuracy_dense": report.dense.test,
        "accuracy_change": gained(report),
        "latency_ms": latency.p50 if latency else None,
        "latency_low_ms": latency.low if latency else None,
        "latency_high_ms": latency.high if latency else None,
        "latency_verdict": latency.verdict if latency else None,
        "fps": latency.fps if latency else None,
        "energy_mj": report.compressed.millijoules,
        "speed": known.value if known else None,
        "size_bytes": report.compressed.engine_bytes or report.compressed.onnx_bytes,
        "onnx_bytes": report.compressed.onnx_bytes,
        "parameters": report.compressed.parameters,
        "macs": report.compressed.macs,
        "precision": report.target.get("precision"),
        "stages_ran": stages.count("ran"),
        "stages_cached": stages.count("cached"),
    }


def rows(records: Sequence[Record]) -> list[dict[str, JsonValue]]:
    """One flat row a cell, all with the same columns: the swept keys by their names, then the figures."""
    flat = []
    for record in records:
        row = asdict(record)
        values, found = row.pop("values"), row.pop("figures")
        flat.append({**row, **values, **found})
    columns = dict.fromkeys(key for row in flat for key in row)
    return [{key: row.get(key) for key in columns} for row in flat]


def write_parquet(table: Sequence[Mapping[str, JsonValue]], path: Path) -> None:
    """One Parquet file, which pandas, DuckDB and Polars read.

    Raises:
        ToolMissing: DuckDB, which writes it, is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise ToolMissing(
            f"{path.name} is not written: DuckDB is not installed",
            "pip install 'jetpress[results]'; results.json has the same rows",
        ) from None
    lines, draft = path.with_suffix(".jsonl.tmp"), path.with_suffix(".parquet.tmp")
    try:
        write_atomically(lines, "".join(json.dumps(_plain(row)) + "\n" for row in table))
        with duckdb.connect() as connection:
            read = connection.read_json(str(lines), format="newline_delimited", sample_size=-1)
            read.write_parquet(str(draft))
        draft.replace(path)
    finally:
        lines.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)


def _plain(row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Lists and tables as text: a column has one type."""
    return {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in row.items()}
