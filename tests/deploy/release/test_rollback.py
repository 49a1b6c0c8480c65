"""Going back to a signed release of one's own is no replay; the same release from outside is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jetpress.deploy.release.keys import Key
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.engines import build
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.release import slots
from jetpress.deploy.runner.release.deployment import Asked, deploy, rollback
from jetpress.deploy.runner.release.slots import Place, is_own
from jetpress.deploy.runner.system.failures import TrustError
from jetpress.deploy.runner.trust import release
from jetpress.deploy.runner.trust.release import CLAIMS
from tests.deploy.release.places import Board

pytestmark = pytest.mark.usefixtures("no_fsync")


def built(folder: str) -> None:
    made = Bundle(folder)
    made.only_chosen()
    build.run(made, f"{folder}/engines")


def test_a_board_goes_back_to_a_release_of_its_own(
    board: Board,
    key: Key,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    asked = Asked(root=str(root), signers=str(board.signers), state=str(board.state))
    shutil.copytree(board.folder, outside)
    deploy(str(board.folder), asked, built, lambda folder: None)
    claims = json.loads((board.folder / CLAIMS).read_text())
    (board.folder / "manifest.json").write_bytes((board.folder / "manifest.json").read_bytes() + b"\n")
    manifest = release.hashlib.sha256((board.folder / "manifest.json").read_bytes()).hexdigest()
    board.sign_again(key, json.dumps({**claims, "sequence": claims["sequence"] + 1, "manifest": manifest}))
    deploy(str(board.folder), asked, built, lambda folder: None)
    place = Place(str(root), "toy")
    bad = place.path(2)
    shutil.copytree(bad, tmp_path / "kept")
    assert rollback(place).number == 1
    monkeypatch.setattr(release.require, "__defaults__", (str(board.signers), "", str(board.state), False))
    monkeypatch.setattr(release, "default_state", lambda: str(board.state))

    def infer(folder: Path) -> int:
        words = ["infer", "--bundle", str(folder), "--engines", place.link + "/engines", "--root", str(root)]
        return main([*words, "--out", str(tmp_path / "out")])

    assert infer(Path(place.link)) == 0, capsys.readouterr().err
    assert '"state": "verified"' in capsys.readouterr().out
    assert infer(outside) == 6
    assert "an old release, again" in capsys.readouterr().err
    with pytest.raises(TrustError, match="an old release, again"):
        deploy(str(outside), asked, built, lambda folder: None)
    assert not is_own(str(root), str(tmp_path / "kept"))
    shutil.copytree(tmp_path / "kept", bad)  # somebody puts back what was called bad
    assert not is_own(str(root), bad)
    (Path(place.link) / slots.MANIFEST).write_text("{}")
    assert not is_own(str(root), place.link)
