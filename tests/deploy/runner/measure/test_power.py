"""`bench --power-modes` on a board of files, with programs that answer as nvpmodel and tegrastats do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.pack import pack
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.board import clocks, power_modes
from jetpress.deploy.runner.board.identity import Board
from jetpress.deploy.runner.measure import power, power_plot
from tests.deploy import power_board
from tests.deploy.device.test_device import until
from tests.deploy.power_board import WATTS, mode
from tests.deploy.runner_bundles import bundle
from tests.deploy.runner_schema import faults


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    root = power_board.make(tmp_path / "board")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("JETPRESS_BOARD", str(root))
    monkeypatch.setattr(power, "SETTLE_S", 0.0)
    if os.geteuid():
        pytest.skip("power modes are root's")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {"compressed": {"file": "model.onnx", "sparse": False}}
    folder = bundle(tmp_path_factory.mktemp("power") / "b", models=models)
    assert main(["build", "--bundle", str(folder)]) == 0
    return folder


def run(
    capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, dict[str, list[dict[str, Any]]], str]:
    capsys.readouterr()
    code = main(["bench", "--seconds", "0.3", "--runs", "16", *map(str, words)])
    said = capsys.readouterr()
    told: dict[str, list[dict[str, Any]]] = {"power_mode": [], "power": [], "error": []}
    for event in map(json.loads, said.out.splitlines()):
        assert faults(event) == []
        told.setdefault(event["event"], []).append(event)
    return code, told, said.err


def test_every_mode_and_the_one_to_choose(
    board: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("--bundle", place, "--power-modes", "all", "--watts", 12, "--out", out)
    code, told, prose = run(capsys, *words)
    assert code == 0, prose
    assert [one["name"] for one in told["power_mode"]] == list(WATTS)
    for one in told["power_mode"]:
        found = one["engines"]["compressed"]["power"]
        assert found["watts"] == pytest.approx(WATTS[one["name"]] / 1000)
        each = found["watts"] / one["engines"]["compressed"]["frames_per_s"] * 1000
        assert found["millijoules_per_inference"] == pytest.approx(each, rel=0.2)
        assert found["hottest_celsius"] == 54.5
        assert found["tegrastats_watts"] == pytest.approx(12.479)
        assert "power is" in "".join(one["engines"]["compressed"]["faults"]) or one["name"] == "15W"
    (chosen,) = told["power"]
    assert chosen["mode"] in ("15W", "7W")
    assert (chosen["before"], chosen["after"], mode(board)) == ("15W", "15W", "15W")
    assert "within 12 W" in prose
    drawing = (out / "power.svg").read_text()
    assert all(f">{name}, " in drawing for name in WATTS)
    assert not (Path.home() / ".jetpress/power-mode.json").exists()


def test_a_mode_that_reboots_is_refused_unless_it_is_allowed(
    board: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (board / "wants_reboot").touch()
    boot = board / power_modes.BOOT
    boot.parent.mkdir(parents=True)
    boot.write_text("one")
    words = ("--bundle", place, "--power-modes", "7W,MAXN", "--out", tmp_path / "out")
    code, told, _ = run(capsys, *words)
    assert (code, mode(board), (board / "answer").read_text().strip()) == (0, "15W", "no")
    assert [(one["name"], one["reason"]) for one in told["power_mode"]] == [
        ("7W", ""),
        ("MAXN", "it needs a reboot: --allow-reboot"),
    ]
    words = (*words[:-1], tmp_path / "again", "--allow-reboot")
    code, told, prose = run(capsys, *words)
    assert (code, (board / "answer").read_text().strip()) == (5, "YES")
    assert "give the same command again" in prose
    assert mode(board) == "MAXN"  # as it comes up
    (board / "wants_reboot").unlink()
    boot.write_text("two")
    code, told, prose = run(capsys, *words)
    assert (code, [one["name"] for one in told["power_mode"]], mode(board)) == (0, ["MAXN"], "15W")
    assert "1 power modes were measured before" in prose


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_clocks_and_then_the_mode_of_before_come_back_however_it_ends(
    ended: signal.Signals, board: Path, place: Path, tmp_path: Path
) -> None:
    """Clocks of the mode that was measured are no clocks of the one that was before: they come back in turn."""
    pack(tmp_path / "runner.pyz")
    words = ["bench", "--bundle", str(place), "--power-modes", "7W", "--seconds", "30", "--lock-clocks"]
    runner = subprocess.Popen(
        [sys.executable, str(tmp_path / "runner.pyz"), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: (
            signal.signal(ended, signal.SIG_DFL) if ended != signal.SIGKILL else None
        ),  # behind nohup
    )
    calls = board / "calls"
    assert until(lambda: calls.exists() and "clocks highest" in calls.read_text(), 60)
    runner.send_signal(ended)
    assert runner.wait() != 0
    told = ["mode 7W", "clocks --store", "clocks highest", "clocks --restore", "mode 15W"]
    until(lambda: calls.read_text().splitlines() == told, 30)
    assert (calls.read_text().splitlines(), mode(board)) == (told, "15W")
    assert until(lambda: not (Path.home() / ".jetpress/power-mode.json").exists())


def test_clocks_come_back_first_where_a_ctrl_c_left_their_block_open(board: Path) -> None:
    """Between `__enter__` and the body there is a line that a signal can hit; it once took the mode a minute."""
    seen = Board(str(board))
    slow = power_modes.modes(seen)[-1]
    held = clocks.locked(seen, wanted=True)
    with power_modes.kept(seen):
        power_modes.enter(seen, slow)
        held.__enter__()
    told = ["mode 7W", "clocks --store", "clocks highest", "clocks --restore", "mode 15W"]
    assert (board / "calls").read_text().splitlines() == told
    held.__exit__(None, None, None)
    assert (board / "calls").read_text().splitlines() == told
    with clocks.locked(seen, wanted=True) as locked:
        assert locked


def test_the_board_restarts_for_the_mode_of_before(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = Board(str(board))
    maxn, _, slow = power_modes.modes(seen)
    power_modes.enter(seen, maxn)
    (board / "wants_reboot").touch()
    with power_modes.kept(seen, may_reboot=True):
        power_modes.enter(seen, slow)
    assert ((board / "answer").read_text().strip(), mode(board)) == ("YES", "MAXN")
    assert "the board restarts to be in power mode MAXN again" in capsys.readouterr().err
    assert not (Path.home() / ".jetpress/power-mode.json").exists()


def test_what_is_no_mode_and_no_board(
    board: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, prose = run(capsys, "--bundle", place, "--power-modes", "25W")
    assert (code, "no power mode 25W" in prose, "1 (15W)" in prose) == (2, True, True)
    code, _, prose = run(capsys, "--bundle", place, "--power-modes", "7W", "--watts", 1)
    assert (code, "no power mode is within 1 W" in prose, mode(board)) == (7, True, "15W")
    code, _, prose = run(capsys, "--bundle", place, "--power-modes", "all", "--allow-reboot")
    assert (code, "needs --out" in prose) == (2, True)
    monkeypatch.setenv("JETPRESS_BOARD", str(board / "etc"))
    code, _, prose = run(capsys, "--bundle", place, "--power-modes", "all")
    assert (code, "no power modes" in prose) == (3, True)


def test_a_plot_without_watts_is_still_one() -> None:
    points = [power_plot.Point("MAXN", 100.0, None, None), power_plot.Point("15<W", 50.0, 11.0, 220.0)]
    drawn = power_plot.svg(points, None)
    assert drawn.count("<circle") == 1
    assert "15&lt;W, 220 mJ" in drawn
