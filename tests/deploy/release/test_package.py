"""A release for other updaters: golden files, and each updater's part played with a real runner.

The tools themselves took these files: see studies/log/release.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.release.package import UPDATERS, archive, package
from jetpress.deploy.runner.release.slots import Place
from jetpress.deploy.runner.trust.release import CLAIMS, Claims

MANIFEST = """[update]
compatible=host
version={sequence}
description=toy

[bundle]
format=plain

[handler]
filename=install.sh
"""
DESCRIPTION = """software =
{{
    version = "{sequence}";
    description = "toy for host";
    hardware-compatibility: [ "#RE:.*" ];
    scripts: (
        {{
            filename = "install.sh";
            type = "postinstall";
            sha256 = "{script}";
        }}
    );
    files: (
        {{
            filename = "release.tar";
            path = "/var/lib/jetpress/incoming/release.tar";
            sha256 = "{payload}";
            properties: {{ create-destination = "true"; }}
        }}
    );
}}
"""


def test_the_files_are_as_the_tools_take_them(made: tuple[Path, Claims], tmp_path: Path) -> None:
    release, claims = made
    commands = {updater: package(release, updater, tmp_path / updater) for updater in UPDATERS}
    number, payload = claims.sequence, (tmp_path / "mender/release.tar").read_bytes()
    assert commands == {
        "mender": f"mender-artifact write module-image -T jetpress -n toy-{number} -t host -f release.tar -f network "
        f"-o toy-{number}.mender",
        "rauc": f"rauc bundle --cert CERT --key KEY content toy-{number}.raucb",
        "swupdate": f"printf '%s\\n' sw-description install.sh release.tar | cpio -o -H crc > toy-{number}.swu",
    }
    assert (tmp_path / "rauc/content/manifest.raucm").read_text() == MANIFEST.format(sequence=number)
    script = (tmp_path / "swupdate/install.sh").read_bytes()
    hashes = {"script": hashlib.sha256(script).hexdigest(), "payload": hashlib.sha256(payload).hexdigest()}
    assert (tmp_path / "swupdate/sw-description").read_text() == DESCRIPTION.format(sequence=number, **hashes)
    assert (tmp_path / "mender/network").read_text() == "toy\n"
    for path in ("mender/board/jetpress", "rauc/content/install.sh"):
        assert os.access(tmp_path / path, os.X_OK)
        subprocess.run(["sh", "-n", tmp_path / path], check=True)
    assert all((tmp_path / updater / "board/runner.pyz").is_file() for updater in UPDATERS)


def test_the_payload_is_the_release_and_always_the_same(made: tuple[Path, Claims], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "copy")
    (tmp_path / "copy/engines").mkdir()
    (tmp_path / "copy/engines/compressed.engine").write_text("built beside it")
    assert archive(tmp_path / "copy") == archive(made[0])
    (tmp_path / "release.tar").write_bytes(archive(made[0]))
    with tarfile.open(tmp_path / "release.tar") as tar:
        assert {entry.mtime for entry in tar} == {0}
        assert sorted(tar.getnames()) == sorted(
            path.relative_to(made[0]).as_posix() for path in made[0].rglob("*") if path.is_file()
        )


def test_names_of_a_release_cannot_write_other_lines(made: tuple[Path, Claims], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "r")
    told = json.loads((tmp_path / "r" / CLAIMS).read_text())
    (tmp_path / "r" / CLAIMS).write_text(json.dumps({**told, "name": '-x"; $(id)\n[hooks]', "target": "a b"}))
    command = package(tmp_path / "r", "swupdate", tmp_path / "s")
    assert " > _x_____id___hooks_-" in command
    assert '"_x_____id___hooks_ for a_b"' in (tmp_path / "s/sw-description").read_text()


def test_what_is_no_signed_release_is_refused(made: tuple[Path, Claims], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is no signed release"):
        package(tmp_path, "rauc", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(RecipeError, match="is there already"):
        package(made[0], "rauc", tmp_path / "full")


def test_mender_installs_commits_and_rolls_back(made: tuple[Path, Claims], tmp_path: Path) -> None:
    """As its client calls an update module: a state, and a folder with the payload in files/."""
    package(made[0], "mender", tmp_path / "m")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "JETPRESS_RUNNER": str(tmp_path / "m/board/runner.pyz"),
        "JETPRESS_ROOT": str(tmp_path / "root"),
        "OMP_NUM_THREADS": "1",
    }
    for folder in ("files", "tmp"):
        (tmp_path / "api" / folder).mkdir(parents=True)
    for name in ("release.tar", "network"):
        shutil.copyfile(tmp_path / "m" / name, tmp_path / "api/files" / name)

    def call(state: str) -> str:
        words = [tmp_path / "m/board/jetpress", state, tmp_path / "api"]
        return subprocess.run(
            words, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    place = Place(str(tmp_path / "root"), "toy")
    assert (call("SupportsRollback"), call("NeedsArtifactReboot"), call("Download")) == ("Yes", "No", "")
    call("ArtifactInstall")
    assert (place.current(), place.slots()[1].state) == (1, "trial")
    call("ArtifactCommit")
    assert place.slots()[1].state == "good"
    call("Cleanup")
    with pytest.raises(subprocess.CalledProcessError):  # it is committed, and nothing served before it
        call("ArtifactRollback")
    (tmp_path / "api/tmp/installed").unlink()
    assert call("ArtifactRollback") == ""
    assert place.current() == 1
