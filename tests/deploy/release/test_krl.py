"""OpenSSH's lists of revoked keys, made by ssh-keygen: we and it say the same of each."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetpress.deploy.release.keys import Key, ssh_keygen
from jetpress.deploy.runner.system.failures import TrustError
from jetpress.deploy.runner.trust import krl, openssh
from jetpress.deploy.runner.trust.krl import Revocations
from jetpress.deploy.runner.trust.release import CLAIMS, SIGNATURE
from jetpress.deploy.runner.trust.signers import NAMESPACE
from tests.deploy.release.places import SIGNER, Board


def listed(folder: Path, *said: str, options: Sequence[str] = ()) -> Path:
    """A list that ssh-keygen makes of such lines, or of a file with a public key."""
    (folder / "said").write_text("".join(f"{line}\n" for line in said))
    ssh_keygen(["-k", *options, "-f", str(folder / "list"), str(folder / "said")])
    return folder / "list"


def public(key: Key) -> str:
    return key.line("x").split(" ", 2)[2]


def openssh_takes(content: bytes, key: Key, folder: Path) -> bool:
    """Whether it reads the list, and the key is not in it."""
    (folder / "asked").write_bytes(content)
    (folder / "key.pub").write_text(f"{public(key)}\n")
    argv = ["ssh-keygen", "-Q", "-f", str(folder / "asked"), str(folder / "key.pub")]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def we_take(content: bytes, key: Key) -> bool:
    try:
        return not krl.read(content, "list").has(key.blob)
    except TrustError:
        return False


WAYS = ("", "key: ", "sha1: ", "sha256: ")


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_revoked_however_it_is_listed(way: str, tmp_path: Path, key: Key, other: Key) -> None:
    for revoked in ([other], [key], [other, key]):
        content = listed(tmp_path, *(f"{way}{public(one)}" for one in revoked)).read_bytes()
        for asked in (key, other):
            assert (
                we_take(content, asked) is openssh_takes(content, asked, tmp_path) is (asked not in revoked)
            )


def test_certificates_and_fingerprints_stand_beside_keys(tmp_path: Path, key: Key, other: Key) -> None:
    (tmp_path / "ca.pub").write_text(f"{public(other)}\n")
    certificates = ["serial: 1-7", "serial: 9", "id: alice"]
    options = ["-s", str(tmp_path / "ca.pub"), "-z", "3"]
    without = listed(tmp_path, *certificates, options=options).read_bytes()
    assert we_take(without, key) is openssh_takes(without, key, tmp_path) is True
    content = listed(tmp_path, *certificates, f"sha256: {public(key)}", options=options).read_bytes()
    assert we_take(content, key) is openssh_takes(content, key, tmp_path) is False
    assert we_take(content, other) is openssh_takes(content, other, tmp_path) is True


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_nothing_changed_is_taken_that_openssh_does_not_take(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, key: Key, other: Key
) -> None:
    folder = tmp_path_factory.mktemp("list")
    content = bytearray(listed(folder, *(f"{way}{public(other)}" for way in WAYS[1:])).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(content[: data.draw(st.integers(0, len(content)) | st.none())])
    assert not we_take(changed, key) or openssh_takes(changed, key, folder)


@given(st.binary(max_size=80), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_list_or_one_message(behind: bytes, kind: int) -> None:
    for content in (behind, krl.MAGIC + bytes(32) + bytes([kind]) + len(behind).to_bytes(4, "big") + behind):
        try:
            assert isinstance(krl.read(content, "list"), Revocations)
        except TrustError:
            continue


def test_a_release_of_a_key_in_the_boards_list_is_refused(board: Board, key: Key, other: Key) -> None:
    place = listed(board.signers.parent, public(other))
    place.chmod(0o644)
    board.trust(key.line(SIGNER), f"revoked-keys {place.name}")
    board.check()
    listed(place.parent, f"sha256: {public(key)}")
    with pytest.raises(TrustError, match="is revoked in"):
        board.check()
    place.write_text(public(key))
    with pytest.raises(TrustError, match="no list of revoked keys that can be read"):
        board.check()
    place.unlink()
    with pytest.raises(TrustError, match=r"cannot be read: .*list: No such file"):
        board.check()
    listed(place.parent, public(other)).chmod(0o666)
    with pytest.raises(TrustError, match="list may be written by others"):
        board.check()


def test_openssh_is_given_the_list(board: Board, key: Key) -> None:
    text, signature = ((board.folder / name).read_bytes() for name in (CLAIMS, SIGNATURE))
    content = listed(board.signers.parent, public(key)).read_bytes()
    with pytest.raises(TrustError, match="ssh-keygen refuses"):
        openssh.confirm(text, signature, SIGNER, key.blob, NAMESPACE, content)


@pytest.mark.parametrize("line", ["revoked-keys {}", "target {}", "require-signature {}"])
def test_a_slip_does_not_make_a_key_trusted(line: str, board: Board, key: Key) -> None:
    board.trust(line.format(public(key)))
    with pytest.raises(TrustError, match=r"line 1: .* is no name"):
        board.check()
