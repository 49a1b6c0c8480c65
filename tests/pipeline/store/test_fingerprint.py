"""What a stage's key depends on, by editing a copy of the source tree and looking which keys change."""

from __future__ import annotations

import ast
import importlib.metadata
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetpress.pipeline.store import fingerprint as subject
from jetpress.pipeline.store import symbols
from jetpress.pipeline.store.fingerprint import OURS, ROOT, files, fingerprint, versions

PACKAGE = ROOT / "jetpress"
FOLDERS = [path for path in PACKAGE.iterdir() if path.is_dir()]
SOURCES = sorted([*PACKAGE.glob("*.py"), *(path for top in FOLDERS for path in top.rglob("*.py"))])


def name_of(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def stages() -> Iterator[tuple[str, str]]:
    """Every function of the pipeline that writes into a draft, and the report."""
    for path in (one for one in SOURCES if one.is_relative_to(PACKAGE / "pipeline")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name):
                arguments = [one.arg for one in node.args.args]
                if arguments[:1] == ["config"] and arguments[-1] == "draft":
                    yield name_of(path), node.name
    yield "jetpress.pipeline.summary", "_render"


STAGES = {("report" if name == "_render" else name): (module, name) for module, name in stages()}
PACKING = {"bundle", "timings", "prune_for_time"}
"""These pack a runner: the bundle, and the ones by which widths are timed."""
LOOKING = {"preflight", "twin"}
"""These hold a file against a parser."""
RUNNER = {*PACKING, *LOOKING}
"""What its backends use counts for these: a preflight may ask a backend of the runner."""
ON_DEVICE = {"build", "infer", "bench", "timings", "prune_for_time"}
TRAINING = {"train", "regularize", "finetune", "qat"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(PACKAGE, root / "jetpress", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def codes(root: Path) -> dict[str, str]:
    for cached in (subject.fingerprint, subject._node, subject._module):
        cached.cache_clear()
    return {name: fingerprint(*stage, root)[0] for name, stage in STAGES.items()}


@pytest.fixture(scope="module")
def before(tree: Path) -> dict[str, str]:
    return codes(tree)


def changed(tree: Path, before: dict[str, str], file: str, old: str, new: str) -> set[str]:
    """The stages that have another key after one edit, which is taken back."""
    path = tree / "jetpress" / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new, 1))
    try:
        after = codes(tree)
    finally:
        path.write_text(text)
    return {name for name in STAGES if after[name] != before[name]}


def test_all_stages_are_here() -> None:
    assert {*TRAINING, *ON_DEVICE, *PACKING, "source", "prune", "sparsify", "fold", "export", "report"} < set(
        STAGES
    )
    assert len({fingerprint(*stage)[0] for stage in STAGES.values()}) == len(STAGES)


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        pytest.param(
            "deploy/runner/measure/bench.py", "\n", "\n# packed as it is\n", PACKING, id="a packed module"
        ),
        pytest.param(
            "deploy/runner/measure/latencies.py",
            "OUTLIER =",
            "OUTLIER = 1 +",
            {*PACKING, "report"},
            id="the runner's statistics",
        ),
        pytest.param("deploy/runner/schema.json", "{", "{ ", PACKING, id="a packed file"),
        pytest.param(
            "deploy/preflight/operators.json",
            "{",
            "{ ",
            {*LOOKING, "lower", "prune_file"},  # a given file is brought down to what its parser has
            id="the operator table",
        ),
        pytest.param(
            "deploy/preflight/infer_shapes.py",
            "MOST_MEMORY =",
            "MOST_MEMORY = 1 +",
            LOOKING,
            id="a script run by path",
        ),
        pytest.param(
            "deploy/device/scripts/watchdog.py", "\n", "\n#\n", ON_DEVICE, id="a program that is sent"
        ),
        pytest.param("benchmarks/report/templates/report.css", "{", "{ ", {"report"}, id="a template"),
        pytest.param(
            "pipeline/training/fit.py",
            "CHECK_EVERY = 16",
            "CHECK_EVERY = 17",
            TRAINING,
            id="a constant of a helper",
        ),
        pytest.param(
            "pipeline/training/schedule.py",
            "HOPE =",
            "HOPE = 1 +",
            TRAINING,
            id="a constant imported by a helper",
        ),
        pytest.param(
            "pipeline/tasks/detection.py",
            "NEAR =",
            "NEAR = 0 or",
            {"assess_file", "bundle", "equivalence", "infer", "quantize"},
            id="a constant of a few stages",
        ),
        pytest.param(
            "deploy/runner/system/failures.py",
            "class DeviceError(RunnerError)",
            "class DeviceError(RunnerError, OSError)",
            RUNNER,
            id="what a backend imports",
        ),
        pytest.param(
            "deploy/runner/backends/onnxruntime.py",
            "def attempt(",
            "def attempt_it(",
            {*PACKING, *LOOKING},
            id="a backend that preflight asks",
        ),
        pytest.param(
            "pipeline/stages/fold.py", "def fold(", "@staticmethod\ndef fold(", {"fold"}, id="a decorator"
        ),
        pytest.param(
            "deploy/__init__.py",
            "import os",
            "import os\nos.nice(0)",
            set(STAGES),
            id="what a package's import does",
        ),
    ],
)
def test_what_a_stage_uses_counts(
    tree: Path, before: dict[str, str], file: str, old: str, new: str, expected: set[str]
) -> None:
    assert changed(tree, before, file, old, new) == expected


UNUSED = {
    "docstring of a module": ("pipeline/network/channels/moves.py", '"""', '"""In other words: '),
    "docstring of a function": ("pipeline/training/fit.py", '"""Train ``network`` in place', '"""Trains'),
    "docstring of a class": ("pipeline/training/fit.py", '"""What training came to', '"""What came'),
    "docstring of an attribute": (
        "pipeline/training/fit.py",
        '"""Points of the network as it is now',
        '"""Of it',
    ),
    "a comment": ("pipeline/stages/fold.py", "def fold(", "# why\n\ndef fold("),
    "blank lines": ("pipeline/network/models.py", "\n\n\n", "\n\n\n\n\n\n"),
    "an unused import": ("pipeline/training/fit.py", "import math\n", "import math\nimport wave\n"),
    "an unrelated function": (
        "pipeline/graph/tolerance.py",
        "\n\n\n",
        "\n\n\ndef unrelated():\n    return 1\n\n\n",
    ),
    "what is said": ("deploy/live.py", "EVERY_S = 15.0", "EVERY_S = 16.0"),
    "what an error says": ("deploy/errors.py", "free some space", "make room"),
    "the store": ("pipeline/store/store.py", "poll_interval=0.2", "poll_interval=0.3"),
    "the command line": ("pipeline/cli/arguments.py", '"--json"', '"--as-json"'),
}


def test_what_no_stage_uses_does_not_count(tree: Path, before: dict[str, str]) -> None:
    package = tree / "jetpress"
    whole = {file: (package / file).read_text() for file, _, _ in UNUSED.values()}
    for file, old, new in UNUSED.values():
        assert old in (package / file).read_text()
        (package / file).write_text((package / file).read_text().replace(old, new, 1))
    after = codes(tree)
    for file, text in whole.items():
        (package / file).write_text(text)
    if after != before:  # which of them was it?
        assert {name: one for name, edit in UNUSED.items() if (one := changed(tree, before, *edit))} == {}
        raise AssertionError("together they count")


def test_another_section_of_the_recipe_counts_for_none_but_the_report(
    tree: Path, before: dict[str, str]
) -> None:
    new = "class BudgetConfig(Section, object):"
    assert changed(
        tree, before, "pipeline/recipe/sections/device.py", "class BudgetConfig(Section):", new
    ) <= {"report"}


def of(root: Path, **modules: str) -> str:
    """The code of ``jetpress.stage:stage``, with these modules beside it."""
    (root / "jetpress").mkdir(exist_ok=True)
    for name, text in modules.items():
        (root / "jetpress" / f"{name}.py").write_text(textwrap.dedent(text))
    for cached in (subject.fingerprint, subject._node, subject._module):
        cached.cache_clear()
    return fingerprint("jetpress.stage", "stage", root)[0]


@pytest.mark.parametrize(
    "stage",
    [
        "from jetpress.other import used\ndef stage(): return used()",
        "from .other import used\ndef stage(): return used()",
        "from . import other\ndef stage(): return other.used()",
        "import jetpress.other\ndef stage(): return jetpress.other.used()",
        "from jetpress import other as it\ndef stage(): return [it.used for _ in ()]",
        "def stage():\n    from jetpress.other import used\n    return used",
        "def stage():\n    import jetpress.other as it\n    return it.used",
        "from jetpress.other import used\ndef stage():\n    def inner(): return lambda: used\n    return inner",
        "from jetpress.other import used\ndef stage(x=used): pass",
        "from jetpress.other import used\ndef stage(x: used): pass",
        "from jetpress.other import used\n@used\ndef stage(): pass",
        "from jetpress.other import used\nclass Base:\n    x = used\nclass stage(Base): pass",
        "late = print\nstage = late('jetpress.other:used')",
        "from jetpress import other\ndef stage(name): return getattr(other, name)",
        "from jetpress.other import *\ndef stage(): return used()",
        "from jetpress import other\ndef stage(): return globals()['helper']()\ndef helper(): return other.used",
        "import jetpress.other\njetpress.other.used()\ndef stage(): pass",
        "try:\n    from jetpress.other import used\nexcept ImportError:\n    used = None\ndef stage(): return used",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from jetpress.other import used\ndef stage(): return used",
        "from jetpress.between import used\ndef stage(): return used()",
        "from jetpress import between\ndef stage(): return between.other.used()",
    ],
)  # fmt: skip
def test_every_way_to_a_name_is_followed(tmp_path: Path, stage: str) -> None:
    (tmp_path / "jetpress").mkdir()
    (tmp_path / "jetpress" / "between.py").write_text(
        "from jetpress import other\nfrom jetpress.other import used\n"
    )
    other = "def used(): return deep\ndeep = {}\ndef unused(): return 0\n"
    plain = of(tmp_path, stage=stage, other=other.format(1))
    assert of(tmp_path, stage=stage, other=other.format(2)) != plain
    assert of(tmp_path, stage=stage, other=other.format(1)) == plain


@pytest.mark.parametrize(
    "stage",
    [
        "from jetpress.other import used\ndef stage(used): return used",
        "from jetpress.other import used\ndef stage():\n    used = 1\n    return used",
        "from jetpress import other\ndef stage(): return [other for other in ()]",
        "from jetpress.other import used\ndef stage(): pass\ndef neighbour(): return used",
        "from jetpress.other import used\ndef stage(): pass\nif __name__ == '__main__':\n    used()",
        "from jetpress import other\ndef stage(): return other.unused()",
        "def stage(): '''jetpress.other:used'''",
    ],
)  # fmt: skip
def test_a_name_of_its_own_leads_nowhere(tmp_path: Path, stage: str) -> None:
    other = "def used(): return {}\ndef unused(): return 0\n"
    assert of(tmp_path, stage=stage, other=other.format(1)) == of(
        tmp_path, stage=stage, other=other.format(2)
    )


def test_files_that_a_module_reads_count(tmp_path: Path) -> None:
    other = "READS = ('*.json',)\ndef used(): pass\n"
    stage = "from jetpress.other import used\ndef stage(): used()"
    none = of(tmp_path, stage=stage, other=other)
    (tmp_path / "jetpress" / "table.json").write_text("1")
    one = of(tmp_path, stage=stage, other=other)
    (tmp_path / "jetpress" / "table.json").write_text("2")
    assert len({none, one, of(tmp_path, stage=stage, other=other)}) == 3


def test_libraries_are_those_that_the_code_uses() -> None:
    _, libraries = fingerprint("jetpress.pipeline.stages.sparsify", "sparsify")
    assert {"torch", "python"} <= libraries.keys()
    assert "jinja2" not in {name.lower() for name in libraries}
    assert "jinja2" in {name.lower() for name in fingerprint("jetpress.pipeline.summary", "_render")[1]}
    assert fingerprint("jetpress.pipeline.network.user_code", "digest")[1].keys() == {"python"}


def test_a_library_by_another_name_is_other_code(tmp_path: Path) -> None:
    stage = "from {} import dumps\ndef stage(): return dumps(1)"
    assert of(tmp_path, stage=stage.format("json")) != of(tmp_path, stage=stage.format("marshal"))


def test_versions_of_what_is_imported() -> None:
    assert set(versions({"numpy", "json"})) == {"numpy", "python"}


def test_distributions_are_those_that_python_itself_names() -> None:
    known = importlib.metadata.packages_distributions()
    for library in ("sklearn", "PIL", "yaml", "onnxruntime", "typing_extensions", "torch", "filelock"):
        assert versions({library}).keys() - {"python"} == set(known[library]), library


BESIDE = {
    "jetpress": "reads its public names, which no stage uses",
    "jetpress.deploy.formats.written": "fills in templates of packages, which no stage makes",
    "jetpress.pipeline.functions.memory": "asks where a class of the user's is",
    "jetpress.pipeline.store.fingerprint": "reads the code itself",
    "jetpress.pipeline.store.lazy": "reads the code itself",
    "jetpress.pipeline.store.remembered": "reads the code itself",
    "jetpress.pipeline.cli.pages": "finds the pages of the documentation, which no stage reads",
    "jetpress.pipeline.recipe.reading": "finds recipes, which are in every key by what they say",
    "jetpress.pipeline.recipe.sections.known": "reads names, and what they stand for is followed where it is used",
    "jetpress.deploy.runner.board.clocks": "starts itself, and is packed",
    "jetpress.deploy.runner.board.power_modes": "starts itself, and is packed",
    "jetpress.deploy.runner.system.processes": "starts itself, and is packed",
}
"""Modules that know where they lie and have no need to say what they read."""


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_who_reads_files_beside_itself_says_so(path: Path) -> None:
    module = symbols.read(ROOT, name_of(path))
    assert module is not None
    text = path.read_text()
    if ("__file__" in text or "importlib.resources" in text) and name_of(path) not in BESIDE:
        assert module.reads, f"{path} needs READS"
    for pattern in module.reads:
        assert any(file.match(pattern) for file in files(module)), (
            f"READS of {path}: nothing matches {pattern}"
        )


def test_decorators_of_ours_only_wrap() -> None:
    """A function that registers itself where it is defined would be reached without its name."""
    ours = set()
    for path in SOURCES:
        module = symbols.read(ROOT, name_of(path))
        assert module is not None
        for node in ast.parse(path.read_text()).body:
            for decorator in getattr(node, "decorator_list", ()):
                name = ast.unparse(decorator).partition("(")[0].partition(".")[0]
                source = module.imported.get(name, (module.name,))[0]
                if source.partition(".")[0] in OURS:
                    ours.add(name)
    assert ours == {"joint", "not_ended", "spelled", "style", "trainable"}
