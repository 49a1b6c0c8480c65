from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jetpress.pipeline.cli import SPINS, main, parser
from tests.pipeline import small

ROOT = Path(__file__).parent.parent.parent


def options(of: argparse.ArgumentParser) -> list[str]:
    return sorted(name for action in of._actions for name in (action.option_strings or [action.dest]))


def test_the_options_are_frozen() -> None:
    """Knobs live in the recipe. Whoever adds an option here must say why in the commit message."""
    top = parser()
    commands = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction)).choices
    assert options(top) == ["--help", "--version", "-h", "command"]
    assert {name: options(command) for name, command in commands.items()} == {
        "init": [
            "--data",
            "--force",
            "--goal",
            "--help",
            "--json",
            "--model",
            "--output",
            "--target",
            "--task",
            "--weights",
            "-h",
            "-o",
        ],
        "engine": [
            "--calibrate",
            "--colour",
            "--device",
            "--fit",
            "--head",
            "--help",
            "--input",
            "--json",
            "--mean",
            "--output",
            "--precision",
            "--prune",
            "--quiet",
            "--scale",
            "--set",
            "--shape",
            "--std",
            "--target",
            "--verbose",
            "-h",
            "-q",
            "-v",
            "model",
        ],
        "quick": [
            "--device",
            "--force",
            "--goal",
            "--help",
            "--json",
            "--output",
            "--quiet",
            "--set",
            "--target",
            "--task",
            "--verbose",
            "--weights",
            "-h",
            "-o",
            "-q",
            "-v",
            "data",
            "model",
        ],
        "run": [
            "--device",
            "--help",
            "--json",
            "--quiet",
            "--set",
            "--target",
            "--verbose",
            "-h",
            "-q",
            "-v",
            "recipe",
        ],
        "plan": [
            "--device",
            "--help",
            "--json",
            "--quiet",
            "--sensitivity",
            "--set",
            "--sparsity",
            "--target",
            "--verbose",
            "-h",
            "-q",
            "-v",
            "recipe",
        ],
        "sweep": [
            "--again",
            "--help",
            "--json",
            "--quiet",
            "--ray",
            "--verbose",
            "--workers",
            "-h",
            "-q",
            "-v",
            "sweep",
        ],
        "results": ["--help", "--json", "-h", "sweep"],
        "batch": [
            "--help",
            "--json",
            "--list",
            "--quiet",
            "--verbose",
            "--watch",
            "--workers",
            "-h",
            "-q",
            "-v",
            "folder",
        ],
        "check": ["--help", "--json", "--no-trial", "--target", "-h", "model"],
        "targets": ["--help", "--json", "-h", "name"],
        "report": ["--help", "--json", "-h", "run"],
        "compare": [
            "--device",
            "--help",
            "--json",
            "--quiet",
            "--verbose",
            "-h",
            "-q",
            "-v",
            "first",
            "others",
        ],
        "device": ["--help", "--json", "-h", "do", "name"],
        "runs": ["--help", "--json", "-h"],
        "gc": ["--all", "--dry-run", "--help", "--json", "--older-than", "-h"],
        "key": ["--help", "--json", "--no-passphrase", "--signer", "-h", "file"],
        "release": ["--days", "--help", "--json", "--key", "--out", "--signer", "-h", "run"],
        "verify": ["--device", "--help", "--json", "--signers", "--target", "-h", "folder"],
        "deploy": [
            "--device",
            "--help",
            "--json",
            "--on-trial",
            "--quiet",
            "--root",
            "--signers",
            "--target",
            "--verbose",
            "-h",
            "-q",
            "-v",
            "release",
        ],
        "rollback": ["--device", "--help", "--json", "--name", "--root", "-h"],
        "status": ["--device", "--help", "--json", "--root", "-h"],
        "fleet": [
            "--at-once",
            "--devices",
            "--help",
            "--json",
            "--max-failures",
            "--quiet",
            "--root",
            "--signers",
            "--target",
            "--verbose",
            "-h",
            "-q",
            "-v",
            "release",
        ],
        "package": ["--for", "--help", "--json", "--out", "-h", "of"],
        "docs": ["--help", "--json", "-h", "page"],
        "completion": ["--help", "-h", "shell"],
    }


def test_help_imports_no_torch() -> None:
    script = (
        "import sys; from jetpress.pipeline.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    script += "print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "exit codes" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "none.toml"], 2, "there is no recipe"),
        (["run", "recipes/digits.toml", "--target", "orinnano"], 2, "orin-nano"),
        (["run", "recipes/digits.toml", "--set", "train.epoch=3"], 2, "did you mean 'epochs'"),
        (["plan", "README.md"], 2, "not a .toml file"),
        (["targets", "xavierr"], 2, "did you mean xavier"),
        (["report", "nothing"], 2, "no finished run"),
        (["check", "nope.onnx"], 2, "there is no file nope.onnx"),
        (["sweep", "none.toml"], 2, "there is no sweep none.toml"),
        (["results", "nothing"], 2, "there is no sweep nothing"),
        (["batch", "docs", "--list"], 2, "docs is no batch"),
        (["check", "docs"], 2, "there is no file docs"),
        (["run", "digits", "--set", "ratio=0.3"], 2, "did you mean 'prune.ratio'? Valid here"),
        (["run", "digits", "--set", "prune.ratio=2"], 2, "--set 'prune.ratio=2'"),
        (["run", "digts"], 2, "did you mean 'digits'?"),
        (["run", "recipes/digts.toml"], 2, "did you mean 'digits.toml'?"),
        (["run", "nowhere/mine.toml"], 2, "jetpress init"),
        (["docs", "recpe"], 2, "did you mean 'recipe'?"),
        (["check", "--target", "hst"], 2, "did you mean host"),
        (["compare", "nothing", "else"], 2, "no finished run 'nothing'"),
        (["run", "digits", "--set", 'model.weights="none.pth"'], 2, "there are no weights"),
    ],
)
def test_bad_input_is_one_message_and_a_code(
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "hint" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_misspelt_command_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rn", "digits"])
    assert ended.value.code == 2
    assert "did you mean 'run'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digits", "--traget", "host"], "there is no option --traget: did you mean '--target'?"),
        (["run", "--traget=host"], "did you mean '--target'?"),
        (["gc", "--older-tan", "3"], "did you mean '--older-than'?"),
        (["report", "--jsno"], "did you mean '--json'?"),
    ],
)
def test_a_misspelt_option_gets_the_nearest_one(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert f"usage: jetpress {arguments[0]}" in told


def test_no_message_names_a_variable_of_make() -> None:
    """Whoever calls `jetpress` has flags."""
    sources = [path for top in ("pipeline", "deploy", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    assert not [path for path in sources if re.search(r"\b(DEVICE|TARGET|RECIPE|SET)=", path.read_text())]


def test_json_errors_are_one_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "x", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_targets_lists_all_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    assert "Jetson AGX Xavier" in capsys.readouterr().out
    assert main(["targets", "xavier"]) == 0
    assert "cannot pay" in capsys.readouterr().out
    assert main(["targets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nano"]["opset"] == 13


def test_check_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "torch" in capsys.readouterr().out
    assert main(["check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ready"] is True


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_scripts_are_for_jetpress(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "jetpress" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "offered"), [("jetpress ini", {"init"}), ("jetpress report --j", {"--json"})]
)
def test_a_tab_in_bash_offers_what_fits(line: str, offered: set[str], tmp_path: Path) -> None:
    """The script that is printed, in a real bash: what it calls is what Tab calls."""
    (tmp_path / "jetpress").write_text(f'#!/bin/sh\nexec {sys.executable} -m jetpress "$@"\n')
    (tmp_path / "jetpress").chmod(0o755)
    tab = f"""eval "$(jetpress completion bash)"; COMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9
    COMP_WORDS=({line}) COMP_CWORD={line.count(" ")}
    _python_argcomplete jetpress; printf '%s\\n' "${{COMPREPLY[@]}}" """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", tab], capture_output=True, text=True, env=environment)
    assert {word.strip() for word in done.stdout.splitlines()} == offered, done.stderr


def test_check_holds_a_model_against_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("HardSwish", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["check", str(tmp_path / "m.onnx"), "--target", "nano"]) == 2
    assert "HardSwish" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "m.onnx"), "--target", "host", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_gc_on_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    assert main(["gc", "--json"]) == 0
    nothing = {"removed": 0, "freed_bytes": 0, "kept": 0, "kept_bytes": 0, "dry_run": False}
    assert json.loads(capsys.readouterr().out) == nothing


def test_gc_says_what_would_go_and_how_much_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    draft = tmp_path / ".store" / "drafts" / "idle"
    draft.mkdir(parents=True)
    (draft / "file").write_bytes(bytes(2**20))
    assert main(["gc", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out == f"     1.0 MiB  unfinished     {draft}\n"
    assert said.err == "would remove 1 folders, 1.0 MiB; kept 0 folders, 0.0 MiB\n"
    assert main(["gc", "--older-than", "3"]) == 0
    assert "removed 1 folders, 1.0 MiB" in capsys.readouterr().err
    assert not draft.exists()


def test_sensitivity_is_a_table_and_a_plot_and_a_run_takes_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path / "runs"))
    small.model(tmp_path)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        '[model]\nbuilder = "network.py:build"\n[data]\nsize = 8\nbatch_size = 512\n[train]\nepochs = 1\n'
        '[prune]\nscope = "measured"\nmacs = 0.5\nsensitivity_images = 16\nchannel_multiple = 4\n'
    )
    assert main(["plan", str(recipe), "--target", "host", "--sensitivity"]) == 0
    said = capsys.readouterr()
    assert "conv1.weight" in said.out
    assert "50 %: " in said.out
    plot = Path(said.err.rpartition("plot: ")[2].strip())
    assert plot.read_text().startswith("<?xml")
    numbers = json.loads(plot.with_suffix(".json").read_text())
    assert set(numbers["groups"]) == {"conv1.weight", "conv2.weight"}
    assert main(["plan", str(recipe), "--target", "host"]) == 0
    states = {line.split()[0:2][-1]: line for line in capsys.readouterr().out.splitlines() if "judge" in line}
    assert "cached" in states["1"]


@pytest.mark.parametrize(("given", "wanted"), [(None, SPINS), ("7", "7")])
def test_threads_wait_without_spinning_unless_told_otherwise(
    given: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", given or "")
    if given is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    main(["targets"])
    assert os.environ["GOMP_SPINCOUNT"] == wanted
