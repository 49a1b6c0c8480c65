from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.__main__ import main
from jetpress.pipeline.stages.infer import profiled
from tests.deploy.runner_bundles import bundle


def test_layers_are_timed_or_it_is_said_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = bundle(tmp_path / "b")
    assert main(["build", "--bundle", str(place), "--out", str(tmp_path / "engines")]) == 0
    pack(tmp_path / "runner.pyz")
    device = open_device(None, tmp_path / "device")
    try:
        arguments = (
            "--bundle",
            str(place),
            "--engines",
            str(tmp_path / "engines"),
            "--out",
            str(tmp_path / "out"),
        )
        assert profiled(device, str(tmp_path), arguments) == ""
        (tmp_path / "engines" / "engine.json").unlink()
        assert "engine.json" in profiled(device, str(tmp_path), arguments)
    finally:
        device.close()
    told = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert {one["model"] for one in told} == {"compressed", "dense"}
    assert "its layers are not timed" in capsys.readouterr().err
