"""What the preflight says, held against what real ONNX parsers of TensorRT said of the same files.

    python -m studies.parser VERDICTS.json FOLDER [--list]

``VERDICTS.json`` has for each file and version what the importers of onnx-tensorrt (8.2-GA, 8.5-GA, 8.6-GA, 10.1-GA)
made of it, and what an earlier preflight said; ``FOLDER`` has the files that are there. Printed: for each version how
many decided answers agree, false OKs, silently wrong answers and needless refusals, before and now.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from jetpress.deploy.errors import JetpressError
from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight.compatibility import judge
from jetpress.deploy.preflight.graph import Graph, inferred
from jetpress.deploy.targets import Target, find
from studies.table import row, title

VERSIONS: dict[str, Target] = {
    "8.2": replace(find("nano"), tensorrt="8.2.1"),
    "8.5": replace(find("xavier"), tensorrt="8.5.2"),
    "8.6": replace(find("xavier"), tensorrt="8.6.1"),
    "10.1": replace(find("orin-nano"), tensorrt="10.1.0"),
}
KINDS = ("agrees", "false OK", "silently wrong", "needless refusal", "by reading", "unsure")
READ = ("computes something else without a word", "the builder refuses it")
"""Refusals that a verdict on the parser and on shapes cannot see: the importer's source says them."""


class Seen(TypedDict, total=False):
    """What one parser made of one file, and what the preflight of then said."""

    parser: str
    preflight: str
    agree: bool
    message: str
    importer: str


@dataclass(frozen=True)
class Answer:
    """One file at one version."""

    file: str
    version: str
    before: str
    now: str
    why: str
    said: str


def right(seen: Seen) -> str:
    """What a preflight has to say: ``ok``, ``refused``, ``silent`` (it parses and computes something else)."""
    parser, error = seen["parser"], seen["preflight"] == "error"
    if parser == "parsed" and error != seen["agree"]:
        return "ok"  # either it was taken and said so, or it was refused for nothing
    return {"parsed": "silent", "wrong_shape": "silent"}.get(parser, parser)


def kind(truth: str, error: bool) -> str:
    """How an answer stands to the truth."""
    if truth == "unsure":
        return "unsure"
    if truth == "ok":
        return "needless refusal" if error else "agrees"
    return "agrees" if error else {"refused": "false OK", "silent": "silently wrong"}[truth]


def answers(verdicts: Path, folder: Path) -> Iterator[Answer]:
    """All files that are there, at every version."""
    for name, entry in json.loads(verdicts.read_text()).items():
        path = folder / Path(name).name
        if not path.is_file():
            continue
        try:
            graph = inferred(guard.check_onnx(path))
        except JetpressError as error:
            graph, refused = None, error.what
        for version, seen in entry["versions"].items():
            errors = [refused] if graph is None else _errors(graph, VERSIONS[version])
            truth = right(seen)
            before, now = kind(truth, seen["preflight"] == "error"), kind(truth, bool(errors))
            if now == "needless refusal" and all(any(words in one for words in READ) for one in errors):
                now = "by reading"
            why = " ".join(filter(None, (entry["trait"], "|", seen.get("importer"), seen.get("message"))))
            yield Answer(name, version, before, now, why, "; ".join(errors))


def _errors(graph: Graph, target: Target) -> list[str]:
    found = judge(graph, target, trial=False)
    return [f"{one.op}: {one.what}" for one in found.problems if one.level == "error"]


def main() -> None:
    """Print the table, and with ``--list`` every answer that does not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    found = list(answers(asked.verdicts, asked.folder))
    counted = {
        when: Counter((one.version, getattr(one, when)) for one in found) for when in ("before", "now")
    }
    title("TensorRT", *KINDS)
    for version in VERSIONS:
        row(
            version, *(f"{counted['before'][version, one]} > {counted['now'][version, one]}" for one in KINDS)
        )
    for one in found if asked.list else ():
        if one.now not in ("agrees", "unsure"):
            print(f"{one.now}: {one.file} {one.version} | {one.why} | said: {one.said}")


if __name__ == "__main__":
    main()
