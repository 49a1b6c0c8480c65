"""One key, one bundle and one release, made once; whoever changes something changes a copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jetpress.deploy.release import keys
from jetpress.deploy.release.keys import Key
from jetpress.deploy.release.sign import sign
from jetpress.deploy.runner.trust.release import Claims
from tests.deploy.release.places import SIGNER, Board
from tests.deploy.runner_bundles import bundle


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return keys.make(tmp_path_factory.mktemp("key") / "k", SIGNER, has_passphrase=False)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return keys.make(tmp_path_factory.mktemp("other") / "k", "mallory@example.com", has_passphrase=False)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, key: Key) -> tuple[Path, Claims]:
    folder = tmp_path_factory.mktemp("run")
    return sign(bundle(folder / "bundle"), None, key, None, days=30)


@pytest.fixture
def board(tmp_path: Path, key: Key, made: tuple[Path, Claims]) -> Board:
    """A copy of the release, on a board that trusts its key."""
    shutil.copytree(made[0], tmp_path / "release")
    place = Board(tmp_path / "release", tmp_path / "allowed_signers", tmp_path / "state" / "sequences.json")
    place.trust(key.line(SIGNER))
    return place


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, and a busy disk would be waited for hundreds of times."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
