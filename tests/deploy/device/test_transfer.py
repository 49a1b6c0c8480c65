"""Directories arrive whole or not at all, whatever the line, the disk or the other side does."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.device import device as devices
from jetpress.deploy.device import probe, retry, ssh, transfer
from jetpress.deploy.device.device import Device, Local
from jetpress.deploy.errors import DeviceError, TrustError
from jetpress.deploy.process import Completed
from tests.deploy import sshd

needs_sshd = pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
MIB = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with (
        pytest.MonkeyPatch.context() as patch,
        sshd.running(tmp_path_factory.mktemp("sshd") / "s") as running,
    ):
        patch.setenv(ssh.CONFIG, str(running.config))
        yield running


@pytest.fixture(params=["local", pytest.param("ssh", marks=needs_sshd)])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Device]:
    if request.param == "local":
        opened: Device = Local(tmp_path / "folder")
    else:
        opened = devices.open(request.getfixturevalue("server").name)
    yield opened
    opened.clean()
    opened.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sizes that miss block boundaries, an empty file, a name for a shell, one file twice."""
    root = tmp_path / "source"
    (root / "sub/sub").mkdir(parents=True)
    pattern = b"".join(i.to_bytes(4, "big") for i in range(MIB // 4))
    (root / "model.onnx").write_bytes(pattern[: transfer.CHUNK + 1])
    (root / "sub/again.onnx").write_bytes(pattern[: transfer.CHUNK + 1])
    (root / "sub/sub/$(touch canary) 'ä\u202e").write_bytes(b"x")
    (root / "empty").write_bytes(b"")
    (root / "one less").write_bytes(pattern[: transfer.CHUNK - 1])
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_a_directory_goes_there_and_comes_back(device: Device, source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    there = device.put(source, "bundle", lambda done, total: told.append((done, total)))
    assert there.startswith(f"{device.folder}/bundle-")
    assert tree(Path(there)) == tree(source)
    assert told[-1][0] == told[-1][1] == 2 * transfer.CHUNK + 1
    (Path(there) / "sub/sub/$(touch canary) 'ä\u202e").rename(
        Path(there) / "plain"
    )  # `get` takes no such name
    device.get(there, tmp_path / "back")
    assert sorted(tree(tmp_path / "back").values()) == sorted(tree(source).values())
    assert not list(tmp_path.rglob("*canary")) + list(Path(device.folder).parent.glob("canary"))


def test_what_is_there_is_not_sent_again(device: Device, source: Path) -> None:
    told: list[int] = []
    there = device.put(source, "bundle")
    assert device.put(source, "bundle", lambda done, total: told.append(done)) == there
    (source / "new").write_bytes(b"new")
    other = device.put(source, "bundle", lambda done, total: told.append(done))
    assert other != there
    assert told == [2 * transfer.CHUNK + 1 + 3]  # the three new bytes, on top of what was there


def test_a_directory_that_was_damaged_there_is_made_again(device: Device, source: Path) -> None:
    there = device.put(source, "bundle")
    (Path(there) / "one less").unlink()
    assert device.put(source, "bundle") == there
    assert tree(Path(there)) == tree(source)


def test_a_bit_that_flipped_there_is_sent_again(device: Device, source: Path) -> None:
    """A card loses bits without a word: sizes are as they were, in the directory and in the object it is a link to."""
    there = device.put(source, "bundle")
    whole = (source / "one less").read_bytes()
    with (Path(there) / "one less").open("r+b") as file:
        file.seek(1000)
        file.write(bytes([whole[1000] ^ 1]))
    told: list[int] = []
    assert device.put(source, "bundle", lambda done, total: told.append(done)) == there
    assert tree(Path(there)) == tree(source)
    assert told[-1] - told[0] < len(whole)  # only that file


def test_a_file_that_became_a_link_there_is_sent_again(device: Device, source: Path, tmp_path: Path) -> None:
    there = device.put(source, "bundle")
    (Path(there) / "one less").rename(tmp_path / "elsewhere")
    (Path(there) / "one less").symlink_to(tmp_path / "elsewhere")
    device.put(source, "bundle")
    assert not (Path(there) / "one less").is_symlink()


def test_leftovers_of_another_transfer_are_removed(device: Device, source: Path) -> None:
    objects = Path(device.folder) / "objects"
    device.put(source, "bundle")
    (objects / f"{'0' * 64}.part").write_bytes(b"half")
    forgotten = objects / ("1" * 64)
    forgotten.write_bytes(b"no directory uses it")
    os.utime(forgotten, (0, 0))
    (source / "new").write_bytes(b"new")
    device.put(source, "bundle")
    assert not list(objects.glob("*.part"))
    assert not forgotten.exists()


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".hidden", "-rf", "a b", "$(x)", "a\n", "x" * 200, "\u202ex"]
)
def test_a_name_that_leaves_the_folder_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DeviceError, match="cannot be a folder"):
        Local(tmp_path / "folder").put(source, name)
    assert not (tmp_path / "folder").exists()


def test_a_link_is_not_followed(source: Path, tmp_path: Path) -> None:
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(DeviceError, match="neither a file nor a folder"):
        Local(tmp_path / "folder").put(source, "bundle")


def test_a_full_disk_is_foreseen(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "HEADROOM", 1e12)
    with pytest.raises(DeviceError, match=r"MiB are needed, \d+ MiB are free"):
        Local(tmp_path / "folder").put(source, "bundle")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["objects"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 0.99])
def test_a_disk_that_fills_up_leaves_the_old_one_whole(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    device = Local(tmp_path / "folder")
    old = device.put(source, "bundle")
    (source / "model.onnx").write_bytes(os.urandom(MIB))
    most = int(share * MIB) // 512 * 512
    limited = [
        "sh",
        "-c",
        f'trap "" XFSZ; ulimit -f {most // 512}; exec "$@"',
        "sh",
    ]  # dash: blocks of 512 bytes
    monkeypatch.setattr(Local, "command", lambda self, argv: [*limited, *argv])
    with pytest.raises(DeviceError, match=r"File too large|No space"):
        device.put(source, "bundle")
    monkeypatch.undo()
    (source / "model.onnx").write_bytes(b"another")
    new = device.put(source, "bundle")
    assert len(tree(Path(old))) == len(tree(Path(new))) == 5
    assert not list(tmp_path.rglob("*.part"))


# --- a line that breaks ---------------------------------------------------------------------------


@needs_sshd
@pytest.mark.parametrize(("megabytes", "cuts"), [(20, 6), pytest.param(100, 20, marks=pytest.mark.slow)])
def test_each_cut_costs_at_most_what_was_in_flight(
    server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int, cuts: int
) -> None:
    """Bytes through the proxy against bytes that had arrived when the next attempt began, for every cut."""
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.01)
    size, rng = megabytes * MIB, random.Random(7)
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "model.onnx").write_bytes(rng.randbytes(size))
    script = [rng.randrange(20_000, int(1.6 * size / cuts)) for _ in range(cuts)]
    attempts: list[tuple[int, int]] = []
    honest = retry.Attempts.reached

    def reached(self: retry.Attempts, arrived: int) -> None:
        attempts.append((len(line.connections), arrived))
        honest(self, arrived)

    monkeypatch.setattr(retry.Attempts, "reached", reached)
    with sshd.Cutter(server.port, script) as line:
        device = devices.open(server.at(line.port))
        there = device.put(directory, "bundle")
        connections = list(line.connections)
        device.close()
    assert tree(Path(there)) == tree(directory)
    assert line.cuts == cuts
    attempts.append((len(connections) + 1, size))
    again = [
        sum(connections[one - 1 : other - 1]) - (after - before)
        for (one, before), (other, after) in pairwise([(1, 0), *attempts])
        if other > one
    ]
    print(f"{megabytes} MiB, {cuts} cuts, sent again for each: most {max(again) / MIB:.2f} MiB,", end=" ")
    print(f"on average {sum(again) / cuts / MIB:.2f} MiB")
    assert max(again) <= 4 * MIB
    devices.open(server.name).clean()


@needs_sshd
def test_a_line_that_cuts_delays_and_corrupts(
    server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turned bit is seen by ssh, which ends the connection: it costs an attempt and reaches no file."""
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.01)
    size, rng = 6 * MIB, random.Random(11)
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "model.onnx").write_bytes(rng.randbytes(size))
    cuts = [rng.randrange(10_000, 3 * MIB) for _ in range(4)]
    turns = [rng.randrange(6_000, MIB) for _ in range(6)]
    with sshd.Cutter(server.port, cuts, delay=0.002, corrupt=turns) as line:
        device = devices.open(server.at(line.port))
        there = device.put(directory, "bundle")
        device.close()
    assert tree(Path(there)) == tree(directory)
    assert line.corrupted >= 3
    assert len(line.connections) > 4
    assert not list((server.home / ".jetpress").rglob("*.part"))
    devices.open(server.name).clean()


@needs_sshd
def test_what_comes_back_goes_on_after_a_cut(
    server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.01)
    direct = devices.open(server.name)
    content = random.Random(8).randbytes(20 * MIB)
    direct.write(f"{direct.folder}/out/engine.plan", content)
    with sshd.Cutter(server.port, [8000, 9000, 7000]) as line:
        device = devices.open(server.at(line.port))
        device.get(f"{device.folder}/out", tmp_path / "back")
        device.close()
    assert line.cuts >= 1
    assert (tmp_path / "back/engine.plan").read_bytes() == content
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["engine.plan"]
    direct.clean()
    direct.close()


@needs_sshd
def test_an_outage_is_waited_for_and_then_given_up(
    server: sshd.Server, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(retry, "GIVE_UP_S", 1.0)
    with sshd.Cutter(server.port, []) as line:
        device = devices.open(server.at(line.port))
        device.run(["true"])
        device.close()
        line.out = True
        start = time.monotonic()
        with pytest.raises(DeviceError, match="given up after 1 s") as caught:
            device.put(source, "bundle")
    assert time.monotonic() - start < 5
    assert caught.value.exit_code == 5
    said = capsys.readouterr().err
    assert "trying again in 0.2 s" in said
    assert "trying again in 0.4 s" in said


def test_pauses_double_up_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    attempts = retry.Attempts("device", since=0.0)
    for _ in range(13):
        attempts.pause(ssh.ConnectionLost("cut"))
    assert slept == [1, 2, 4, 8, 16] + 8 * [30]
    with pytest.raises(DeviceError, match="given up after 300 s"):
        attempts.pause(ssh.ConnectionLost("cut"))


@needs_sshd
def test_a_killed_host_goes_on_where_it_stopped(server: sshd.Server, tmp_path: Path) -> None:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "model.onnx").write_bytes(random.Random(9).randbytes(16 * MIB))
    script = (
        "import os, sys; from pathlib import Path; from jetpress.deploy.device import device\n"
        f"device.open({server.name!r}).put(Path({str(directory)!r}), 'bundle',"
        f" lambda done, total: done > {8 * MIB} and os.kill(os.getpid(), 9))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    told: list[int] = []
    device = devices.open(server.name)
    there = device.put(directory, "bundle", lambda done, total: told.append(done))
    assert told[0] > 4 * MIB
    assert tree(Path(there)) == tree(directory)
    device.clean()
    device.close()


# --- a device that lies ---------------------------------------------------------------------------


def lying(tmp_path: Path, listing: dict[str, Any], content: bytes = b"") -> Device:
    """A device that answers a question with ``listing`` and sends ``content`` when asked for a file."""

    class Liar(Local):
        def call(self, program: str, request: Any, terms: Any) -> Completed:
            if request["do"] == "listing":
                return Completed(0, json.dumps(listing), "")
            terms.sink(content)
            return Completed(0, "", "")

    return Liar(tmp_path / "folder")


def entry(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "a//x",
        "./x",
        "a\0x",
        "a\nx",
        "\u202ex",
        "a\\x",
        "",
        "..",
        "x" * 256,
        "a/" * 600,
    ],
)
def test_a_name_from_the_device_never_leads_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrustError, match="cannot be taken"):
        lying(tmp_path, {"files": {name: entry(b"x")}}, b"x").get("out", tmp_path / "in/back")
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    "listing",
    [
        {},
        {"files": []},
        {"files": {"a": 1}},
        {"files": {"a": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": True, "sha256": "0" * 64}}},
        {"files": {"a": {"size": 1, "sha256": "z" * 64}}},
        {"files": {str(i): {"size": 0, "sha256": "0" * 64} for i in range(10_001)}},
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, listing: dict[str, Any]) -> None:
    with pytest.raises(TrustError):
        lying(tmp_path, listing).get("out", tmp_path / "back")


@pytest.mark.parametrize("content", [b"other", b"shor", b"longer than said", b""])
def test_other_bytes_than_announced_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        lying(tmp_path, {"files": {"engine.plan": entry(b"right")}}, content).get("out", tmp_path / "back")
    assert caught.value.exit_code == 6
    assert not (tmp_path / "back/engine.plan").exists()


def test_more_than_this_disk_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="MiB are free below"):
        lying(tmp_path, {"files": {"a": {"size": 2**60, "sha256": "0" * 64}}}).get("out", tmp_path / "back")


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        '{"whole": 1, "parts": {}, "free": 1}',
        '{"whole": [], "parts": [], "free": 1}',
        '{"whole": [], "parts": {}}',
    ],
)
def test_a_stock_that_is_none_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(Local, "call", lambda *_: Completed(0, answer, ""))
    with pytest.raises(DeviceError, match="does not say what it has"):
        Local(tmp_path).put(source, "bundle")


def test_a_file_that_changes_while_it_is_sent(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = transfer.contents
    monkeypatch.setattr(
        transfer,
        "contents",
        lambda path: (honest(path), (source / "one less").write_bytes(b"!" * (transfer.CHUNK - 1)))[0],
    )
    with pytest.raises(TrustError, match="is another file on local"):
        Local(tmp_path / "folder").put(source, "bundle")


def test_the_oldest_python_can_do_it(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sent programs on Python 3.6, where one is found; JetPack 4 has no newer."""
    old = next(iter(sorted(Path.home().glob(".pyenv/versions/3.6.*/bin/python3"))), None)
    if old is None:
        pytest.skip("no Python 3.6 on this machine (pyenv install 3.6)")
    monkeypatch.setattr(Local, "python", property(lambda self: str(old)))
    monkeypatch.setenv("LC_ALL", "C")  # as in an ssh session: 3.6 then takes every path for ASCII
    device = Local(tmp_path / "folder")
    there = device.put(source, "bundle")
    assert tree(Path(there)) == tree(source)
    assert device.run(["echo", "ä"]).stdout == "ä\n"
    (Path(there) / "sub/sub/$(touch canary) 'ä\u202e").rename(Path(there) / "ä")
    device.get(there, tmp_path / "back")
    assert (tmp_path / "back/ä").read_bytes() == b"x"
    device.write(f"{device.folder}/ö", b"1")
    assert device.read(f"{device.folder}/ö") == b"1"
    assert probe.probe(device).python.startswith("3.6.")
