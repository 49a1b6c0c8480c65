"""What the importers of onnx-tensorrt read and assert, held against our rules: what is it that no rule knows?

    git -C onnx-tensorrt archive release/8.5-GA | tar -x -C SOURCES/8.5     # a folder for each release
    python -m studies.importers SOURCES 8.5 10.1 [--asserts]

For each operator and release: attributes of any opset (up to 21) that neither its importer nor a function that it
calls reads, and that no rule of importers.json names there; inputs that it asks to be initializers, and whether rules
or NVIDIA's table do. ``--asserts`` prints what each importer asserts, for reading. It goes by texts, not by a compiler.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import defs

from jetpress.deploy.preflight import importers, operators

OPSET = 21
HARMLESS = {
    "consumed_inputs", "momentum", "seed", "ratio", "output_sequence", "storage_order", "sorted", "stash_type",
    "saturate", "extrapolation_value", "time_axis", "broadcast", "directions", "paddings", "height_scale",
    "width_scale", "axis", "block_size", "cubic_coeff_a", "exclude_outside",
}  # fmt: skip
"""Without effect where the operator is taken (8.2 has no cubic Resize, blocks follow from the shape of a scale), or of
opsets before 7 (``broadcast`` and ``axis``: the rule old_broadcast)."""
ONLY_AMONG_WEIGHTS = {("Clip", 1), ("Clip", 2), ("Conv", 2)}
"""Asked on a path that computed inputs do not take."""
HEAD = re.compile(r"^DEFINE_(?:BUILTIN_)?OP_(?:IMPORTER|CHECKER)\((\w+)\)", re.MULTILINE)
FUNCTION = re.compile(r"^[\w:<>,*& ]+?\b(\w+)\s*\([^;{}]*\)\s*(?:const)?\s*\n\{", re.MULTILINE)
WEIGHTS = re.compile(r"(?:assertIsWeights\(|ASSERT\w*\(\s*\(?)inputs\.at\((\d)\)(?:\.is_weights|,)")
ASSERT = re.compile(r"\b(?:ASSERT\w*|STATIC_CHECK|ONNXTRT_CHECK\w*)\s*\(([^;]*);")


def bodies(folder: Path) -> dict[str, str]:
    """Importers and functions -> their text, macros of one operator together."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.cpp")):
        text = file.read_text(errors="replace")
        for pattern, prefix in ((HEAD, "op:"), (FUNCTION, "")):
            for match in pattern.finditer(text):
                end = text.find("\n}", match.end())
                name = prefix + match[1]
                found[name] = found.get(name, "") + text[match.start() : end if end > 0 else None]
    return found


def reached(found: dict[str, str], op: str) -> str:
    """The text of an importer and of all functions that it calls."""
    seen, left = set[str](), [f"op:{op}"]
    while left:
        name = left.pop()
        if name not in found or name in seen:
            continue
        seen.add(name)
        left += re.findall(r"\b(\w+)\s*(?:<[^<>;()]*>)?\(", found[name])
        left += [f"op:{other}" for other in re.findall(r"\bimport([A-Z]\w+)\(", found[name])]
    return "\n".join(found[name] for name in sorted(seen))


def attributes(op: str, newest: int) -> set[str]:
    """Of every definition of an operator up to an opset."""
    return {name for schema in schemas(op, newest) for name in schema.attributes}


def schemas(op: str, newest: int = OPSET) -> list[Any]:
    """The definitions of an operator, oldest first; none of what ONNX has not."""
    found = [s for s in defs.get_all_schemas_with_history() if s.name == op and not s.domain]
    return sorted((s for s in found if s.since_version <= newest), key=lambda s: s.since_version)


def ruled(op: str, release: str) -> tuple[set[str], set[int]]:
    """Attributes and inputs that rules or the table name for an operator."""
    named, given = set[str](), set[int]()
    for part in ("rules", "taken"):
        for rule, _ in importers.rules_for(part, op, operators.parse(release)):
            words: dict[str, Any] = rule.get("with", {})
            named |= {*words.get("attributes", ()), words.get("attribute", "")}
            if rule["check"] in ("initializer", "known", "false"):
                given |= {*words.get("inputs", ()), words.get("input", -1)}
    row = operators.table(release).rows.get(op)
    said = set(re.findall(r"`(\w+)`", row.restriction)) if row else set()
    inputs = schemas(op)[-1].inputs if schemas(op) else ()
    return named | said, given | {at for at, entry in enumerate(inputs) if entry.name in said}


def unknown(folder: Path, release: str) -> Iterator[str]:
    """What an importer does not read or asks for, and no rule says."""
    found, table = bodies(folder), operators.table(release)
    for op in sorted(name[3:] for name in found if name.startswith("op:") and name[3:] in table.rows):
        text, (names, places) = reached(found, op), ruled(op, release)
        # An attribute of a later opset is refused as such (deploy/preflight/opset.py).
        silent = attributes(op, table.opsets[1]) - set(re.findall(r'"(\w+)"', text)) - names - HARMLESS
        asked = {int(at) for at in WEIGHTS.findall(found[f"op:{op}"])} - places
        asked = {at for at in asked if (op, at) not in ONLY_AMONG_WEIGHTS}
        if silent or asked:
            yield f"{op}: never read: {', '.join(sorted(silent)) or '-'}; initializers: {sorted(asked) or '-'}"


def main() -> None:
    """Print what no rule knows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("releases", nargs="+")
    parser.add_argument("--asserts", action="store_true")
    asked = parser.parse_args()
    for release in asked.releases:
        print(f"== {release}")
        for line in unknown(asked.sources / release, release):
            print(line)
        for name, text in bodies(asked.sources / release).items() if asked.asserts else ():
            for said in ASSERT.findall(text):
                print(f"  {name}: {' '.join(said.split())[:200]}")


if __name__ == "__main__":
    main()
