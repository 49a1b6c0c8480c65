"""Every command of the README runs: quick ones for real, `make` ones as make would run them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jetpress.pipeline.cli import main
from jetpress.pipeline.recipe.reading import Recipe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_two_commands_stand_at_the_top() -> None:
    assert commands()[:2] == ["make engine TARGET=host", "make test"]
    assert README.index("make engine TARGET=host") < README.index("## ")


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make")])
def test_make_knows_what_to_do(command: str) -> None:
    done = subprocess.run(
        ["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "engine" in command:
        target = re.search(r"TARGET=(\S+)", command)
        assert target
        assert f"jetpress run recipes/digits.toml --target {target[1]}" in done.stdout
        assert ("--device user@host" in done.stdout) == ("DEVICE=" in command)
    else:
        assert all(tool in done.stdout for tool in ("ruff check", "ruff format --check", "mypy", "pytest"))


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("jetpress")])
def test_jetpress_commands_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    words = command.split()[1:]
    if words[0] == "run":
        words[0] = "plan"  # the same walk; test_run.py does the work
    if "--sensitivity" in words:
        words.remove("--sensitivity")  # it trains; test_sensitivity.py does the work
    expected = 2 if words[0] in ("report", "compare") else 0  # the README's runs do not exist here
    assert main(words) == expected
    assert capsys.readouterr().out or expected


def test_the_recipe_shown_is_valid() -> None:
    (shown,) = blocks("toml")
    Recipe.parse({"name": "readme", **tomllib.loads(shown)})


def test_the_python_shown_compiles_and_its_names_exist() -> None:
    (shown,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", shown.replace('result = run(recipe, "host")', "callable(run) or exit(1)")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
