"""--lock-clocks on a recorded board: real processes, really killed; the clocks of before are always back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.device.device import Local
from jetpress.deploy.errors import DeviceError as HostError
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.board import clocks
from jetpress.deploy.runner.board.identity import Board
from jetpress.deploy.runner.cuda import gpu
from jetpress.deploy.runner.system.failures import DeviceError, ToolMissing
from tests.deploy.api import fake
from tests.deploy.device.test_device import until
from tests.deploy.runner_bundles import bundle

ROOT = Path(__file__).parents[4]
GPU, CPU = "sys/class/devfreq/17000000.gpu", "sys/devices/system/cpu/cpufreq/policy0"
CLOCKS = {
    f"{GPU}/min_freq": "306000000",
    f"{GPU}/max_freq": "918000000",
    f"{GPU}/cur_freq": "306000000",
    f"{CPU}/scaling_min_freq": "115200",
    f"{CPU}/scaling_max_freq": "1984000",
}
# What NVIDIA's tool does to these files, and a note of how it was called.
TOOL = """#!/bin/sh
echo "$@" >> {root}/calls
case "$1" in
--store) cp {root}/{floor} "$2" ;;
--restore) cp "$2" {root}/{floor} ;;
*) cp {root}/{top} {root}/{floor} ;;
esac
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded board, and a HOME for the lease."""
    root = tmp_path / "board"
    for name, text in CLOCKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JETPRESS_BOARD", str(root))
    return root


def floors(root: Path) -> list[str]:
    return [(root / f"{GPU}/min_freq").read_text(), (root / f"{CPU}/scaling_min_freq").read_text()]


BEFORE, LOCKED = ["306000000", "115200"], ["918000000", "1984000"]


def lease(root: Path) -> Path:
    return root.parent / "home" / ".jetpress" / "clocks.json"


def test_highest_inside_and_as_before_afterwards(board: Path) -> None:
    with clocks.locked(Board(), True) as held:
        assert held
        assert floors(board) == LOCKED
        assert clocks.held(Board()) == 918.0
        assert json.loads(lease(board).read_text())["pid"] == os.getpid()
    assert floors(board) == BEFORE
    assert not lease(board).exists()
    with pytest.raises(ZeroDivisionError), clocks.locked(Board(), True):
        print(1 / 0)
    assert floors(board) == BEFORE


def test_not_asked_for_is_not_done(board: Path) -> None:
    with clocks.locked(Board(), False) as held:
        assert not held
        assert floors(board) == BEFORE
    assert not lease(board).exists()


HOLDER = """
import sys, time
sys.path.insert(0, {place!r})
from {package}.board import clocks
from {package}.board.identity import Board
with clocks.locked(Board(), True):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zipapp"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_restored_however_the_runner_dies(board: Path, how: int, packed: bool, tmp_path: Path) -> None:
    place, package = str(ROOT), "jetpress.deploy.runner"
    if packed:
        pack(tmp_path / "runner.pyz")
        place, package = str(tmp_path / "runner.pyz"), "runner"
    code = HOLDER.format(place=place, package=package)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path,
        start_new_session=True,
    ) as runner:  # fmt: skip
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"held\n"
        assert floors(board) == LOCKED
        os.killpg(runner.pid, how)  # the whole group, as sshd and the guard do
    assert until(lambda: floors(board) == BEFORE, 60)
    assert until(lambda: not lease(board).exists(), 60)


def test_what_a_dead_runner_and_its_dead_watchdog_left_is_restored_by_the_next(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lease(board).parent.mkdir()
    values = [[str(board / f"{GPU}/min_freq"), "306000000", "918000000"]]
    lease(board).write_text(json.dumps({"pid": 1, "command": None, "stored": None, "values": values}))
    (board / f"{GPU}/min_freq").write_text("918000000")
    with clocks.locked(Board(), True):
        assert "left the clocks locked" in capsys.readouterr().err
    assert floors(board) == BEFORE


def test_one_at_a_time(board: Path) -> None:
    code = HOLDER.format(place=str(ROOT), package="jetpress.deploy.runner")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        with pytest.raises(DeviceError, match="another benchmark"), clocks.locked(Board(), True):
            pass
        assert floors(board) == LOCKED
        runner.kill()
    assert until(lambda: floors(board) == BEFORE, 60)


def test_a_lease_is_not_cleaned_away(board: Path, tmp_path: Path) -> None:
    """`device clean` would otherwise take what is to be restored."""
    device = Local(lease(board).parent)
    with clocks.locked(Board(), True):
        with pytest.raises(HostError, match="locked the clocks") as caught:
            device.clean()
        assert "watchdog" in caught.value.hint
    assert floors(board) == BEFORE
    device.clean()
    assert not lease(board).parent.exists()


def test_nvidias_tool_is_used_where_it_is(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = board / "usr/bin/jetson_clocks"
    tool.parent.mkdir(parents=True)
    tool.write_text(TOOL.format(root=board, floor=f"{GPU}/min_freq", top=f"{GPU}/max_freq"))
    tool.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    stored = lease(board).with_name("clocks.stored")
    with clocks.locked(Board(), True):
        assert floors(board)[0] == LOCKED[0]
    assert floors(board) == BEFORE
    assert (board / "calls").read_text().splitlines() == [f"--store {stored}", "", f"--restore {stored}"]
    assert sorted(path.name for path in stored.parent.iterdir()) == ["clocks.lock"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(board))  # no sudo there
    with pytest.raises(ToolMissing, match="sudo -n"), clocks.locked(Board(), True):
        pass


def test_a_tool_that_fails_names_the_remedy(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = board / "usr/bin/jetson_clocks"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho 'Error: need root'\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ToolMissing, match="need root") as caught, clocks.locked(Board(), True):
        pass
    assert "NOPASSWD" in caught.value.hint
    assert floors(board) == BEFORE


def test_where_nothing_can_be_locked_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ToolMissing, match="cannot be locked"), clocks.locked(Board(str(tmp_path)), True):
        pass


@pytest.mark.parametrize("asked", [[], ["--lock-clocks"]], ids=["no", "yes"])
def test_a_build_is_timed_under_locked_clocks_where_it_is_asked_for(
    board: Path, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = fake.module("10.3")
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(gpu, "connect", fake.Gpu)
    seen, build = [], trt.Builder.build_serialized_network
    monkeypatch.setattr(
        trt.Builder, "build_serialized_network", lambda *words: [seen.append(floors(board)), build(*words)][1]
    )
    place = bundle(tmp_path / "bundle", backend="tensorrt", precision="fp16")
    assert main(["build", "--bundle", str(place), *asked]) == 0
    assert seen == [LOCKED if asked else BEFORE] * 2
    assert floors(board) == BEFORE
    stamp = json.loads((place / "engines/engine.json").read_text())
    assert [one["clocks_locked"] for one in stamp["models"].values()] == [bool(asked)] * 2


def test_a_benchmark_says_that_its_clocks_were_locked(board: Path, tmp_path: Path) -> None:
    place, pyz = bundle(tmp_path / "bundle"), tmp_path / "runner.pyz"
    pack(pyz)
    words = [sys.executable, str(pyz)]
    assert subprocess.run([*words, "build", "--bundle", str(place)], capture_output=True).returncode == 0
    asked = ["bench", "--bundle", str(place), "--seconds", "0.6", "--sessions", "1", "--lock-clocks"]
    (board / f"{GPU}/cur_freq").write_text("918000000")
    done = subprocess.run([*words, *asked], capture_output=True, text=True)
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    result = next(event for event in events if event["event"] == "result")
    assert result["knobs"]["clocks_locked"] is True
    assert not any("GPU clock" in reason for reason in result["reasons"])
    assert floors(board) == BEFORE
    (board / f"{GPU}/cur_freq").write_text("712000000")  # the board does not keep to it: throttled
    done = subprocess.run([*words, *asked], capture_output=True, text=True)
    assert done.returncode == 7
    assert "the GPU clock fell from 918 to 712 MHz" in done.stdout
