"""As much of JSON Schema as `schema.json` uses, so that the tests need no further package."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SCHEMA = json.loads((Path(__file__).parents[2] / "deploy" / "runner" / "schema.json").read_text())
PYTHON = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KNOWN = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "const",
    "enum",
    "anyOf",
    "pattern",
    "$ref",
}


def faults(event: dict[str, Any]) -> list[str]:
    """What is wrong with an event; empty when it is as published."""
    shape = next(
        (item for item in SCHEMA["oneOf"] if item["properties"]["event"]["const"] == event.get("event")), None
    )
    return [f"unknown event {event.get('event')}"] if shape is None else list(_faults(event, shape, "event"))


def _faults(value: Any, shape: Any, path: str) -> list[str]:
    assert set(shape) <= KNOWN, f"schema.json uses {set(shape) - KNOWN}, which this checker does not know"
    if "$ref" in shape:
        return _faults(value, SCHEMA["$defs"][shape["$ref"].rsplit("/", 1)[1]], path)
    if "anyOf" in shape:
        tries = [_faults(value, item, path) for item in shape["anyOf"]]
        return [] if [] in tries else tries[0]
    if "const" in shape:
        return [] if value == shape["const"] else [f"{path}: {value!r} is not {shape['const']!r}"]
    if "enum" in shape:
        return [] if value in shape["enum"] else [f"{path}: {value!r} is not one of {shape['enum']}"]
    if not _is(value, shape["type"]):
        return [f"{path}: {value!r} is no {shape['type']}"]
    if shape["type"] == "array":
        if not shape.get("minItems", 0) <= len(value) <= shape.get("maxItems", len(value)):
            return [f"{path}: {len(value)} items"]
        return [
            fault
            for place, item in enumerate(value[:50])
            for fault in _faults(item, shape["items"], f"{path}[{place}]")
        ]
    if shape["type"] == "string" and not re.search(shape.get("pattern", ""), value):
        return [f"{path}: {value!r} does not match {shape['pattern']}"]
    return _object(value, shape, path) if shape["type"] == "object" else []


def _object(value: dict[str, Any], shape: Any, path: str) -> list[str]:
    known, more = shape.get("properties", {}), shape.get("additionalProperties", True)
    found = [f"{path}: {key} is missing" for key in shape.get("required", []) if key not in value]
    for key, item in value.items():
        if key in known:
            found += _faults(item, known[key], f"{path}.{key}")
        elif isinstance(more, dict):
            found += _faults(item, more, f"{path}.{key}")
        elif more is False:
            found.append(f"{path}: {key} is not in the schema")
    return found


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
    return isinstance(value, PYTHON[kind])
