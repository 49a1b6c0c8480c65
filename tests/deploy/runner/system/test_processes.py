"""Sessions in fresh processes: they say why they fail, and end with whoever began them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.system import processes
from jetpress.deploy.runner.system.failures import (
    BundleError,
    DeviceError,
    DigestMismatch,
    NoGpu,
    ToolMissing,
)
from tests.deploy.device.test_device import until
from tests.deploy.runner_bundles import bundle

TERMS = ["--seconds", "0.1", "--runs", "8", "--rounds", "4", "--warmup-ms", "10", "--warmup-max-ms", "50"]
TERMS += ["--locked", "0", "--varied", "1", "--backward", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = bundle(tmp_path_factory.mktemp("session") / "bundle")
    assert main(["build", "--bundle", str(folder)]) == 0
    return folder


def words(place: Path, *more: str) -> list[str]:
    return ["session", "--subject", "", str(place), str(place / "engines"), *TERMS, *more]


def test_a_session_is_another_process_with_the_same_code(place: Path) -> None:
    told = processes.run(words(place))
    engines = told["engines"]
    assert isinstance(engines, dict)
    assert set(engines) == {"compressed", "dense"}
    assert engines["dense"]["faults"] == []
    assert len(engines["dense"]["blocks"]) >= 4


def test_what_lies_in_the_current_folder_does_not_get_in(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy.py", "json.py", "runner.py"):
        (tmp_path / name).write_text("raise SystemExit('taken')\n")
    monkeypatch.chdir(tmp_path)
    assert processes.run(words(place))["event"] == "session"


def test_its_failure_is_ours(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match=r"manifest\.json is missing"):
        processes.run(words(tmp_path))
    with pytest.raises(BundleError, match="a session ended with 2"):
        processes.run(words(place, "--no-such-thing"))


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (2, {"event": "error", "what": "x"}, BundleError),
        (3, {"event": "error", "what": "x"}, ToolMissing),
        (3, {"event": "skipped", "what": "x"}, NoGpu),
        (-9, {}, DeviceError),
    ],
)
def test_a_failure_keeps_its_kind(status: int, told: dict[str, object], kind: type[Exception]) -> None:
    assert type(processes._failure(status, told)) is kind


PARENT = """
import sys
from jetpress.deploy.runner.system import processes
processes.run(sys.argv[1:])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_whoever_began_it(place: Path, how: signal.Signals) -> None:
    long = words(place)
    long[long.index("--seconds") + 1] = "600"
    with subprocess.Popen([sys.executable, "-c", PARENT, *long], stderr=subprocess.DEVNULL) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        assert until(lambda: children.read_text().split() != [], 30)
        child = int(children.read_text())
        parent.send_signal(how)
    assert until(lambda: not _runs(child), 20)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
