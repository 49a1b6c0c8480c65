"""Hostile ONNX files end in a refusal or a verdict, and nothing outside is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jetpress.deploy.errors import TrustError
from jetpress.deploy.onnx_file.guard import check_bytes
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.targets import find
from tests.attacks import onnx_files

# Runs alone, so that what it opens and how much memory it takes is its own. Audit events see every open that
# Python makes; that no library made one is seen from none being imported.
LOOK = """
import sys
opened = []
sys.addaudithook(lambda event, seen: opened.append(str(seen[0])) if event in ("open", "os.open") else None)
from pathlib import Path
from jetpress.deploy.errors import TrustError
from jetpress.deploy.onnx_file.guard import check_onnx
path = Path(sys.argv[1])
before = len(opened)
try:
    check_onnx(path)
    print("passed")
except TrustError as error:
    assert error.hint
    libraries = {"onnx", "onnxruntime", "tensorrt_rtx", "numpy", "google"} & set(sys.modules)
    outside = [one for one in opened[before:] if Path(one).parent != path.parent]
    print("refused", sorted(libraries), outside)
"""

CHECK = """
import json, resource, sys, time
from pathlib import Path
import jetpress.deploy.preflight.compatibility
from jetpress.deploy.errors import JetpressError
from jetpress.deploy.targets import find
start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    ended = "ok" if jetpress.deploy.preflight.compatibility.preflight(Path(sys.argv[1]), find("xavier")).ok else "NO"
except JetpressError as error:
    ended = type(error).__name__
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
child = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds = time.process_time() - start + child.ru_utime + child.ru_stime  # of CPU: other work may run here
print(json.dumps({"ended": ended, "seconds": seconds, "mib": max(used, child.ru_maxrss) / 1024}))
"""


def alone(program: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize("name", onnx_files.ESCAPES)
def test_paths_do_not_escape(tmp_path: Path, name: str) -> None:
    (tmp_path / onnx_files.SECRET).write_bytes(os.urandom(64))
    path = onnx_files.ESCAPES[name](tmp_path / "model")
    assert alone(LOOK, path) == "refused [] []"


@pytest.mark.parametrize("location", ["w.bin", "../w.bin", ""])
def test_a_model_in_memory_names_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)  # an empty base folder would mean this one
    Path("w.bin").write_bytes(bytes(16))
    with pytest.raises(TrustError, match="has no folder"):
        check_bytes(onnx_files.model(onnx_files.outside(location)).SerializeToString())


@pytest.mark.parametrize("name", onnx_files.BOMBS)
def test_bombs_do_not_go_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_files.BOMBS[name]())
    found = json.loads(alone(CHECK, path))
    assert found["seconds"] <= 10, found
    assert found["mib"] <= 512 + path.stat().st_size / 2**20, found


@pytest.mark.parametrize("name", ["recursive function", "doubling functions"])
def test_functions_that_do_not_end_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"  # TensorRT-RTX 1.7 dies of the first, and writes out the second for ever
    path.write_bytes(onnx_files.BOMBS[name]())
    with pytest.raises(TrustError, match="function"):
        preflight(path, find("orin-nano"))


def test_two_gibibytes_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    assert alone(LOOK, path) == "refused [] []"
    with path.open("r+b") as file:
        file.truncate(2**31 - 1)
    found = json.loads(alone(CHECK, path))
    assert found["ended"] == "TrustError"
    assert found["mib"] <= 512
