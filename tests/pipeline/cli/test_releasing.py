"""jetpress key, release, verify: as they are typed, and on a device behind a real sshd."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from jetpress.deploy.device import ssh
from jetpress.deploy.pack import pack
from jetpress.pipeline.cli import main
from tests.deploy import sshd
from tests.deploy.runner_bundles import seal
from tests.pipeline.test_compare import a_run


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, a key, and a file of allowed signers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = a_run(tmp_path / "runs", "digits-host-0123abcd")
    pack(run / "bundle" / "runner.pyz")
    seal(run / "bundle")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(words))
    heard = capsys.readouterr()
    return code, heard.out.strip(), heard.err


def make_key(desk: Path, capsys: pytest.CaptureFixture[str]) -> str:
    code, line, _ = said(capsys, "key", "k", "--no-passphrase", "--signer", "alice@example.com")
    assert code == 0
    (desk / "allowed_signers").write_text(line + "\n")
    return line


def test_from_a_key_to_a_board(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = make_key(desk, capsys)
    assert stat.S_IMODE((desk / "k").stat().st_mode) == 0o600
    assert said(capsys, "key", "k")[1] == line
    code, place, _ = said(capsys, "release", "digits-host-0123abcd", "--key", "k")
    assert code == 0
    assert Path(place).parent == Path("runs/digits-host-0123abcd/releases")
    code, told, _ = said(capsys, "verify", place, "--signers", "allowed_signers", "--json")
    assert code == 0
    assert json.loads(told)["signer"] == "alice@example.com"
    assert json.loads((desk / "home/.config/jetpress/sequences.json").read_text())
    code, _, err = said(capsys, "verify", place, "--signers", "allowed_signers", "--target", "xavier")
    assert code == 6
    assert "was released for" in err
    assert said(capsys, "verify", "runs/digits-host-0123abcd/bundle", "--signers", "allowed_signers")[0] == 6


def test_a_key_in_an_agent_signs(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(desk, capsys)
    with subprocess.Popen(["ssh-agent", "-D", "-a", "agent"], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(desk / "agent"))
        subprocess.run(["ssh-add", "-q", "k"], check=True)
        (desk / "k").unlink()
        code = said(capsys, "release", "digits-host-0123abcd", "--key", "k.pub", "--out", "r")[0]
        agent.terminate()
    assert code == 0
    assert said(capsys, "verify", "r", "--signers", "allowed_signers")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["release", "digits-host-0123abcd", "--key", "none"], 2, "there is no public key none.pub"),
        (["release", "digits-host-0123abcd", "--key", "rsa"], 2, "no Ed25519 key, but ssh-rsa"),
        (["release", "digits-host-0123abcd", "--key", "k", "--days", "0"], 2, "is not between 1 and"),
        (
            ["release", "digits-host-0123abcd", "--key", "k", "--signer", "a b"],
            2,
            "cannot be the name of a signer",
        ),
        (["release", "digits-host-0123abcd", "--key", "k", "--out", "runs"], 2, "is there already"),
        (["release", "digits-host-0123abcd", "--key", "mixed"], 2, "ssh-keygen failed"),
        (["release", "digits-host-0123abcd", "--key", "public"], 2, "ssh-keygen failed"),
        (["key", "new", "--no-passphrase", "--signer", "*"], 2, "cannot be the name of a signer"),
        (["verify", "runs", "--signers", "allowed_signers"], 6, "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_message(
    desk: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    make_key(desk, capsys)
    said(capsys, "key", "mixed", "--no-passphrase")
    (desk / "mixed.pub").write_bytes((desk / "k.pub").read_bytes())
    (desk / "public.pub").write_bytes((desk / "k.pub").read_bytes())
    (desk / "rsa.pub").write_text("ssh-rsa AAAAB3NzaC1yc2E= x\n")
    found, _, err = said(capsys, *words)
    assert (found, err.count("jetpress: error")) == (code, 1)
    assert message in err
    assert not list(desk.glob(".*.draft")) + list(desk.glob("runs/*/releases/*"))


def test_a_run_that_was_changed_is_not_signed(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_key(desk, capsys)
    (desk / "runs/digits-host-0123abcd/bundle/plan.json").write_text("{}")
    code, _, err = said(capsys, "release", "digits-host-0123abcd", "--key", "k", "--out", "r")
    assert code == 6
    assert "plan.json: expected" in err
    assert not (desk / "r").exists()


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
def test_the_runner_that_we_send_looks_at_it_there(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release brings a runner that takes everything: it is not asked."""
    make_key(desk, capsys)
    assert said(capsys, "release", "digits-host-0123abcd", "--key", "k", "--out", "r")[0] == 0
    signers = ["--signers", str(desk / "allowed_signers")]
    with sshd.running(desk / "s") as server:
        monkeypatch.setenv(ssh.CONFIG, str(server.config))
        code, there, _ = said(capsys, "verify", "r", "--device", server.name, *signers)
        assert code == 0
        assert (Path(there) / "release.json").is_file()
        assert (server.home / ".config/jetpress/sequences.json").is_file()
        (desk / "r/runner.pyz").write_text("import sys; sys.exit(0)")
        code, _, err = said(capsys, "verify", "r", "--device", server.name, *signers)
        assert code == 6
        assert "runner.pyz: expected" in err
