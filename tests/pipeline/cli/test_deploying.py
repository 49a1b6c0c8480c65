"""jetpress deploy, rollback, status, fleet: as they are typed, to a device behind a real sshd."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jetpress.deploy.device import ssh
from jetpress.pipeline.cli import main
from tests.deploy import sshd
from tests.deploy.runner_bundles import bundle
from tests.pipeline.cli.test_releasing import desk, make_key, said  # noqa: F401

SLOTS = Path(".local/share/jetpress/toy")


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
def test_from_a_run_to_a_board_and_back(
    desk: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_key(desk, capsys)
    assert said(capsys, "release", "digits-host-0123abcd", "--key", "k", "--out", "r")[0] == 0
    promised = json.loads(Path("r/promise.json").read_text())
    assert promised["latency_ms"] == pytest.approx(1.0, rel=0.1)
    assert set(promised["outputs"]) == {"logits"}
    trusted = ["--signers", str(desk / "allowed_signers")]
    with sshd.running(desk / "s", {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}) as server:
        monkeypatch.setenv(ssh.CONFIG, str(server.config))
        there = ["--device", server.name]
        assert "has no releases" in said(capsys, "status", *there)[2]
        (desk / "hosts.toml").write_text(f'devices = ["{server.name}"]')
        code, told, _ = said(capsys, "fleet", "r", "--devices", "hosts.toml", *trusted, "--json")
        done = json.loads(told)
        assert (code, done["stopped"], done["outcomes"][0]["state"]) == (0, "", "good"), told
        assert (
            "have this release already" in said(capsys, "fleet", "r", "--devices", "hosts.toml", *trusted)[2]
        )
        home = server.home / SLOTS
        assert (home / "current").resolve() == home / "releases/1"
        assert [path.name for path in (home / "current/engines").glob("*.onnx")] == ["compressed.ort.onnx"]
        assert (server.home / ".local/share/jetpress/runner.pyz").is_file()
        assert not list((server.home / ".jetpress").glob("release-*"))  # only the slot keeps it
        bundle(desk / "second", threads=1)
        code, told, err = said(capsys, "deploy", "second", *there, "--json")
        slot = json.loads(told)
        assert (code, slot["number"], slot["state"], slot["signer"]) == (0, 2, "good", None), err
        code, told, _ = said(capsys, "status", *there)
        first, second = told.splitlines()
        assert "by alice@example.com" in first
        assert "serves" in second
        assert said(capsys, "rollback", *there)[0] == 0
        slots = json.loads(said(capsys, "status", *there, "--json")[1])
        assert [(slot["state"], slot["serves"]) for slot in slots] == [("good", True), ("bad", False)]
        code, _, err = said(capsys, "rollback", *there)
        assert (code, "there is no earlier release" in err) == (5, True)


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("", "must hold one list"),
        ("devices = [", "cannot be read"),
        ('devices = ["a", "a"]', "each device is one text, once"),
        ('devices = ["-oProxyCommand=x"]', "cannot be a device"),
        ("devices = [1]", "each device is one text, once"),
    ],
)
def test_a_list_of_devices_that_is_none(
    hosts: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hosts.toml").write_text(hosts)
    code = main(["fleet", str(tmp_path), "--devices", str(tmp_path / "hosts.toml")])
    assert code in (2, 5)
    assert message in capsys.readouterr().err
