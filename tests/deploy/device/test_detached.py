"""A program on a device outlives the connection and the host, and is found again instead of being started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetpress.deploy.device import detached, retry, ssh
from jetpress.deploy.device import device as devices
from jetpress.deploy.device.device import Device, Ssh
from jetpress.deploy.errors import DeviceError
from tests.deploy import sshd
from tests.deploy.device.test_device import alive, until

pytestmark = pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)

PROGRAM = "echo begun >> $0; echo one; echo two >&2; sleep {seconds}; printf 'three\\nlast'; exit {code}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with (
        pytest.MonkeyPatch.context() as patch,
        sshd.running(tmp_path_factory.mktemp("sshd") / "s") as running,
    ):
        patch.setenv(ssh.CONFIG, str(running.config))
        yield running


@pytest.fixture
def device(server: sshd.Server) -> Iterator[Device]:
    opened = devices.open(server.name)
    yield opened
    opened.clean()
    opened.close()


def program(marks: Path, seconds: float = 0.0, code: int = 0) -> list[str]:
    """Writes a line into ``marks`` each time it is started."""
    return ["sh", "-c", PROGRAM.format(seconds=seconds, code=code), str(marks)]


def begun(marks: Path) -> int:
    return len(marks.read_text().splitlines()) if marks.exists() else 0


def test_lines_and_status_come_back_and_nothing_stays(device: Device, tmp_path: Path) -> None:
    out: list[str] = []
    errors: list[str] = []
    done = device.run_detached("work", program(tmp_path / "m", code=3), out.append, errors.append)
    assert (done.returncode, out, errors) == (3, ["one", "three", "last"], ["two"])
    assert list((Path(device.folder) / detached.FOLDER).iterdir()) == []


def test_what_is_not_there_is_said(device: Device) -> None:
    done = device.run_detached("work", ["no-such-program"])
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


def test_a_killed_host_leaves_it_running_and_the_next_one_finds_it(device: Device, tmp_path: Path) -> None:
    marks = tmp_path / "m"
    script = (
        "from jetpress.deploy.device import device; "
        f"device.open({device.name!r}).run_detached('w', {program(marks, 1.5)!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as host:
        assert until(lambda: begun(marks) == 1, 60)
        host.kill()
    out: list[str] = []
    done = device.run_detached("w", program(marks, 1.5), out.append)
    assert (done.returncode, out, begun(marks)) == (0, ["one", "three", "last"], 1)


def test_ctrl_c_leaves_it_running_and_says_so(device: Device, tmp_path: Path) -> None:
    marks, mark = tmp_path / "m", "86404.5"
    argv = ["sh", "-c", f"echo begun >> {marks}; exec sleep {mark}"]
    script = (
        f"from jetpress.deploy.device import device; device.open({device.name!r}).run_detached('w', {argv!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as host:
        assert until(lambda: begun(marks) == 1, 60)
        time.sleep(0.3)  # it follows now
        host.send_signal(signal.SIGINT)
        said = host.communicate(timeout=60)[1]
    assert "it goes on on" in said
    assert alive(mark)
    device.clean()
    assert until(lambda: not alive(mark), 60)


def test_what_ended_while_nobody_listened_is_read(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marks, folder = tmp_path / "m", f"{device.folder}/{detached.FOLDER}/w"
    detached._start(device.channel(), folder, program(marks, 0.1))
    assert until(lambda: (Path(folder) / "status").exists(), 60)
    out: list[str] = []
    assert device.run_detached("w", program(marks, 0.1), out.append).returncode == 0
    assert (out, begun(marks)) == (["one", "three", "last"], 1)
    assert "has ended there" in capsys.readouterr().err


def test_what_failed_while_nobody_listened_is_started_again(device: Device, tmp_path: Path) -> None:
    marks, folder = tmp_path / "m", f"{device.folder}/{detached.FOLDER}/w"
    detached._start(device.channel(), folder, program(marks, 0, code=5))
    assert until(lambda: (Path(folder) / "status").exists(), 60)
    assert device.run_detached("w", program(marks)).returncode == 0
    assert begun(marks) == 2


def test_a_cut_line_is_made_anew_and_no_line_is_lost(
    server: sshd.Server, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.05)
    marks, lines = tmp_path / "m", [str(number) for number in range(40)]
    script = f"echo begun >> {marks}; i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.05; done"
    with sshd.Cutter(server.port, []) as line:
        through = devices.open(server.at(line.port))
        assert isinstance(through, Ssh)
        got: list[str] = []

        def cut_now_and_then(text: str) -> None:
            got.append(text)
            if text in ("3", "11", "23"):
                line.cut()

        assert through.run_detached("w", ["sh", "-c", script], cut_now_and_then).returncode == 0
        through.close()
    assert (got, begun(marks)) == (lines, 1)
    assert line.cuts >= 1  # on a busy machine all other lines have come before the line is up again


def test_an_outage_that_does_not_end_is_given_up_and_the_program_goes_on(
    server: sshd.Server, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(retry, "GIVE_UP_S", 0.5)
    marks = tmp_path / "m"
    with sshd.Cutter(server.port, []) as line:
        through = devices.open(server.at(line.port))

        def outage() -> None:
            until(lambda: begun(marks) == 1, 60)
            line.out = True
            line.cut()

        threading.Thread(target=outage).start()
        with pytest.raises(DeviceError, match=r"given up after 0.5 s"):
            through.run_detached("w", program(marks, 1.2))
    assert device.run_detached("w", program(marks, 1.2)).returncode == 0
    assert begun(marks) == 1


def test_a_program_that_was_killed_with_its_keeper_is_told(device: Device, tmp_path: Path) -> None:
    marks = tmp_path / "m"
    pid = Path(device.folder) / detached.FOLDER / "w" / "pid"

    def kill() -> None:
        until(lambda: begun(marks) == 1 and pid.exists(), 60)
        os.killpg(int(pid.read_text()), signal.SIGKILL)

    threading.Thread(target=kill).start()
    with pytest.raises(DeviceError, match="was killed there"):
        device.run_detached("w", program(marks, 30))
    assert device.run_detached("w", program(marks)).returncode == 0  # and the next run starts it again


def test_clean_ends_what_runs_and_says_how_much_there_was(device: Device, tmp_path: Path) -> None:
    mark = "86403.75"
    detached._start(device.channel(), f"{device.folder}/{detached.FOLDER}/w", ["sleep", mark])
    assert until(lambda: alive(mark), 60)
    device.write(f"{device.folder}/x", b"12345")
    held = device.contents()
    assert held.files > 1
    assert held.size >= 5
    assert device.clean().size >= 5
    assert not Path(device.folder).exists()
    assert until(lambda: not alive(mark), 60)
    assert device.clean() == devices.Contents(0, 0)


def test_two_hosts_at_once_start_it_once(device: Device, tmp_path: Path) -> None:
    marks = tmp_path / "m"
    script = (
        "from jetpress.deploy.device import device; "
        f"device.open({device.name!r}).run_detached('w', {program(marks, 2)!r})"
    )
    hosts = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [host.wait(60) for host in hosts] == [0, 0]
    assert begun(marks) == 1


def test_long_silence_has_a_sign_of_life(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detached, "SIGN_OF_LIFE_S", 0.0)
    begin = time.monotonic()
    device.run_detached("w", ["sleep", "1.5"])
    assert time.monotonic() - begin > 1
    assert "is at work, for" in capsys.readouterr().err


def test_on_the_oldest_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JetPack 4 has Python 3.6; where one is found, it keeps a program and tells of it as any other does."""
    old = next(iter(sorted(Path.home().glob(".pyenv/versions/3.6.*/bin/python3"))), None)
    if old is None:
        pytest.skip("no Python 3.6 on this machine (pyenv install 3.6)")
    with sshd.running(tmp_path / "s", {"PATH": f"{old.parent}:/usr/bin:/bin", "LC_ALL": "C"}) as server:
        monkeypatch.setenv(ssh.CONFIG, str(server.config))
        device = devices.open(server.name)
        marks, out = tmp_path / "m", []
        argv = ["sh", "-c", f"echo begun >> {marks}; sleep 0.3; echo 'ä \u202e'"]
        detached._start(device.channel(), f"{device.folder}/{detached.FOLDER}/w", argv)
        assert device.run_detached("w", argv, out.append).returncode == 0
        assert (out, begun(marks)) == (["ä \\u202e"], 1)
        assert device.clean().files == 0
        device.close()
