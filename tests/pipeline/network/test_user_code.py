"""A user's own files beside their builder: found, and never taken for ours, nor ours for theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline import cli, run
from jetpress.pipeline.network import user_code
from jetpress.pipeline.recipe.reading import Recipe

BUILDER = """
from torch import nn
import pipeline, deploy, benchmarks, recipes
from blocks import width

def build():
    names = [module.WHOSE for module in (pipeline, deploy, benchmarks, recipes)]
    assert names == ["theirs"] * 4, names
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10))
"""
RECIPE = """
[model]
builder = "network.py:build"

[data]
source = "digits"
size = 8

[train]
epochs = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As if they had called their own code as we call ours, as packages and as files."""
    for name in ("pipeline", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('WHOSE = "theirs"')
        (tmp_path / name / "run.py").write_text("raise RuntimeError('theirs')")
    for name in ("deploy", "recipes"):
        (tmp_path / f"{name}.py").write_text('WHOSE = "theirs"')
    (tmp_path / "blocks.py").write_text("width = 32")
    (tmp_path / "network.py").write_text(BUILDER)
    (tmp_path / "mine.toml").write_text(RECIPE)
    return tmp_path


def jetpress(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "JETPRESS_RUNS": str(folder / "runs")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("where", ["their folder", "another folder"])
def test_their_builder_gets_theirs_and_ours_stays_ours(folder: Path, where: str, tmp_path: Path) -> None:
    code = (
        "import sys, jetpress; from jetpress.pipeline.recipe.sections.model import ModelConfig;"
        "from jetpress.pipeline.network import models;"
        f"print(models.build(ModelConfig(builder={str(folder / 'network.py')!r} + ':build'), 0));"
        "from jetpress.pipeline.run import run; from jetpress.benchmarks import stats;"
        "assert 'theirs' not in (getattr(run, 'WHOSE', ''), getattr(stats, 'WHOSE', ''));"
        "import pipeline; assert pipeline.WHOSE == 'theirs'"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = jetpress(folder if where == "their folder" else elsewhere, code)
    assert done.returncode == 0, done.stderr
    assert "out_features=32" in done.stdout


def test_a_plan_of_theirs(folder: Path) -> None:
    code = (
        "import sys; from jetpress.pipeline.cli import main; sys.exit(main(['plan', 'mine.toml', '--json']))"
    )
    done = jetpress(folder, code)
    assert done.returncode == 0, done.stderr
    assert '"source"' in done.stdout


def test_a_builder_that_ends_the_process_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("import sys\ndef build(): sys.exit(0)\n")
    (tmp_path / "r.toml").write_text('[model]\nbuilder = "own.py:build"\n')
    assert cli.main(["plan", "r.toml"]) == 2
    assert "own.py, line 2, ended the process: sys.exit(0)" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"ended the process: sys.exit\(0\)"):  # from Python, too
        run.plan(Recipe.load("r.toml"), "host")


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text("import not_to_be_found")
    with pytest.raises(RecipeError, match="not_to_be_found"):
        user_code.load(f"{tmp_path / 'network.py'}:build")


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A builder of several files: beside it, in a package, imported late, and by each other."""
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    texts = {
        "network.py": "import torch, blocks\nfrom parts.deep import head\ndef build():\n    import late\n",
        "blocks.py": "from network import build",
        "late.py": "width = 1",
        "parts/__init__.py": "from . import neck",
        "parts/neck.py": "from .deep.head import width",
        "parts/deep/head.py": "width = 1",
        "unused.py": "width = 1",
        "parts/unused.py": "width = 1",
        "torch.md": "no module",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_file_that_a_builder_imports_is_found(several: Path) -> None:
    names = {str(file.relative_to(several)) for file in user_code.files(several / "network.py")}
    assert names == {
        "network.py", "blocks.py", "late.py", "parts/__init__.py", "parts/neck.py", "parts/deep/head.py",
    }  # fmt: skip


def test_an_edit_of_any_of_them_is_another_network_and_of_no_other(several: Path) -> None:
    reference = f"{several / 'network.py'}:build"
    before = user_code.digest(reference)
    for file in sorted(several.rglob("*.py")):
        text = file.read_text()
        file.write_text(text + "\n# edited\n")
        assert (user_code.digest(reference) == before) == (file.name == "unused.py"), file
        file.write_text(text)
    assert user_code.digest(reference) == before


@pytest.mark.parametrize(
    "text", ["def build(:", "x = '\0'", "from ....above import it", "from " + 99 * "." + " import it"]
)
def test_a_file_that_python_refuses_still_has_a_digest(tmp_path: Path, text: str) -> None:
    (tmp_path / "above.py").touch()
    file = tmp_path / "a" / "b" / "c" / "network.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert user_code.files(file) == {file}
    assert len(user_code.digest(f"{file}:build")) == 64


def test_modules_beside_the_recipe_are_found_and_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its functions may lie in a folder of their own, and what they import above that."""
    (tmp_path / "code").mkdir()
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "above_the_code.py").write_text("WIDTH = 8")
    file = tmp_path / "code" / "build.py"
    file.write_text("from above_the_code import WIDTH\n\ndef build():\n    return WIDTH\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert user_code.load(f"{file}:build")() == 8
    before = user_code.digest(f"{file}:build")
    (tmp_path / "above_the_code.py").write_text("WIDTH = 16")
    assert user_code.digest(f"{file}:build") != before


def test_what_pythonpath_leads_to_counts_and_libraries_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "theirs").mkdir(parents=True)
    inner = tmp_path / "elsewhere" / "theirs" / "layers.py"
    inner.write_text("WIDTH = 8")
    (tmp_path / "elsewhere" / "theirs" / "__init__.py").write_text("from .layers import WIDTH")
    file = tmp_path / "build.py"
    file.write_text("import torch, json, jetpress\nfrom theirs import WIDTH\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *sys.path])
    found = user_code.files(file)
    assert found == {file, inner, inner.parent / "__init__.py"}
    (
        tmp_path / "elsewhere" / "theirs-1.0.dist-info"
    ).mkdir()  # pip put it there, as another environment's or by --target
    assert user_code.files(file) == {file}
