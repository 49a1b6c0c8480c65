"""The house's rules: who may import whom, what may never be called, what the docs say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = (
    "baseline",
    "train",
    "prune",
    "sparsify",
    "finetune",
    "fold",
    "qat",
    "export",
    "quantize",
    "equivalence",
    "assess",
    "preflight",
    "bundle",
    "measure",
)
SOURCES = sorted(p for top in ("pipeline", "deploy", "benchmarks") for p in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Absolute modules that a file imports, at the top or late."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_deploy_is_the_ground() -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "deploy").rglob("*.py")
        for name in imports(path)
        if name.split(".")[1:2] in (["pipeline"], ["benchmarks"])
    }
    assert not wrong


def test_no_stage_imports_another() -> None:
    stages = {f"pipeline.{name}" for name in STAGES}
    # train.py is a stage, and holds the one training loop that these use as well.
    allowed = {
        ("finetune", "jetpress.pipeline.training.fit"),
        ("qat", "jetpress.pipeline.training.fit"),
        ("assess", "jetpress.pipeline.training.fit"),
        ("baseline", "jetpress.pipeline.training.fit"),
    }
    wrong = {
        (name, found)
        for name in STAGES
        for found in imports(ROOT / "pipeline" / f"{name}.py") & stages
        if found != f"pipeline.{name}" and (name, found) not in allowed
    }
    assert not wrong


def test_every_stage_file_exists() -> None:
    assert all((ROOT / "pipeline" / f"{name}.py").is_file() for name in STAGES)


def test_no_import_circle() -> None:
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in SOURCES}
    graph = {
        name: imports(path) & set(modules) for name, path in modules.items() if name != "pipeline.__init__"
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import circle: {' > '.join((*trail, name))}"
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "pattern",
    [r"pickle\.loads?\(", r"weights_only=False", r"yaml\.load\(", r"allow_pickle=True", r"shell=True",
     r"StrictHostKeyChecking=no", r"verify=False", r"\beval\([^)]"],
)  # fmt: skip
def test_nothing_unsafe_is_called(pattern: str) -> None:
    hits = []
    for path in SOURCES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(pattern, line):
                hits.append(f"{path.relative_to(ROOT)}:{number}")
    assert not hits


def test_generated_docs_are_fresh() -> None:
    from docs.generate import pages

    for name, content in pages().items():
        assert (ROOT / "docs" / name).read_text() == content, f"docs/{name} is stale: run `make docs`"


def test_every_recipe_is_valid() -> None:
    from jetpress.pipeline.recipe.reading import Recipe

    for path in sorted((ROOT / "recipes").glob("*.toml")):
        Recipe.load(path)
