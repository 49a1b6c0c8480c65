"""Writes what docs/ has from the code, the recipe's reference and the drawings of the architecture: `make docs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs import api, commands, drawing
from jetpress.pipeline.recipe.reading import schema

HERE = Path(__file__).parent
HEAD = """# The recipe

Written from `pipeline/recipe/sections/` by `make docs`. A recipe is a TOML file; each table below is one section of
it. `--set section.key=value` overrides any key. Editors read `docs/recipe.schema.json`.
"""


def pages() -> dict[str, str]:
    """``{file name: content}``."""
    found = schema()
    lines = [HEAD, *_table("top level", found, found)]
    for name, field in found["properties"].items():
        if "$ref" in field:
            section = _resolve(field, found)
            lines += [
                "",
                f"## [{name}]",
                "",
                section["description"].replace("``", "`"),
                "",
                *_table(name, section, found),
            ]
    inputs = found["$defs"]["InputConfig"]
    lines += [
        "",
        "## [[model.inputs]]",
        "",
        inputs["description"],
        "",
        *_table("model.inputs", inputs, found),
    ]
    return {
        "recipe.md": "\n".join(lines) + "\n",
        "api.md": api.page(),
        "commands.md": commands.page(),
        "recipe.schema.json": json.dumps(found, indent=1, sort_keys=True) + "\n",
        "architecture.md": drawing.drawn_into((HERE / "architecture.md").read_text()),
    }


def _resolve(field: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = found["$defs"][field["$ref"].rpartition("/")[2]]
    return section


def _table(name: str, section: dict[str, Any], found: dict[str, Any]) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in section["properties"].items():
        if "$ref" not in field:
            default = (
                "required" if key in section.get("required", ()) else f"`{json.dumps(field.get('default'))}`"
            )
            meaning = " ".join(field.get("description", "").split()).replace("``", "`")
            rows.append(f"| `{key}` | {_type(field)} | {default} | {meaning} |".replace("\n", " "))
    return rows


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if field.get("type") == "array":
        inner = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of {_type(inner)}"
    if "$ref" in field:
        return "table"
    kind = {"integer": "whole number", "number": "number", "object": "table"}.get(
        field.get("type", ""), field.get("type", "")
    )
    bounds = [
        f"{sign} {field[key]:g}"
        for key, sign in (
            ("minimum", ">="),
            ("exclusiveMinimum", ">"),
            ("maximum", "<="),
            ("exclusiveMaximum", "<"),
        )
        if key in field
    ]
    return f"{kind} {', '.join(bounds)}".strip()


if __name__ == "__main__":
    for file, content in pages().items():
        (HERE / file).write_text(content)
