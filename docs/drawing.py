"""The drawings and tables of docs/architecture.md, read off the code: its stages in their order, and its imports.

Nothing is imported to draw it: the files are parsed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "deploy", "benchmarks")
STAGES = "jetpress.pipeline.stages."


@dataclass(frozen=True)
class Taken:
    """A stage at a place of the flow."""

    stage: str
    file: str
    """That takes the step, below ``pipeline/``."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    files = [path for top in PACKAGES for path in sorted((ROOT / top).rglob("*.py"))]
    names = {".".join(("jetpress", *path.relative_to(ROOT).with_suffix("").parts)): path for path in files}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


@cache
def imports(name: str) -> set[str]:
    """Modules of ours that a module imports, at its top or late, by absolute or relative name."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {alias.name: f"{base}.{alias.name}" for alias in node.names}
            found |= {whole if whole in modules() else base for whole in inner.values()}
    return {other for other in found if other in modules() and other != name}


@cache
def folders() -> dict[str, set[str]]:
    """Each folder, and the other ones that files in it import."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        here = str(path.parent.relative_to(ROOT))
        others = {str(modules()[other].parent.relative_to(ROOT)) for other in imports(name)}
        found.setdefault(here, set()).update(others - {here})
    return found


DOORS = {
    "run.py": ("jetpress.pipeline.run", "pipeline"),
    "run_onnx.py": ("jetpress.pipeline.run_onnx", "from_file"),
}
"""The file that reads top to bottom, and its function: from a recipe, and from an ONNX file."""


def flow(*doors: str) -> list[Taken]:
    """The stages as these files of ``pipeline/`` come by them (all if none is named), and files that they call."""
    return [taken for door in doors or DOORS for taken in _steps(*DOORS[door])]


def _steps(module: str, function: str) -> Iterator[Taken]:
    tree = ast.parse(modules()[module].read_text())
    origin = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    local = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    file = str(modules()[module].relative_to(ROOT / "pipeline"))
    calls = [node for node in ast.walk(local.get(function, ast.Pass())) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "step" and len(call.args) > 1:
            stage = call.args[1]
            if isinstance(stage, ast.Name) and origin.get(stage.id, ("",))[0].startswith(STAGES):
                yield Taken(stage.id, file)
        elif isinstance(call.func, ast.Name) and call.func.id in local and call.func.id != function:
            yield from _steps(module, call.func.id)
        elif isinstance(call.func, ast.Name) and origin.get(call.func.id, ("",))[0].startswith(
            ("jetpress.pipeline.flow.", "jetpress.pipeline.run")
        ):
            yield from _steps(*origin[call.func.id])


def flow_drawing() -> str:
    """The flows from left to right; what another file decides stands in a box of its own."""
    return "\n\n".join(_flow_drawing(door) for door in DOORS)


def _flow_drawing(door: str) -> str:
    parts: list[tuple[str, list[str]]] = []
    for taken in flow(door):
        if not parts or parts[-1][0] != taken.file:
            parts.append((taken.file, []))
        if taken.stage not in parts[-1][1]:
            parts[-1][1].append(taken.stage)
    lines, names = ["flowchart LR"], list[str]()
    for number, (file, stages) in enumerate(parts):
        inner = [f'{stage}_{number}["{stage}"]' for stage in stages]
        if file == door:
            lines += [f"  {node}" for node in inner]
        else:
            lines += [f'  subgraph part{number}["{file}"]', *(f"    {node}" for node in inner), "  end"]
        names += [f"{stage}_{number}" for stage in stages]
    lines.append("  " + " --> ".join(names))
    return _mermaid(lines)


def folder_drawing() -> str:
    """Who stands on whom: arrows that follow from others are left out."""
    graph = folders()
    lines = ["flowchart TD"]
    lines += [f'  {_id(folder)}["{folder}"]' for folder in sorted(graph)]
    for folder in sorted(graph):
        for other in sorted(graph[folder]):
            if not any(other in _below(graph, between) for between in graph[folder] - {other}):
                lines.append(f"  {_id(folder)} --> {_id(other)}")
    return _mermaid(lines)


def stage_table() -> str:
    """Every stage in the order of the flow: what it makes, and its first sentence."""
    lines = ["| stage | makes | what it does |", "|---|---|---|"]
    for stage in dict.fromkeys(taken.stage for taken in flow()):
        tree = ast.parse(modules()[f"{STAGES}{stage}"].read_text())
        function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == stage)
        assert isinstance(function.returns, ast.Name)
        said = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ").removeprefix("Stage: ")
        lines.append(f"| [{stage}](../pipeline/stages/{stage}.py) | {function.returns.id} | {said} |")
    return "\n".join(lines)


def folder_table() -> str:
    """Every folder, with the first sentence of its package."""
    lines = ["| folder | what is in it |", "|---|---|"]
    for folder in sorted(folders()):
        said = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or ""
        lines.append(f"| `{folder}/` | {said.partition(chr(10) + chr(10))[0].replace(chr(10), ' ')} |")
    return "\n".join(lines)


def drawn_into(page: str) -> str:
    """The page with everything between its marks (``<!-- flow -->``, ``<!-- /flow -->``) drawn anew."""
    drawings = {
        "flow": flow_drawing,
        "stages": stage_table,
        "folders": folder_drawing,
        "contents": folder_table,
    }
    for name, draw in drawings.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->\n")
        if not (mark and end):
            raise LookupError(f"docs/architecture.md has no marks for {name}")
        page = f"{before}{mark}{draw()}\n{end}{after}"
    return page


def _below(graph: dict[str, set[str]], folder: str) -> set[str]:
    """All that a folder stands on, directly or not."""
    found: set[str] = set()
    todo = [folder]
    while todo:
        for other in graph[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found


def _id(folder: str) -> str:
    return folder.replace("/", "_")


def _mermaid(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])
