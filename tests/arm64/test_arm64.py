"""The whole path on another processor and an old Python: an arm64 user land under qemu (see setup.sh)."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import Local
from jetpress.deploy.device.events import Result, by_model
from jetpress.deploy.device.probe import probe
from jetpress.deploy.errors import BenchmarkInvalid
from jetpress.deploy.pack import pack
from tests.deploy.runner_bundles import bundle, seal
from tests.deploy.runner_schema import faults

FOLDER = Path(os.environ.get("JETPRESS_ARM64", "~/.cache/jetpress/arm64")).expanduser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (FOLDER / "python3").exists(), reason="tests/arm64/setup.sh has not been run"),
]


@dataclass(frozen=True)
class Arm(Local):
    """This machine, with an arm64 Python in front of everything that runs on the device."""

    @property
    def python(self) -> str:
        return str(FOLDER / "python3")


def test_send_build_infer_bench_and_bring_back(tmp_path: Path) -> None:
    device = Arm(tmp_path / "device")
    facts = probe(device)
    assert (facts.machine, facts.python) == ("aarch64", "3.9.2")
    place = bundle(tmp_path / "bundle")
    pack(place / "runner.pyz")
    seal(place)
    folder = device.put(place, "bundle")
    engines = f"{device.folder}/engines"
    remote_runner.run_detached(device, "build", folder, "build", "--bundle", folder, "--out", engines)
    device.get(engines, tmp_path / "engines")
    stamp = json.loads((tmp_path / "engines" / "engine.json").read_text())
    assert stamp["models"]["dense"]["size"] > 0
    assert (stamp["python"], stamp["version"]) == ("3.9.2", "1.19.2")
    words = ("--bundle", folder, "--engines", engines, "--out", f"{device.folder}/results")
    remote_runner.run(device, folder, "infer", *words)
    device.get(words[-1], tmp_path / "results")
    with suppress(BenchmarkInvalid):  # an emulated processor keeps no time
        timed = remote_runner.run(device, folder, "bench", *words, "--seconds", "0.5")
        assert [
            fault for result in by_model(timed, Result).values() for fault in faults(dict(result.source))
        ] == []
    samples = np.load(place / "samples" / "images.npy")
    session = ort.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    padded = np.concatenate([samples, samples[-1:]])
    truth = np.concatenate([session.run(None, {"images": padded[at : at + 2]})[0] for at in (0, 2, 4)])[:5]
    found = np.load(tmp_path / "results" / "outputs-compressed.npy")
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-6)
    assert device.clean().files > 5
