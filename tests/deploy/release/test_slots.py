"""Slots on a board: what serves, what is kept, what is written down; building and trying is somebody else's."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jetpress.deploy.runner.engines.stamp import STAMP
from jetpress.deploy.runner.release import deployment
from jetpress.deploy.runner.release.deployment import Asked, boot, confirm, deploy, rollback
from jetpress.deploy.runner.release.slots import Place, Slot, damage, only
from jetpress.deploy.runner.system.failures import BundleError, DeviceError, TrustError
from tests.deploy.release.places import SIGNER, Board
from tests.deploy.runner_bundles import seal
from tests.deploy.runner_schema import faults

Step = Callable[[str], str | None]
pytestmark = pytest.mark.usefixtures("no_fsync")


def release(folder: Path, text: str, name: str = "toy") -> Path:
    """A bundle as small as it can be: nothing here builds it."""
    folder.mkdir(parents=True)
    plan = {
        "format": 1, "name": name, "backend": "onnxruntime", "precision": "fp32",
        "models": {"compressed": {"file": "model.onnx"}}, "inputs": [{"name": "images", "shape": [1]}],
    }  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "model.onnx").write_text(text)
    seal(folder)
    return folder


def build(folder: str) -> None:
    """An engine that says what it was built of."""
    engines = Path(folder) / "engines"
    engines.mkdir(exist_ok=True)
    (engines / "compressed.engine").write_bytes((Path(folder) / "model.onnx").read_bytes())
    facts = {"file": "compressed.engine", "size": (engines / "compressed.engine").stat().st_size}
    facts |= {
        "sha256": deployment.release.hashlib.sha256((Path(folder) / "model.onnx").read_bytes()).hexdigest()
    }
    facts |= {"onnx_sha256": facts["sha256"], "key": "k"}
    (engines / STAMP).write_text(json.dumps({"format": 1, "backend": "x", "models": {"compressed": facts}}))


def healthy(folder: str) -> None:
    return None


def sick(folder: str) -> str:
    return "wrong outputs"


class Desk:
    """Releases to be deployed, and a board."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place, self.made = folder, Place(str(folder / "root"), "toy"), 0
        self.asked = Asked(root=str(folder / "root"), signers=str(folder / "nobody"))

    def deploy(self, text: str, health: Step = healthy, build: Step = build, **asked: bool) -> str:
        """What serves then."""
        folder = self.folder / "releases" / text
        deploy(
            str(folder if folder.exists() else release(folder, text)),
            self.asked._replace(**asked),
            build,
            health,
        )
        return self.serves()

    def serves(self) -> str:
        link = Path(self.place.link)
        return (link / "engines/compressed.engine").read_text() if os.path.lexists(link) else ""

    def states(self) -> dict[int, str]:
        return {number: slot.state for number, slot in self.place.slots().items()}

    def folders(self) -> list[str]:
        return sorted(path.name for path in Path(self.place.releases).iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_releases_come_and_go(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for number, text in enumerate("abcd", 1):
        assert desk.deploy(text) == text
        assert desk.place.current() == number
    assert desk.folders() == ["3", "4"]  # the one that serves, and the one before it
    assert desk.states() == {1: "removed", 2: "removed", 3: "good", 4: "good"}
    assert desk.deploy("d") == "d"
    assert desk.place.current() == 4  # nothing to do
    rollback(desk.place)
    assert (desk.serves(), desk.folders()) == ("c", ["3"])
    assert desk.place.slots()[4].reason == "rolled back by hand"
    with pytest.raises(DeviceError, match="no earlier release"):
        rollback(desk.place)
    assert desk.deploy("d") == "d"  # asked for again
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events} == {"signature", "slot"}
    assert [fault for event in events for fault in faults(event)] == []


def test_what_is_bad_never_serves(desk: Desk) -> None:
    with pytest.raises(DeviceError, match=r"slot 1 is bad: wrong outputs; nothing served before it"):
        desk.deploy("a", sick)
    assert desk.serves() == ""
    desk.deploy("b")
    with pytest.raises(DeviceError, match=r"slot 3 is bad: wrong outputs; slot 2 serves"):
        desk.deploy("c", sick)
    with pytest.raises(DeviceError, match="no memory"):
        desk.deploy("d", build=lambda folder: "no memory")
    assert (desk.serves(), desk.folders()) == ("b", ["2"])
    assert [slot.reason for slot in desk.place.slots().values()] == [
        "wrong outputs",
        "",
        "wrong outputs",
        "no memory",
    ]
    assert desk.deploy("c") == "c"  # it may be tried again


def test_a_trial_is_confirmed_or_falls_back(desk: Desk) -> None:
    desk.deploy("a")
    assert desk.deploy("b", on_trial=True) == "b"
    assert boot(desk.place, healthy)
    assert desk.states() == {1: "good", 2: "trial"}
    confirm(desk.place)
    assert desk.states() == {1: "good", 2: "good"}
    desk.deploy("c", on_trial=True)
    for _ in range(deployment.BOOTS):
        boot(desk.place, healthy)
        assert desk.serves() == "c"
    boot(desk.place, healthy)
    assert desk.serves() == "b"
    assert desk.place.slots()[3].reason == "not confirmed in 2 boots"
    desk.deploy("d", on_trial=True)
    boot(desk.place, sick)
    assert (desk.serves(), desk.place.slots()[4].reason) == ("b", "wrong outputs")
    desk.place.serve_nothing()
    with pytest.raises(DeviceError, match="no release is on trial"):
        confirm(desk.place)


def test_the_first_trial_may_be_ended_too(desk: Desk) -> None:
    desk.deploy("a", on_trial=True)
    assert rollback(desk.place).state == "bad"
    assert (desk.serves(), desk.folders()) == ("", [])


def test_a_trial_that_hangs_the_board_is_counted(desk: Desk) -> None:
    desk.deploy("a")
    desk.deploy("b", on_trial=True)

    def power_off(folder: str) -> None:
        raise KeyboardInterrupt

    for _ in range(deployment.BOOTS):
        with pytest.raises(KeyboardInterrupt):
            boot(desk.place, power_off)
    boot(desk.place, power_off)
    assert desk.serves() == "a"


def test_what_is_damaged_does_not_serve(desk: Desk) -> None:
    desk.deploy("a")
    desk.deploy("b")
    Path(desk.place.path(1), "engines/compressed.engine").write_text("A")
    with pytest.raises(DeviceError, match=r"slot 1 is damaged: the engine of compressed"):
        rollback(desk.place)
    assert desk.deploy("a") == "a"  # built again
    Path(desk.place.path(1), "model.onnx").write_text("A")
    boot(desk.place, healthy)
    assert desk.serves() == "b"
    Path(desk.place.path(2), "model.onnx").write_text("B")
    assert desk.deploy("b") == "b"  # copied again
    assert desk.place.current() == 3
    assert damage(desk.place, 3) is None
    Path(desk.place.path(3), "engines", STAMP).write_text("{")
    boot(desk.place, healthy)
    assert desk.serves() == ""  # rather than a wrong one


def test_names_are_folders_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    for name in ("../../x", "a b", "."):
        deploy(str(release(tmp_path / repr(name), name, name)), desk.asked, build, healthy)
    assert {path.name for path in Path(desk.asked.root).iterdir()} == {"_._.._x", "_", "a_b"}
    with pytest.raises(BundleError, match="here are"):
        only(desk.asked.root, "")
    assert only(desk.asked.root, "a b").name == "a_b"


def test_records_do_not_grow_without_end(desk: Desk) -> None:
    desk.deploy("a")
    desk.place.record(*[Slot(number, "0" * 64, "bad", "why") for number in range(2, 26)])
    assert len(desk.place.slots()) == 21
    assert desk.place.slots()[1].state == "good"
    assert max(desk.place.slots()) == 25
    Path(desk.place.file).write_text('{"format": 1, "slots": [{"number": "x"}]}')
    with pytest.raises(DeviceError, match="is not as it was written"):
        desk.deploy("b")
    assert desk.serves() == "a"


@pytest.mark.parametrize("at", range(1, 9))
def test_a_disk_that_fills_up_leaves_the_old_one(
    desk: Desk, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every write of the copy, of its record, and of the link, in turn."""
    desk.deploy("a")
    calls, real = [0], {name: getattr(os, name) for name in ("fsync", "symlink")}
    copy = shutil.copyfile

    def full(act: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object) -> object:
            calls[0] += 1
            if calls[0] == at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return act(*given)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full(copy))
        for name, act in real.items():
            patched.setattr(os, name, full(act))
        with pytest.raises((OSError, DeviceError)):
            desk.deploy("b")
    assert desk.serves() in ("a", "b")
    assert not list(Path(desk.place.releases).glob(".*"))
    assert desk.deploy("b") == "b"


def test_a_full_disk_is_foreseen(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.deploy("a")
    free = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: free)
    with pytest.raises(DeviceError, match=r"MiB are needed .*, 0 MiB are free"):
        desk.deploy("b")
    assert desk.serves() == "a"


def test_a_signed_release_says_whose_it_is(board: Board, tmp_path: Path) -> None:
    asked = Asked(root=str(tmp_path / "root"), signers=str(board.signers), state=str(board.state))
    slot = deploy(str(board.folder), asked, build, healthy)
    assert (slot.signer, slot.sequence) == (SIGNER, board.check().sequence)
    (board.folder / "model.onnx").write_text("another")
    with pytest.raises((TrustError, Exception), match=r"model.onnx: expected"):
        deploy(str(board.folder), asked, build, healthy)
    board.trust("require-signature")
    with pytest.raises(TrustError, match="is not signed"):
        deploy(str(release(tmp_path / "unsigned", "x")), asked, build, healthy)
    assert Place(asked.root, "toy").current() == 1


def test_a_unit_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jetpress.deploy.runner.__main__ import main

    assert main(["boot", "--unit", "--root", str(tmp_path / "root")]) == 0
    text = capsys.readouterr().out
    assert f"{tmp_path}/root/runner.pyz boot --root {tmp_path}/root" in text
    assert "User=" in text
    assert not (tmp_path / "root").exists()
