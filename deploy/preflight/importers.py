"""What each TensorRT's ONNX importers assert, ignore, or read as an older definition: the rules of importers.json.

NVIDIA's operator tables say which operators a version takes, and less than its importers do. Each rule names operators,
one of a few checks (:mod:`jetpress.deploy.preflight.importer_checks`), what it is checked with, and the file and line
of the importer in each version that was read. A version between two that were read is judged by the older one, a
newer one by the newest that was read, but for what the changelog dates (``until``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

from jetpress.deploy.preflight.finding import Finding
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.importer_checks import CHECKS, TAKEN
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.preflight.operators import Version, parse

READS = ("importers.json",)
READ = ("8.2", "8.4", "8.5", "8.6", "10.1", "10.3", "10.10")
"""The releases whose importers were read."""
ANY = "*"
WORDS = {
    "refused": "its importer refuses it",
    "silent": "its importer computes something else without a word",
    "builder": "it is parsed, and the builder refuses it",
}
"""How a rule is broken; a rule that does not say is refused."""

Rule = TypedDict(
    "Rule",
    {
        "ops": list[str],
        "check": str,
        "with": NotRequired[dict[str, object]],
        "places": dict[str, str],
        "remedy": NotRequired[str],
        "how": NotRequired[str],
        "below": NotRequired[int],
        "until": NotRequired[str],
        "changelog": NotRequired[str],
    },
)


def violations(graph: Graph, node: Node, version: Version) -> Iterator[Finding]:
    """What TensorRT ``version`` refuses in this node, or computes otherwise than ONNX says."""
    for rule, read in (*rules_for("rules", node.op, version), *rules_for("rules", ANY, version)):
        if graph.opset >= rule.get("below", sys.maxsize):
            continue
        what = CHECKS[rule["check"]](graph, node, {**rule.get("with", {}), "version": version})
        if what:
            does = WORDS[rule.get("how", "refused")]
            newer = ", and no changelog since says otherwise" if version > parse(READ[-1]) else ""
            place = f"{rule['places'][read]} of {read}{newer}"
            yield Finding("error", f"{what}: {does} ({place})", rule.get("remedy", ""))


def taken(graph: Graph, node: Node, version: Version) -> frozenset[str]:
    """Attributes (and ``inputs``) of a newer opset that this importer takes, or that change nothing here."""
    return frozenset(
        str(rule.get("with", {}).get("attribute", "inputs"))
        for rule, _ in rules_for("taken", node.op, version)
        if TAKEN[rule["check"]](graph, node)
    )


@cache
def rules_for(part: str, op: str, version: Version) -> tuple[tuple[Rule, str], ...]:
    """The rules that hold for an operator of a version, each with the version whose importer was read."""
    found = []
    read = max((one for one in READ if parse(one) <= version), key=parse, default=READ[0])
    for rule in _facts()[part]:
        over = "until" in rule and version >= parse(rule["until"])
        if op in rule["ops"] and read in rule["places"] and not over:
            found.append((rule, read))
    return tuple(found)


@cache
def _facts() -> dict[str, list[Rule]]:
    facts = json.loads((Path(__file__).parent / "importers.json").read_text())
    return {part: facts[part] for part in ("rules", "taken")}
