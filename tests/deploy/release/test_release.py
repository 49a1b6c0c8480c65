"""What a board asks of a release: a case each of what is wrong, one message and exit code 6 each."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jetpress.deploy.pack import pack
from jetpress.deploy.release.keys import Key
from jetpress.deploy.release.sign import sign
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.system.failures import DigestMismatch, RunnerError, TrustError
from jetpress.deploy.runner.trust import release
from jetpress.deploy.runner.trust.release import CLAIMS, Claims
from tests.deploy.release.places import SIGNER, Board
from tests.deploy.runner_bundles import bundle
from tests.deploy.runner_schema import faults

PYTHONS = [Path(sys.executable), *sorted(Path.home().glob(".pyenv/versions/3.[68].*/bin/python"))]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runner") / "runner.pyz"
    pack(made)
    return made


def changed(board: Board, key: Key, **claims: object) -> None:
    told = json.loads((board.folder / CLAIMS).read_text())
    board.sign_again(key, json.dumps({**told, **claims}))


def test_a_release_is_taken_again_and_again(board: Board, made: tuple[Path, Claims]) -> None:
    assert board.check() == made[1]
    assert board.check("host") == made[1]
    (board.folder / "engines").mkdir()
    (board.folder / "engines" / "compressed.engine").write_bytes(b"built here")
    board.trust(
        *board.signers.read_text().splitlines(), "require-signature", "target host", "# as it should be"
    )
    assert board.check() == made[1]


def append(name: str) -> Callable[[Board, Key, Key], None]:
    def act(board: Board, key: Key, other: Key) -> None:
        with (board.folder / name).open("ab") as file:
            file.write(b" ")

    return act


WRONG: dict[str, tuple[Callable[[Board, Key, Key], object], str]] = {
    "no signature": (lambda board, key, other: (board.folder / "release.json.sig").unlink(), "cannot be read"),
    "claims changed": (append("release.json"), "is not what the key SHA256:.* signed"),
    "manifest changed": (append("manifest.json"), "manifest.json is not the one that was signed"),
    "file changed": (append("model.onnx"), "model.onnx: expected"),
    "file added": (
        lambda board, key, other: (board.folder / "samples" / "more.npy").write_bytes(b""), "more.npy was added"
    ),
    "link added": (
        lambda board, key, other: (board.folder / "samples" / "l").symlink_to("/etc"), "samples/l was added"
    ),
    "engines a link": (
        lambda board, key, other: (board.folder / "engines").symlink_to("/etc"), "engines was added"
    ),
    "claims a link": (
        lambda board, key, other: (
            (board.folder / CLAIMS).rename(board.folder / "x"), (board.folder / CLAIMS).symlink_to("x")
        ), "cannot be read",
    ),
    "claims a fifo": (
        lambda board, key, other: ((board.folder / CLAIMS).unlink(), os.mkfifo(board.folder / CLAIMS)),
        "is not what the key",
    ),
    "claims without end": (
        lambda board, key, other: (board.folder / CLAIMS).write_bytes(b" " * 70_000), "is larger than 65536"
    ),
    "unknown key": (lambda board, key, other: board.trust(other.line("m@x")), "is not among those of"),
    "revoked key": (
        lambda board, key, other: board.trust(key.line(SIGNER), f"@revoked {key.line('x').split(' ', 2)[2]}"),
        "is revoked in",
    ),
    "key of other things": (
        lambda board, key, other: board.trust(key.line(SIGNER).replace("jetpress-release", "git")),
        "is not among those of",
    ),
    "other signer": (lambda board, key, other: board.trust(key.line("bob@example.com")), "signed as 'alice"),
    "other key signed": (lambda board, key, other: changed(board, other), "is not among those of"),
    "signed for other things": (
        lambda board, key, other: board.sign_again(key, (board.folder / CLAIMS).read_text(), "file"),
        "was not made for a release",
    ),
    "other target": (
        lambda board, key, other: board.trust(key.line(SIGNER), "target xavier"),
        "was released for host, and this is xavier",
    ),
    "expired": (lambda board, key, other: changed(board, key, expires=1_700_000_000), "expired on 2023-11-14"),
    "from tomorrow": (
        lambda board, key, other: changed(board, key, created=int(time.time()) + 200_000), "and here it is"
    ),
    "other format": (lambda board, key, other: changed(board, key, format=2), "another format"),
    "no number": (lambda board, key, other: changed(board, key, sequence=True), "must be whole numbers"),
    "no JSON": (lambda board, key, other: board.sign_again(key, "[" * 50_000), "cannot be understood"),
    "no file of signers": (lambda board, key, other: board.signers.unlink(), "cannot be read: .*allowed_signers"),
    "signers of all": (lambda board, key, other: board.signers.chmod(0o666), "may be written by others"),
    "signers' folder": (
        lambda board, key, other: board.signers.parent.chmod(0o777), "the folder .* may be written by others"
    ),
    "signers misread": (lambda board, key, other: board.trust(key.line(SIGNER), "requires-signature"), "line 2: "),
    "signers' option": (
        lambda board, key, other: board.trust(key.line(SIGNER).replace("namespaces", "valid-before")), "line 1: "
    ),
    "signers no text": (lambda board, key, other: board.signers.write_bytes(b"\xff\n"), "is no text"),
    "numbers damaged": (
        lambda board, key, other: (board.state.parent.mkdir(), board.state.write_text("[]")), "is damaged"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, board: Board, key: Key, other: Key) -> None:
    act, message = WRONG[name]
    act(board, key, other)
    with pytest.raises((TrustError, DigestMismatch), match=message) as caught:
        board.check()
    assert caught.value.code == 6
    assert caught.value.hint
    assert name == "numbers damaged" or not board.state.exists()


def test_an_older_release_is_not_taken_for_a_newer_one(board: Board, key: Key) -> None:
    old = (board.folder / CLAIMS).read_text()
    number = board.check().sequence
    changed(board, key, sequence=number + 1)
    assert board.check().sequence == number + 1
    board.sign_again(key, old)
    with pytest.raises(TrustError, match="this machine has seen number"):
        board.check()
    changed(board, key, name="another network")
    assert board.check().sequence == number  # each network has numbers of its own


def test_one_number_is_one_release(board: Board, key: Key) -> None:
    board.check()
    (board.folder / "manifest.json").write_bytes((board.folder / "manifest.json").read_bytes() + b" ")
    digest = release.hashlib.sha256((board.folder / "manifest.json").read_bytes()).hexdigest()
    changed(board, key, manifest=digest)
    with pytest.raises(TrustError, match="an old release, again"):
        board.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_signers_of_another_user_are_refused(board: Board) -> None:
    os.chown(board.signers, 12345, 12345)
    with pytest.raises(TrustError, match="belongs to another user"):
        board.check()


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parts[-3])
def test_a_board_of_this_python_verifies(pyz: Path, python: Path, board: Board, key: Key) -> None:
    """Without any OpenSSH, as in JetPack 4: PATH is empty."""
    words = ["verify", board.folder, "--signers", board.signers, "--state", board.state]
    environment = {"PATH": "", "HOME": str(board.state.parent)}
    done = subprocess.run([python, pyz, *words], capture_output=True, text=True, env=environment)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [event["event"] for event in events] == ["release", "done"]
    assert [fault for event in events for fault in faults(event)] == []
    assert "Traceback" not in done.stderr
    (board.folder / "plan.json").write_text("{}")
    done = subprocess.run([python, pyz, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 6
    assert "plan.json: expected" in done.stderr


def test_the_runner_says_whether_a_bundle_is_signed(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(folder: Path) -> tuple[str, int | None]:
        release.require(str(folder), str(board.signers))
        event = json.loads(capsys.readouterr().out)
        assert faults(event) == []
        return event["state"], event["sequence"]

    monkeypatch.setattr(release, "default_state", lambda: str(board.state))
    unsigned = bundle(tmp_path / "unsigned")
    assert said(unsigned) == ("unsigned", None)
    assert said(board.folder) == ("verified", board.check().sequence)
    board.trust("require-signature", *board.signers.read_text().splitlines())
    with pytest.raises(TrustError, match=r"is not signed, and .*allowed_signers asks for that"):
        said(unsigned)
    board.signers.unlink()
    assert said(board.folder) == ("not checked", None)


def test_a_bundle_is_not_built_where_signatures_are_required(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board.trust("require-signature")
    monkeypatch.setattr(release.require, "__defaults__", (str(board.signers), "", "", False))
    assert (
        main(["build", "--bundle", str(bundle(tmp_path / "unsigned")), "--out", str(tmp_path / "out")]) == 6
    )
    assert "require-signature" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damage_at_any_place_is_refused(board: Board) -> None:
    """A bit of each file of the release, and nothing of a model was read: 1 of the 25 cases, by signature."""
    for path in sorted(path for path in board.folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(RunnerError) as caught:
                board.check()
            assert caught.value.code == 6
        path.write_bytes(whole)
    board.check()


KILLED = """
import os, sys
from pathlib import Path
from jetpress.deploy.release import keys, sign
real = sign.ssh_keygen
sign.ssh_keygen = lambda words: os.kill(os.getpid(), 9)
sign.sign(Path(sys.argv[1]), None, keys.read(Path(sys.argv[2])), None, 30)
"""


def test_what_a_killed_call_left_is_removed_by_the_next(tmp_path: Path, key: Key) -> None:
    """By number or by name: it may have another one."""
    made = bundle(tmp_path / "run" / "bundle")
    killed = subprocess.run([sys.executable, "-c", KILLED, made, key.path])
    assert killed.returncode == -9
    (left,) = (tmp_path / "run/releases").iterdir()
    assert left.name.endswith(".draft")
    held = tmp_path / "run/releases/.7.jetpress.draft"  # of a call that is at work
    held.mkdir()
    handle = os.open(held, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    place, claims = sign(made, None, key, None, 30)
    assert {path.name for path in place.parent.iterdir()} == {str(claims.sequence), held.name}
    os.close(handle)
    sign(made, tmp_path / "run/releases/other", key, None, 30)
    assert not held.exists()
