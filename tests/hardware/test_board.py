"""What only a board can prove (docs/hardware-checklist.md): JETPRESS_DEVICE=user@host pytest -m hardware tests/hardware

The board needs JetPack's python3-libnvinfer and python3-numpy; clocks and EMC need root or `sudo -n jetson_clocks`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from jetpress.deploy.device.derived import target_of
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.device.events import understood
from jetpress.deploy.device.probe import Facts, probe
from jetpress.deploy.pack import pack
from tests.deploy.runner_bundles import bundle, seal
from tests.deploy.runner_schema import faults

NAME = os.environ.get("JETPRESS_DEVICE", "")
pytestmark = [
    pytest.mark.hardware,
    pytest.mark.skipif(not NAME, reason="JETPRESS_DEVICE=user@host is not set"),
]
CLOCKS = (
    "cat /sys/class/devfreq/*/min_freq /sys/devices/system/cpu/cpufreq/policy*/scaling_min_freq; nvpmodel -q"
)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    opened = open_device(NAME)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def facts(device: Device) -> Facts:
    return probe(device)


class Board:
    """A small FP16 bundle on the board, and its engines."""

    def __init__(self, device: Device, facts: Facts, root: Path) -> None:
        self.device = device
        name = target_of(facts).name
        target = {"name": name, "tensorrt": facts.tensorrt, "compute_capability": facts.compute_capability}
        self.place = bundle(root / "bundle", backend="tensorrt", precision="fp16", target=target)
        pack(self.place / "runner.pyz")
        seal(self.place)
        self.folder = device.put(self.place, "hardware")
        self.engines = f"{self.folder}/engines"

    def run(self, command: str, *words: str) -> list[dict[str, Any]]:
        """The events as the runner prints them, all of them as published; the host reads them, too."""
        place = ("--bundle", self.folder, "--out" if command == "build" else "--engines", self.engines)
        lines: list[str] = []
        argv = [self.device.python, f"{self.folder}/runner.pyz", command, *place, *words]
        done = self.device.run(argv, on_line=lines.append)
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in lines]
        assert [fault for event in events for fault in faults(event)] == []
        assert all(understood(event) for event in events)
        return events


@pytest.fixture(scope="module")
def board(device: Device, facts: Facts, tmp_path_factory: pytest.TempPathFactory) -> Board:
    made = Board(device, facts, tmp_path_factory.mktemp("board"))
    made.run("build")
    return made


def results(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["model"]: event for event in events if event["event"] == "result"}


def test_the_probe_knows_the_board(facts: Facts) -> None:
    assert facts.is_jetson
    assert facts.module
    assert facts.l4t
    assert facts.jetpack, f"L4T {facts.l4t} belongs into deploy/device/board.py"
    assert facts.tensorrt
    assert facts.power_mode in facts.power_modes.values()
    target = target_of(facts)
    assert facts.tensorrt.startswith(".".join(target.tensorrt.split(".")[:2]))


def test_doctor_finds_nothing_missing(board: Board) -> None:
    done = board.device.run([board.device.python, f"{board.folder}/runner.pyz", "doctor"])
    assert done.returncode == 0, done.stderr


def test_the_engine_is_the_network(board: Board, tmp_path: Path) -> None:
    board.run("infer", "--out", f"{board.folder}/results")
    board.device.get(f"{board.folder}/results", tmp_path)
    samples = np.load(board.place / "samples" / "images.npy")
    session = ort.InferenceSession(board.place / "model.onnx", providers=["CPUExecutionProvider"])
    padded = np.concatenate([samples, samples[-1:]])
    truth = np.concatenate([session.run(None, {"images": padded[at : at + 2]})[0] for at in (0, 2, 4)])[:5]
    found = np.load(tmp_path / "outputs-compressed.npy").astype(np.float64)
    cosine = (found * truth).sum() / np.linalg.norm(found) / np.linalg.norm(truth)
    assert cosine >= 0.999


def test_within_one_percent_of_trtexec(board: Board) -> None:
    events = board.run("bench", "--seconds", "12", "--against", "trtexec", "--lock-clocks")
    for event in (event for event in events if event["event"] == "trtexec"):
        assert abs(event["latency"]["ratio"] - 1) <= 0.01
        assert abs(event["compute"]["ratio"] - 1) <= 0.01


def test_zero_copy_beside_copies(device: Device, facts: Facts, tmp_path: Path) -> None:
    made = Board(device, facts, tmp_path)
    plan = json.loads((made.place / "plan.json").read_text())
    plan["benchmark"]["memory"] = "mapped"
    (made.place / "plan.json").write_text(json.dumps(plan))
    seal(made.place)
    made.folder = device.put(made.place, "hardware-mapped")
    made.engines = f"{made.folder}/engines"
    made.run("build")
    events = made.run("bench", "--seconds", "3")
    found = results(events)["compressed-mapped"]
    assert set(found["parts"]) == {"compute", "enqueue"}
    assert not found["faults"], "the outputs of timed and untimed runs are the same"
    assert ("compressed-mapped", "compressed") in {
        (e["of"], e["against"]) for e in events if e["event"] == "ratio"
    }


@pytest.mark.parametrize("knob", ["cuda_graph", "spin_wait", "transfers", "overlap"])
def test_every_knob_runs_and_changes_no_output(
    knob: str, device: Device, facts: Facts, tmp_path: Path
) -> None:
    root = tmp_path / knob
    made = Board(device, facts, root)
    plan = json.loads((made.place / "plan.json").read_text())
    plan["benchmark"][knob] = knob in ("cuda_graph", "spin_wait")
    (made.place / "plan.json").write_text(json.dumps(plan))
    seal(made.place)
    made.folder = device.put(made.place, "hardware")
    made.engines = f"{made.folder}/engines"
    made.run("build")
    for result in results(made.run("bench", "--seconds", "3")).values():
        assert result["knobs"][knob] is plan["benchmark"][knob]
        assert result["verdict"] != "invalid", result["reasons"]


def test_power_is_read_ten_times_a_second_from_two_sources(board: Board) -> None:
    result = results(board.run("bench", "--seconds", "5"))["dense"]
    power = result["power"]
    assert power["hz"] >= 10
    assert power["idle_watts"] < power["watts"]
    assert power["tegrastats_watts"] == pytest.approx(power["watts"], rel=0.1)
    assert power["gpu_mhz"]


def test_clocks_are_as_before_after_kill_9(board: Board) -> None:
    before = board.device.run(["sh", "-c", CLOCKS]).stdout
    words = f"{board.device.python} {board.folder}/runner.pyz bench --bundle {board.folder} --lock-clocks"
    script = f"{words} --engines {board.engines} --seconds 60 >/dev/null 2>&1 & sleep 15; kill -9 $!; sleep 5"
    board.device.run(["sh", "-c", script])
    assert board.device.run(["sh", "-c", CLOCKS]).stdout == before


def test_a_build_outlives_the_host(board: Board) -> None:
    name = f"hardware{int(time.time())}"
    argv = [board.device.python, f"{board.folder}/runner.pyz", "build", "--bundle", board.folder, "--force",
            "--out", f"{board.folder}/again"]  # fmt: skip
    script = (
        f"from jetpress.deploy.device import device; device.open({NAME!r}).run_detached({name!r}, {argv!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as host:
        time.sleep(8)
        host.kill()
    lines: list[str] = []
    done = board.device.run_detached(name, argv, lines.append)
    assert done.returncode == 0
    assert sum('"event": "engine"' in line for line in lines) == 2


def test_gpu_and_dla_together(board: Board, facts: Facts) -> None:
    cores = target_of(facts).dla
    if not cores or not facts.dla_compiler:
        pytest.skip("this board has no DLA that its TensorRT can use")
    places = ",".join(["gpu", *(f"dla{core}" for core in range(cores))])
    built = {one["model"]: one for one in board.run("build", "--places", places) if one["event"] == "engine"}
    share = built["compressed-dla0"]["dla"]
    assert share["loadables"] >= 1, "the builder's log and the inspector have other words than we know"
    assert 0 < share["share"] <= 1
    events = board.run("bench", "--places", places, "--concurrent", "--seconds", "3")
    together = next(event for event in events if event["event"] == "concurrent")
    alone = results(events)["compressed"]["throughput_per_s"]
    assert together["throughput_per_s"] > alone


def test_nothing_is_left_outside_the_working_folder(board: Board) -> None:
    marker = f"{board.device.folder}/since"
    board.device.write(marker, b"")
    board.run("bench", "--seconds", "1")
    found = board.device.run(["sh", "-c", f"find ~ -newer {marker} -not -path '*/.jetpress*' -type f"]).stdout
    assert found == ""
    board.device.clean()
    assert board.device.contents().files == 0
