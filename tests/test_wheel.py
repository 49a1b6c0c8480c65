"""What is installed: one package, whole, that works outside of a checkout."""

from __future__ import annotations

import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.extension_tree import NETWORK
from tests.test_api import SIGNATURES

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("jetpress-*.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    compileall.compile_dir(folder, quiet=1)  # as pip does
    return folder


def test_two_builds_are_equal_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    """From another folder, with other times and other permissions of the files."""
    copy = tmp_path / "copy"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
            if not (copy / name).is_symlink():
                (copy / name).chmod(0o600)
                os.utime(copy / name, (10**9, 10**9))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_jetpress_is_all_that_is_installed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"jetpress"}
    assert {name.split("/")[1] for name in names if name.startswith("jetpress/")} == {
        "__init__.py", "__init__.pyi", "__main__.py", "pipeline", "deploy", "benchmarks", "recipes", "docs", "py.typed",
    }  # fmt: skip


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    ours = {
        f"jetpress/{name}"
        for name in listed.stdout.splitlines()
        if name.split("/")[0] in ("pipeline", "deploy", "benchmarks", "recipes")
        or (name.startswith("docs/") and name.endswith(".md"))
    }
    assert ours <= set(zipfile.ZipFile(wheel).namelist())


SMALL = ["--set", "model.builder=net.py:build", "--set", "model.arguments={}", "--set", "data.size=16"]
"""A network of their own: a plan tries to export and to prune it, and large ones take their time."""


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["plan", "digits", "--json"], '"train"'),
        (["plan", "digits-int8", "--target", "xavier", *SMALL], "quantize"),
        (["targets", "xavier"], "Xavier"),
        (["docs"], "detection"),
        (["docs", "recipe"], "# The recipe"),
        (["--version"], "jetpress"),
    ],
)
def test_the_command_runs_outside_of_a_checkout(
    site: Path, tmp_path: Path, words: list[str], shown: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site), "JETPRESS_RUNS": str(tmp_path / "runs")}
    (tmp_path / "net.py").write_text(NETWORK)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jetpress",
            *(word.replace("net.py", str(tmp_path / "net.py")) for word in words),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_what_import_jetpress_offers(site: Path, tmp_path: Path) -> None:
    """Frozen: a name that goes or changes is a breaking change."""
    code = (
        "import json, sys, jetpress; from pathlib import Path;"
        "assert 'torch' not in sys.modules;"
        "offered = {name: type(getattr(jetpress, name)).__name__ for name in jetpress.__all__};"
        "print(json.dumps([str(Path(jetpress.__file__).parent), offered,"
        " jetpress.Recipe.load('digits').name, sorted(dir(jetpress))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, offered, name, listed = json.loads(done.stdout)
    assert Path(where) == site / "jetpress"
    assert sorted(offered) == sorted(SIGNATURES)
    assert set(offered.values()) == {"type", "function"}
    assert name == "digits"
    assert set(offered) <= set(listed)


def test_a_name_that_is_not_there() -> None:
    import jetpress

    with pytest.raises(AttributeError, match="has no attribute 'prune_it'"):
        jetpress.prune_it  # noqa: B018


def test_every_page_that_a_message_names_is_there() -> None:
    from jetpress.pipeline.cli.pages import pages

    sources = [path for top in ("pipeline", "deploy", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"`jetpress docs ([a-z-]+)`", path.read_text())}
    assert {"recipe", "detection", "quantization"} <= named <= set(pages())
