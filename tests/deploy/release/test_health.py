"""A bad new engine: wrong outputs, a crash, no memory, a hang, twice too slow. Real engines, in real processes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from jetpress.benchmarks.report.record import of
from jetpress.deploy.runner.engines import board_key
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.release import trial
from jetpress.deploy.runner.release.deployment import Asked, deploy
from jetpress.deploy.runner.release.health import CLASSES, DETECTIONS, NUMBERS, PROMISE, Output, compare, read
from jetpress.deploy.runner.release.slots import Place
from jetpress.deploy.runner.system.failures import BundleError, DeviceError
from jetpress.pipeline.engine import promise
from tests.benchmarks.runs import bare
from tests.deploy.runner_bundles import bundle, network, seal

RUNTIME = '''"""The real ONNX Runtime, which does to its process what FAULT says when an engine runs."""
import os, sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.remove(here)
del sys.modules["onnxruntime"]
import onnxruntime as real


def fail():
    if os.environ["FAULT"] == "crash":
        os.kill(os.getpid(), 11)
    if os.environ["FAULT"] == "killed":
        os.kill(os.getpid(), 9)
    if os.environ["FAULT"] == "memory":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
        bytearray(2**34)
    if os.environ["FAULT"] == "hang":
        import time

        time.sleep(3600)


class Session(real.InferenceSession):
    def run(self, *given, **more):
        fail()
        return super().run(*given, **more)

    def run_with_iobinding(self, *given, **more):
        fail()
        return super().run_with_iobinding(*given, **more)


real.InferenceSession = Session
sys.modules["onnxruntime"] = real
'''


def promised(folder: Path) -> Path:
    """A bundle with the promise that its release would have."""
    report = bare()
    report["compressed"]["samples_ms"] = [1000.0] * 64
    report["benchmark"] = {"verdict": "valid", "reasons": [], "knobs": {}}
    promise.write(bundle(folder, threads=1), of(report), folder)
    seal(folder)
    return folder


def change(folder: Path, **promise: object) -> None:
    told = json.loads((folder / PROMISE).read_text())
    (folder / PROMISE).write_text(json.dumps(told | promise))
    seal(folder)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose engine was built."""
    folder = promised(tmp_path_factory.mktemp("good") / "release")
    assert trial.build(str(folder)) is None
    return folder


def test_an_engine_that_keeps_its_promise(good: Path) -> None:
    assert trial.health(str(good)) is None


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("crash", r"crash: the engine ended with signal 11 \(SIGSEGV\)"),
        ("killed", "out of memory: the engine was killed by the system"),
        ("memory", "out of memory"),
        ("hang", "hang: the engine gave no answer in 3 s"),
    ],
)
def test_what_happens_to_its_process_is_told(
    fault: str, why: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text(RUNTIME)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAULT", fault)
    if fault == "hang":
        monkeypatch.setattr(trial, "HEALTH_S", 3.0)
    said = trial.health(str(good))
    assert said is not None
    assert re.match(why, said)


def test_wrong_and_slow_ones_are_rolled_back_in_half_a_minute(tmp_path: Path) -> None:
    asked = Asked(root=str(tmp_path / "root"), signers=str(tmp_path / "nobody"))
    place = Place(asked.root, "toy")
    assert deploy(str(promised(tmp_path / "a")), asked).state == "good"
    wrong = promised(tmp_path / "b")
    onnx.save(network(8, seed=5), wrong / "model.onnx")
    seal(wrong)
    started = time.monotonic()
    with pytest.raises(DeviceError, match=r"slot 2 is bad: wrong outputs: logits cosine .*; slot 1 serves"):
        deploy(str(wrong), asked)
    assert time.monotonic() - started < 30
    slow = promised(tmp_path / "c")
    change(slow, latency_ms=1e-6)
    with pytest.raises(
        DeviceError, match=r"slot 3 is bad: too slow: .* ms, and 1e-06 ms were promised; slot 1 serves"
    ):
        deploy(str(slow), asked)
    assert place.current() == 1
    reasons = [slot.reason for slot in place.slots().values()]
    assert [reason.split(":")[0] for reason in reasons] == ["", "wrong outputs", "too slow"]


def numbers(expected: np.ndarray, off: float = 0.1) -> Output:
    return Output(NUMBERS, expected, cosine=0.99, off=off, share=0.9)


def test_what_is_compared() -> None:
    draw = np.random.default_rng(0)
    wanted = draw.normal(size=(8, 5)).astype(np.float32)
    near = wanted + draw.normal(size=wanted.shape).astype(np.float32) * 0.01
    assert compare({"y": near[:3]}, {"y": numbers(wanted)})["y"]["cosine"] > 0.999
    zeros = np.zeros((2, 5), np.float32)
    assert compare({"y": zeros}, {"y": numbers(zeros)}) == {"y": {"cosine": 1.0, "off": 0.0}}
    for found, message in (
        (wanted * 2, "off by 1 of its largest value"),
        (wanted[::-1], "cosine"),
        (wanted[:, :4], "has shape"),
        (np.full_like(wanted, np.nan), "has NaN or Inf"),
        (zeros, "cosine 0.0000"),
    ):
        with pytest.raises(DeviceError, match=f"wrong outputs: y .*{message}"):
            compare({"y": found}, {"y": numbers(wanted)})
    with pytest.raises(DeviceError, match="z is missing"):
        compare({"y": wanted}, {"z": numbers(wanted)})
    classes = np.arange(20)
    assert compare({"c": classes}, {"c": Output(CLASSES, classes, 0.0, 0.0, 0.9)}) == {"c": {"share": 1.0}}
    with pytest.raises(DeviceError, match=r"is the same in 0.0 %"):
        compare({"c": classes + 1}, {"c": Output(CLASSES, classes, 0.0, 0.0, 0.9)})


def test_detections_may_come_in_another_order() -> None:
    boxes = np.array([[[0, 0, 9, 9], [20, 20, 40, 40], [0, 0, 0, 0]]], np.float32)
    scores, labels = np.array([[0.9, 0.8, 0.0]], np.float32), np.array([[1, 2, 0]])
    found = {"boxes": boxes, "scores": scores, "labels": labels}
    wanted = {name: Output(DETECTIONS, array[:, [1, 0, 2]], 0.0, 0.0, 0.9) for name, array in found.items()}
    assert compare(found, wanted) == {"detections": {"share": 1.0}}
    whole = {name: array[None] for name, array in found.items()}
    promised = {name: one._replace(expected=one.expected[None]) for name, one in wanted.items()}
    assert compare(whole, promised) == {"detections": {"share": 1.0}}
    with pytest.raises(DeviceError, match=r"detections 0.0 % are those promised"):
        compare({**found, "labels": labels + 1}, wanted)


DAMAGED: list[dict[str, object]] = [
    {"format": 2},
    {"outputs": []},
    {"outputs": {"y": {"kind": "x"}}},
    {"latency_ms": "x"},
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_promise_that_is_none(tmp_path: Path, damaged: dict[str, object]) -> None:
    folder = promised(tmp_path / "r")
    change(folder, **damaged)
    with pytest.raises(BundleError, match=r"promise.json cannot be understood"):
        read(Bundle(str(folder)))


def test_engines_of_another_board_are_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where root has made a key, what is not sealed with it is not opened, and is built again."""
    from jetpress.deploy.runner.__main__ import main

    folder = bundle(tmp_path / "b", threads=1)
    words = ["--bundle", str(folder)]
    assert main(["build", *words]) == 0
    key = tmp_path / "board.key"
    monkeypatch.setattr(board_key, "FILE", str(key))
    key.write_bytes(bytes(range(32)))
    key.chmod(0o644)
    assert main(["infer", *words]) == 6
    assert "may be read by others" in capsys.readouterr().err
    key.chmod(0o600)
    assert main(["infer", *words]) == 6
    assert "was not sealed by this board" in capsys.readouterr().err
    assert main(["build", *words]) == 0
    assert '"cached": true' not in capsys.readouterr().out
    assert main(["build", *words]) == 0
    assert '"cached": true' in capsys.readouterr().out
    assert main(["infer", *words]) == 0
    stamp = json.loads((folder / "engines/engine.json").read_text())
    stamp["models"]["compressed"]["sha256"] = "0" * 64
    (folder / "engines/engine.json").write_text(json.dumps(stamp))
    assert main(["infer", *words]) == 6
    key.write_bytes(b"short")
    assert main(["infer", *words]) == 6
    assert "has 5 bytes" in capsys.readouterr().err
