"""The overview of a sweep: one HTML file with a table that sorts, and a plot by Vega-Lite. It needs no network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from pydantic import JsonValue

from jetpress.benchmarks.report import render
from jetpress.pipeline.store.store import write_atomically
from jetpress.pipeline.sweep.records import Record

PAGE = "index.html"
READS = ("overview.*",)
HERE = Path(__file__).parent
CSS = Path(render.__file__).parent / "templates" / "report.css"


def write_page(folder: Path, records: Sequence[Record]) -> None:
    """Write ``index.html``."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True)
    states = [record.state for record in records]
    counted = {state: states.count(state) for state in dict.fromkeys(states)}
    page = environment.get_template("overview.html").render(
        name=folder.name,
        counted=counted,
        style=CSS.read_text() + (HERE / "overview.css").read_text(),
        script=(HERE / "overview.js").read_text(),
        plotting=plotting(),
        data=embedded([_row(record, folder) for record in records]),
        keys=[*dict.fromkeys(key for record in records for key in record.values)],
    )
    write_atomically(folder / PAGE, page)


@cache
def plotting() -> str:
    """Vega-Lite and all that it needs as one script of 0.9 MB; empty where vl-convert, which has it, is missing."""
    try:
        import vl_convert
    except ImportError:
        return ""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")


def embedded(value: object) -> str:
    """JSON that may stand inside a script element, whatever is in it."""
    text = json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(record: Record, folder: Path) -> Mapping[str, JsonValue]:
    page = Path(record.folder) / "report.html" if record.folder else None
    return {
        "id": record.id,
        "name": record.name,
        "target": record.target,
        "state": record.state,
        "why": record.why,
        "command": record.command,
        "link": os.path.relpath(page, folder) if page else None,
        "values": {key: str(value) for key, value in record.values.items()},
        **record.figures,
    }
