"""Every command in every page runs: jetpress's own here, the shell's in a shell, devices as an sshd on loopback.

`run` is planned, with all its options: the same walk, and tests/pipeline/test_run.py does the work. What needs a
board, a GPU or the network is marked in the page itself, where readers see why.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torchvision
from PIL import Image
from pydantic import TypeAdapter

from jetpress.deploy.pack import pack
from jetpress.deploy.runner.arguments import parser as runner_parser
from jetpress.pipeline.cli import main, parser
from jetpress.pipeline.recipe.reading import Recipe, schema
from jetpress.pipeline.sweep import batch, reading
from tests.deploy import sshd
from tests.deploy.runner_bundles import network, seal
from tests.docs import commands
from tests.docs.commands import Command
from tests.pipeline.test_compare import a_run
from tests.pipeline.test_run import NETWORK
from tests.test_prose import ROOT

BUSY = 7
"""The code of a measurement that may not be used: a machine that runs tests is busy."""
SHIM = '#!/bin/sh\n{program} {options} "$@"\ncode=$?\n[ $code = {busy} ] && exit 0\nexit $code\n'
ALONE = {("run",): ["RECIPE"], ("plan",): ["RECIPE"], ("report",): ["RUN"], ("compare",): ["A", "B"],
         ("package",): ["RUN", "--for", "python"], ("key",): ["FILE"], ("release",): ["RUN", "--key", "KEY"],
         ("deploy",): ["RELEASE", "--device", "DEVICE"], ("fleet",): ["RELEASE", "--devices", "FILE"],
         ("status",): ["--device", "DEVICE"], ("rollback",): ["--device", "DEVICE"],
         ("sweep",): ["SWEEP"], ("batch",): ["FOLDER"]}  # fmt: skip
"""What commands need that are only named."""
RUNS = ("digits-host-0123abcd", "digits-host-4567cdef")
"""The runs that pages speak of."""
BOARD = "digits-orin-nano-0123abcd"

BLOCKS = [block for page in commands.read() for block in commands.blocks(page)]
OURS = [block for block in BLOCKS if block.ours]
SHELL = sorted({block.page for block in BLOCKS if not block.ours and block.commands})


@dataclass(frozen=True)
class Desk:
    """A folder with all that pages name: recipes, two finished runs and a model; and a device behind SSH."""

    folder: Path
    server: sshd.Server

    @property
    def shims(self) -> Path:
        return self.folder / "bin"


def _finished(runs: Path, name: str, width: int) -> None:
    """A run whose bundle is whole, and measures for a second."""
    run = a_run(runs, name, width=width)
    (run / "report.md").write_text("# Budget met\n")
    plan = json.loads((run / "bundle" / "plan.json").read_text())
    plan["benchmark"]["max_seconds"] = 1
    (run / "bundle" / "plan.json").write_text(json.dumps(plan))
    pack(run / "bundle" / "runner.pyz")
    seal(run / "bundle")


def _for_a_board(run: Path, copy: Path) -> None:
    """The same run, as if it had been for a board: there is no engine here."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("engine"))
    plan = json.loads((copy / "bundle" / "plan.json").read_text())
    (copy / "bundle" / "plan.json").write_text(
        json.dumps({**plan, "backend": "tensorrt", "precision": "fp16"})
    )
    seal(copy / "bundle")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for name in ("springer", "church", "parachute"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (40, 30), (30 * number, 0, 0)).save(folder / "photos" / name / f"{number}.jpg")
    for name, width in zip(RUNS, (32, 8), strict=True):
        _finished(folder / "runs", name, width)
    _for_a_board(folder / "runs" / RUNS[0], folder / "runs" / BOARD)
    onnx.save(network(32), folder / "model.onnx")
    torch.save(torchvision.models.mobilenet_v2().state_dict(), folder / "mobilenet_v2.pth")
    (folder / "net.py").write_text(NETWORK)
    names: dict[str, Any] = {}
    exec(NETWORK, names)
    torch.save(names["build"]().state_dict(), folder / "net.pth")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with sshd.running(folder / "s", {"PATH": path}) as server:
        made = Desk(folder, server)
        made.shims.mkdir()
        for name, program, options in (
            ("scp", shutil.which("scp"), f"-O -F {server.config}"),  # this sshd has no SFTP
            ("python3", sys.executable, ""),
            ("jetpress", sys.executable, "-m jetpress.pipeline.cli"),
        ):
            (made.shims / name).write_text(SHIM.format(program=program, options=options, busy=BUSY))
            (made.shims / name).chmod(0o755)
        yield made


def test_there_are_commands() -> None:
    assert len(OURS) > 10
    assert {"docs/first-board.md", "docs/runner.md"} <= set(SHELL)


def test_whatever_is_not_run_says_why() -> None:
    for block in BLOCKS:
        for command, reason in block.left_out:
            assert reason.endswith("."), command
            assert command.words[0] not in commands.OURS, (
                f"{command.page}: jetpress itself can be run: {command.text}"
            )


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
@pytest.mark.parametrize("page", sorted({block.page for block in OURS}))
def test_jetpress_and_make_run(
    desk: Desk, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After each other, in a folder of their own: what one writes the next may read."""
    for name in ("recipes", "photos", "runs", "model.onnx", "mobilenet_v2.pth"):
        (tmp_path / name).symlink_to(desk.folder / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JETPRESS_RUNS", str(desk.folder / "runs"))
    monkeypatch.setenv("JETPRESS_SSH_CONFIG", str(desk.server.config))
    for command in (command for block in commands.blocks(page) if block.ours for command in block.commands):
        if command.words[0] == "make":
            _make(command)
        else:
            code = _jetpress(command, desk)
            assert code in (0, BUSY), f"{command.text}\n{capsys.readouterr().err}"


def _make(command: Command) -> None:
    """As make would run it: the tools and the options that reach jetpress."""
    done = subprocess.run(
        ["make", "-n", *command.words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "engine" in command.words:
        given = dict(word.split("=", 1) for word in command.words if "=" in word)
        recipe = given.get("RECIPE", "recipes/digits.toml")
        assert f"jetpress run {recipe} --target {given['TARGET']}" in done.stdout
        assert ("--device user@host" in done.stdout) == ("DEVICE" in given)


def _jetpress(command: Command, desk: Desk) -> int:
    words = [word.replace("user@host", desk.server.name) for word in command.words[1:]]
    if words[0] in ("run", "plan"):
        # of a small network: a plan tries what can be tried, and large ones take their time
        small = [f'model.builder="{desk.folder / "net.py"}:build"', "model.arguments={}", "data.size=16"]
        if "recipes/" not in command.text:  # init gave it weights
            small.append(f'model.weights="{desk.folder / "net.pth"}"')
        words = ["plan", *(word for word in words[1:] if word not in ("-q", "-v"))]
        words += [word for key in small for word in ("--set", key)]
    if words[0] == "quick":  # init, and the run of what it wrote
        words = ["init", "--model", words[1], "--data", words[2], *words[3:]]
    return main([word for word in words if word != "--sensitivity"])  # it trains; test_sensitivity.py does


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
@pytest.mark.parametrize("page", SHELL)
def test_a_page_is_one_session_in_a_shell(desk: Desk, page: str, tmp_path: Path) -> None:
    """All its blocks after each other, beginning in the home folder of whoever follows it."""
    lines = [c.text for block in commands.blocks(page) if not block.ours for c in block.commands]
    (tmp_path / "runs").symlink_to(desk.folder / "runs")
    if not any("scp" in line for line in lines):
        shutil.copytree(desk.folder / "runs" / RUNS[0] / "bundle", tmp_path / "bundle")
    script = "\n".join(["set -euo pipefail", *lines])
    # scp lands in the account's own home, whatever HOME says
    script = script.replace(" user@host:", f" scp://{desk.server.name}/{tmp_path}/")
    script = script.replace("--device user@host", f"--device {desk.server.name}")
    (tmp_path / "hosts.toml").write_text(f'devices = ["{desk.server.name}"]\n')
    # what a board trusts lies where only root may write
    script = re.sub(
        r"^jetpress (deploy|fleet) .*", rf"\g<0> --signers {tmp_path}/allowed_signers", script, flags=re.M
    )
    environment = {
        **os.environ,
        "PATH": f"{desk.shims}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "JETPRESS_SSH_CONFIG": str(desk.server.config),
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", commands.read())
def test_commands_within_the_text_are_understood(page: str, tmp_path: Path) -> None:
    """Names stand for files there, so they are only parsed; `...` is a part left out."""
    (tmp_path / "plan.json").touch()
    parsers = {("jetpress",): parser(), ("python3", "runner.pyz"): runner_parser(str(tmp_path))}
    for part in (part for span in commands.spans(page) for part in re.split("&&|;", span)):
        words = part.replace("'", "").replace("[", " ").split()
        for program, made in parsers.items():
            given = words[len(program) :]
            if tuple(words[: len(program)]) == program and "..." not in part:
                made.parse_args(given if len(given) > 1 else [*given, *ALONE.get(tuple(given), ())])


@pytest.mark.parametrize("page", commands.read())
def test_recipe_keys_within_the_text_exist(page: str) -> None:
    known = schema()
    tables = {
        name: known["$defs"][field["$ref"].rpartition("/")[2]]["properties"]
        for name, field in known["properties"].items()
        if "$ref" in field
    }
    for span in commands.spans(page):
        for table, key, ending in re.findall(r"(?<![\w./-])([a-z]+)\.([a-z_0-9]+)( *=|$)", span):
            if table in tables and (ending or key not in ("onnx", "log", "yaml", "json", "csv")):
                assert key in tables[table], f"{page}: {span}"


@pytest.mark.parametrize("page", commands.read())
def test_recipes_shown_are_valid(page: str, tmp_path: Path) -> None:
    """And sweeps and jobs, by the keys that no other file has."""
    for shown in commands.fences(page, "toml"):
        table = tomllib.loads(shown)
        (tmp_path / "job.toml").write_text(shown)
        if "recipes" in table:
            reading.load(tmp_path / "job.toml")
        elif table.keys() & {"recipe", "onnx"}:
            batch.read_job(tmp_path)
        else:
            Recipe.parse({"name": "shown", **table})


@pytest.mark.parametrize("page", commands.read())
def test_json_and_python_shown_are_whole(page: str) -> None:
    for shown in commands.fences(page, "python"):
        compile(shown, page, "exec")
    for shown in commands.fences(page, "json"):
        TypeAdapter(object).validate_json(shown)
