from __future__ import annotations

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
        told, why = profiled(device, str(tmp_path), arguments)
        assert ({one.model for one in told}, why) == ({"compressed", "dense"}, "")
        assert all(one.layers for one in told)
        (tmp_path / "engines" / "engine.json").unlink()
        told, why = profiled(device, str(tmp_path), arguments)
        assert not told
        assert "engine.json" in why
    finally:
        device.close()
    assert "its layers are not timed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said",
    ["{}", '{"layers": [1]}', '{"layers": {"conv": "1"}}', "[" * 5000, '{"latency_ms": %s}' % ("9" * 6000)],
)
def test_a_profile_that_makes_no_sense_is_said_and_none(
    tmp_path: Path, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = said[:-1] + ("," if len(said) > 2 else "") + '"event": "profile", "model": "compressed"}'
    pack(tmp_path / "runner.pyz")
    (tmp_path / "runner.pyz").write_text(f"print({event!r})\n")
    device = open_device(None, tmp_path / "device")
    assert profiled(device, str(tmp_path), ())[0] == []
    assert "its layers are not timed" in capsys.readouterr().err
