"""The house's rules: who may import whom, what may never be called, how long a file may be, what the docs say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from docs.drawing import STAGES, flow, folders, imports, modules
from docs.generate import pages

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted(modules().values())
TEAM = sorted(path for top in ("studies", "docs") for path in (ROOT / top).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 350, 60


def top(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_deploy_is_the_ground() -> None:
    wrong = {
        (name, other)
        for name in modules()
        if top(name) == "jetpress.deploy"
        for other in imports(name)
        if top(other) != "jetpress.deploy"
    }
    assert not wrong


def test_benchmarks_know_nothing_of_the_pipeline() -> None:
    wrong = {
        (name, other)
        for name in modules()
        if top(name) == "jetpress.benchmarks"
        for other in imports(name)
        if top(other) == "jetpress.pipeline"
    }
    assert not wrong


def test_the_package_knows_nothing_of_studies_tests_and_docs() -> None:
    """And of itself only by its whole name: a user's own ``pipeline`` is not ours."""
    local = {"studies", "tests", "docs", "pipeline", "deploy", "benchmarks", "recipes"}
    for path in [*PRODUCT, *(ROOT / "recipes").rglob("*.py"), *(ROOT / "jetpress").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            assert not {name.split(".")[0] for name in names} & local, f"{path}:{getattr(node, 'lineno', 0)}"


def test_every_stage_is_a_file_with_a_function_of_its_name() -> None:
    for path in sorted((ROOT / "pipeline" / "stages").glob("*.py")):
        if path.name != "__init__.py":
            functions = [
                node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
            ]
            (stage,) = (function for function in functions if function.name == path.stem)
            assert stage.args.args[0].arg == "config"
            last = stage.args.vararg or stage.args.args[-1]
            assert last.arg in ("draft", "files_and_draft"), (
                "the draft comes last, also of any number of inputs"
            )


def test_every_stage_stands_in_the_flow() -> None:
    files = {path.stem for path in (ROOT / "pipeline" / "stages").glob("*.py")} - {"__init__"}
    assert {taken.stage for taken in flow()} == files


def test_no_stage_imports_another() -> None:
    wrong = {
        (name, other)
        for name in modules()
        if name.startswith(STAGES)
        for other in imports(name)
        if other.startswith(STAGES)
    }
    assert not wrong


def test_no_file_imports_one_that_imports_it() -> None:
    no_circle({name: imports(name) for name in modules()})


def test_no_folder_imports_one_that_imports_it() -> None:
    no_circle(folders())


def no_circle(graph: Mapping[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import circle: {' > '.join((*trail, name))}"
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_a_circle_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="a > b > c > a"):
        no_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_files_and_functions_fit_a_head_and_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for path in (*PRODUCT, *TEAM)
        if (count := path.read_text().count("\n")) > LONGEST_FILE
    ]
    long += [
        f"{path.relative_to(ROOT)}: {name} has {count} lines"
        for path in (*PRODUCT, *TEAM)
        for name, count in functions(path)
        if count > LONGEST_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize(
    "pattern",
    [r"pickle\.loads?\(", r"weights_only=False", r"yaml\.load\(", r"allow_pickle=True", r"shell=True",
     r"StrictHostKeyChecking=no", r"verify=False", r"\beval\([^)]"],
)  # fmt: skip
def test_nothing_unsafe_is_called(pattern: str) -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (*PRODUCT, *TEAM)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not hits


def test_generated_docs_are_fresh() -> None:
    for name, content in pages().items():
        assert (ROOT / "docs" / name).read_text() == content, f"docs/{name} is stale: run `make docs`"


def test_every_recipe_is_valid() -> None:
    from jetpress.pipeline.recipe.reading import Recipe

    for path in sorted((ROOT / "recipes").glob("*.toml")):
        Recipe.load(path)
