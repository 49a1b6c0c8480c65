"""The first recipe, from the command line: looked at, written, and run."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from jetpress.pipeline.cli import main
from jetpress.pipeline.recipe.reading import Recipe
from tests.pipeline.cli import images

ROOT = Path(__file__).resolve().parents[3]
QUICK = [
    "train.epochs=3",
    "finetune.epochs=1",
    "prune.rounds=1",
    "benchmark.seconds=0.2",
    "benchmark.rounds=false",
    "benchmark.warmup_ms=1",
    "benchmark.sessions=1",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path / "runs"))
    images.network(tmp_path)
    return tmp_path


def init(
    *more: str, model: str = "network.py:build", data: str = "digits", goal: str = "fastest at 1 point"
) -> int:
    return main(["init", "--model", model, "--data", data, "--target", "host", "--goal", goal, *more])


def test_own_images_from_init_to_report_in_three_commands(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write(here / "lamps", {"train": 20, "val": 10})
    assert init(data="lamps", goal="half the work at 5 points") == 0
    said = capsys.readouterr().err
    assert "2 classes; train/ 40 images" in said
    next_ones = re.findall(r"^  jetpress (\S+ \S+ --target \S+)", said, flags=re.MULTILINE)
    assert next_ones == ["plan lamps.toml --target host", "run lamps.toml --target host"]
    assert main(next_ones[0].split()) == 0
    assert "will run" in capsys.readouterr().out
    sets = [word for one in QUICK for word in ("--set", one)]
    assert main([*next_ones[1].split(), *sets, "--json"]) in (
        0,
        7,
        8,
    )  # images of noise, and times of a busy machine
    report = json.loads(capsys.readouterr().out)
    assert report["name"] == "lamps"
    assert Path(report["folder"], "report.html").is_file()


def test_a_folder_of_classes_without_splits_is_split_by_the_recipe(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write(here / "lamps", {"": 20})
    assert init(data="lamps") == 0
    text = (here / "lamps.toml").read_text()
    assert "40 images, 15% each for validation and test are cut off: there is no val/" in text
    assert "of 6 test samples one is worth 17: ONE DECIDES" in text
    from jetpress.pipeline.data.loading import load

    data = load(Recipe.load("lamps.toml").data, 0)
    assert (len(data.train), len(data.validation), len(data.test)) == (28, 6, 6)


def test_a_recipe_says_why_and_is_what_the_network_was_made_for(here: Path) -> None:
    images.write(here / "lamps", {"train": 4, "val": 2}, side=300)
    assert (
        init("-o", "sub/first.toml", model="torchvision:mobilenet_v3_small", data="lamps", goal="5 ms") == 0
    )
    recipe, text = Recipe.load("sub/first.toml"), (here / "sub" / "first.toml").read_text()
    assert recipe.data.size == 224
    assert "what the network was designed for; the images' shorter side is 300" in text
    assert recipe.data.root == str(here / "lamps")
    assert recipe.prune.latency_ms == recipe.budget.latency_ms == 5
    assert "get_model('mobilenet_v3_small', weights='DEFAULT')" in text
    assert all(
        "  # " in line for line in text.splitlines() if re.match(r"(size|epochs|macs|accuracy_drop) =", line)
    )


def test_weights_that_fit_are_the_baseline(here: Path) -> None:
    import torch

    sys.path.insert(0, str(here))
    from jetpress.pipeline.network import user_code

    images.write(here / "lamps", {"train": 4, "val": 2})
    torch.save(user_code.load(f"{here / 'network.py'}:build")(2).state_dict(), here / "two.pth")
    assert init("--weights", "two.pth", data="lamps") == 0
    recipe = Recipe.load("lamps.toml")
    assert recipe.train.epochs == 0
    assert recipe.model.weights == str(here / "two.pth")


def test_weights_of_other_classes_get_a_new_last_layer_and_training(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from jetpress.pipeline.network import user_code

    images.write(here / "lamps", {"train": 4, "val": 2})
    torch.save(user_code.load(f"{here / 'network.py'}:build")(9).state_dict(), here / "nine.pth")
    assert init("--weights", "nine.pth", data="lamps") == 0
    recipe = Recipe.load("lamps.toml")
    assert recipe.train.epochs > 0
    assert recipe.train.learning_rate == 0.01
    assert "9 -> 2 classes: new, learnt from the data" in (here / "lamps.toml").read_text()
    assert main(["plan", "lamps.toml"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "torchvision:resnt18"], "resnet18"),
        (["--model", "resnet18"], "did you mean 'torchvision:resnet18'?"),
        (["--model", "netwrk.py:build"], "did you mean 'network.py'?"),
        (["--model", "network.py:shapeless"], "2 images, and the data has 2 classes"),
        (["--model", "torchvision:fcn_resnet50"], "tells no classes apart"),
        (["--data", "lmps"], "did you mean 'lamps'?"),
        (["--data", "digts"], "did you mean 'digits'?"),
        (["--data", "outer"], "did you mean outer/inner?"),
        (["--data", "laod.py:load"], "did you mean 'load.py'?"),
        (["--target", "hst"], "did you mean host"),
        (["--goal", "fastst"], "did you mean 'fastest at 1 point'?"),
        (["--weights", "tow.pth"], "did you mean 'two.pth'?"),
        (["--output", "first.tml"], "name it first.toml"),
        (["--target", "rtx", "--goal", "5 ms"], "half the work"),
    ],
)
def test_what_is_misspelt_gets_the_nearest(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write(here / "lamps", {"train": 2, "val": 1})
    images.write(here / "outer" / "inner", {"train": 2, "val": 1})
    (here / "two.pth").touch()
    (here / "load.py").touch()
    given = {"--model": "network.py:build", "--data": "lamps", "--target": "host", "--goal": "fastest"}
    given |= dict(zip(words[::2], words[1::2], strict=True))
    assert main(["init", *(word for pair in given.items() for word in pair)]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.glob("*.toml"))


def test_a_file_that_is_there_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "digits.toml").write_text("# mine\n")
    assert init(model="torchvision:resnet18") == 2
    assert "--force" in capsys.readouterr().err
    assert (here / "digits.toml").read_text() == "# mine\n"
    assert init("--force", model="torchvision:resnet18") == 0
    assert Recipe.load("digits.toml").prune.macs == 0.75


def test_without_a_terminal_missing_flags_are_named(here: Path) -> None:
    command = [sys.executable, "-m", "jetpress", "init", "--data", "digits"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert "--model, --target, --goal are not given" in done.stderr


def test_questions_on_a_terminal(here: Path) -> None:
    """Typed on a real one: a default, a typo that is asked for again, and what was given as a flag is not asked."""
    images.write(here / "lamps", {"train": 4, "val": 2})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "jetpress", "init", "--target", "host"],
        cwd=here, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = ""
    for prompt, answer in (
        ("model [torchvision:resnet18]: ", "network.py:build"),
        ("data [digits]: ", "lmps"),
        ("did you mean 'lamps'?\r\n  data [digits]: ", "lamps"),
        ("goal [fastest at 1 point]: ", ""),
    ):
        shown += until(ours, prompt)
        os.write(ours, f"{answer}\n".encode())
    shown += until(ours, "jetpress run lamps.toml --target host")
    assert process.wait(60) == 0
    assert "target [" not in shown
    assert Recipe.load(here / "lamps.toml").data.source == "imagefolder"
    os.close(ours)


def until(terminal: int, text: str) -> str:
    """All that a terminal shows until ``text`` has come."""
    shown = b""
    while text.encode() not in shown:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, shown.decode()
        shown += os.read(terminal, 4096)
    return shown.decode()


def test_quick_is_init_and_run_in_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images.write(here / "lamps", {"": 16})
    sets = [word for one in QUICK for word in ("--set", one)]
    words = [
        "quick",
        "network.py:build",
        "lamps",
        "--target",
        "xavier",
        "--goal",
        "half the work",
        *sets,
        "--json",
    ]
    assert main(words) in (0, 8, 9)
    told = capsys.readouterr()
    assert "wrote lamps.toml" in told.err
    report = json.loads(told.out)
    assert report["name"] == "lamps"
    assert {stage["name"]: stage["state"] for stage in report["stages"]}["bundle"] == "ran"
    (here / "lamps.toml").write_text("# mine\n")
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err
