"""The zipapp as its user meets it: a file, a bundle, a line; real engines (ONNX Runtime, TensorRT-RTX)."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from jetpress.deploy import runner
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.backends import onnxruntime as backend_onnxruntime
from jetpress.deploy.runner.board import machine
from jetpress.deploy.runner.decode.detections import detections
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.system.failures import BundleError, DeviceError, DigestMismatch
from tests.deploy.runner_bundles import bundle, seal, start
from tests.deploy.runner_schema import faults

SOURCE = Path(runner.__file__).parent
PYTHONS = [Path(sys.executable), *sorted(Path("~/.pyenv/versions").expanduser().glob("3.[68].*/bin/python"))]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pyz") / "runner.pyz"
    pack(path)
    return path


@pytest.fixture(scope="module")
def built(pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[dict[str, Any]]]:
    """A bundle, its engines, and what `build` said; tests only read them."""
    root = tmp_path_factory.mktemp("built")
    place = bundle(root / "bundle")
    code, events, _ = start(pyz, "build", "--bundle", place, "--out", root / "engines")
    assert code == 0
    return place, root / "engines", events


def inside(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict[str, Any]], str]:
    """The same as `start`, in this process: no second interpreter, no second import of the runtime."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def only(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_the_cuda_provider_is_there_or_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime by itself goes on with the CPU without a word, and its times would be called a GPU's."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU here")
    has = "CUDAExecutionProvider" in ort.get_available_providers()
    place = bundle(tmp_path / "b", provider="cuda")
    code, events, _ = inside(capsys, "build", "--bundle", place)
    assert code == 3
    assert ("onnxruntime-gpu" in (only(events, "error") + only(events, "skipped"))[0]["hint"]) is not has
    backend = backend_onnxruntime.Backend({})
    backend.providers = [(backend_onnxruntime.CUDA, {}), *backend.providers]
    settings = Bundle(str(bundle(tmp_path / "cpu"))).settings("dense")
    with pytest.raises(DeviceError, match="fell back to the CPU"):
        backend.build(str(tmp_path / "cpu/dense.onnx"), settings, str(tmp_path / "draft"), None)
    assert inside(capsys, "build", "--bundle", bundle(tmp_path / "c", provider="tpu"))[0] == 2


def test_packed_twice_is_the_same_file(pyz: Path, tmp_path: Path) -> None:
    pack(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()
    assert os.access(pyz, os.X_OK)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_parses_as_python_3_6(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parts[-3])
def test_doctor_runs_on_this_python_and_explains(pyz: Path, python: Path) -> None:
    line = "import sys; [compile(open(name, encoding='utf-8').read(), name, 'exec') for name in sys.argv[1:]]"
    assert subprocess.run([python, "-c", line, *SOURCE.rglob("*.py")]).returncode == 0
    code, events, prose = start(pyz, "doctor", python=str(python))
    assert [fault for event in events for fault in faults(event)] == []
    checks = {event["name"]: event for event in only(events, "check")}
    assert not checks["tensorrt"]["ok"]
    assert "python3-libnvinfer" in checks["tensorrt"]["remedy"]
    assert "python3-libnvinfer" in prose
    usable = checks["numpy"]["ok"] and any(
        checks[name]["ok"] for name in ("tensorrt", "tensorrt_rtx", "onnxruntime")
    )
    assert code == (0 if usable else 3)
    assert "Traceback" not in prose


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parts[-3])
def test_what_needs_no_numpy_is_imported_by_this_python(pyz: Path, python: Path) -> None:
    """Not only parsed: the modules of clocks, power and trtexec, and one line of tegrastats."""
    line = (Path(__file__).parents[2] / "probes" / "tegrastats_jp4_nano_r32.txt").read_text().splitlines()[0]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from runner import __main__\n"
        "from runner.board import clocks, sensors, tegrastats, watch\n"
        "from runner.cuda import graphs\n"
        "from runner.interface import knobs\n"
        "from runner.measure import trtexec\n"
        "print(tegrastats.parse(sys.argv[2]).total_milliwatt, watch.Watch(watch.Board()).useful)"
    )
    done = subprocess.run([python, "-c", code, pyz, line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) == 900


def test_doctor_knows_the_missing_dla_compiler() -> None:
    from jetpress.deploy.runner.system.remedies import tensorrt_import

    said = "ImportError: libnvdla_compiler.so: cannot open shared object file: No such file or directory"
    assert "nvidia-l4t-dla-compiler" in tensorrt_import(said)
    assert "--runtime nvidia" in tensorrt_import("libnvinfer.so.8: cannot open shared object file")


def test_build_stamps_its_engines(built: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    place, engines, events = built
    assert [fault for event in events for fault in faults(event)] == []
    stamp = json.loads((engines / "engine.json").read_text())
    assert stamp == only(events, "built")[0]["stamp"]
    assert stamp["version"] == ort.__version__
    manifest = json.loads((place / "manifest.json").read_text())["files"]
    assert stamp["models"]["dense"]["onnx_sha256"] == manifest["dense.onnx"]["sha256"]
    assert sorted(path.name for path in engines.iterdir()) == [
        "compressed.ort.onnx",
        "dense.ort.onnx",
        "engine.json",
    ]


def test_second_build_keeps_what_fits(
    capsys: pytest.CaptureFixture[str], built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    place, engines, _ = built
    shutil.copytree(engines, tmp_path / "engines")
    (tmp_path / "engines" / "dense.ort.onnx").write_bytes(b"cut")
    _, events, _ = inside(capsys, "build", "--bundle", place, "--out", tmp_path / "engines")
    assert {event["model"]: event["cached"] for event in only(events, "engine")} == {
        "compressed": True,
        "dense": False,
    }


def test_two_builds_at_once_build_once(pyz: Path, tmp_path: Path) -> None:
    place = bundle(tmp_path / "bundle")
    words = [sys.executable, str(pyz), "build", "--bundle", str(place)]
    children = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    lines = [json.loads(line) for child in children for line in child.communicate(timeout=60)[0].splitlines()]
    assert sorted(event["cached"] for event in only(lines, "engine")) == [False, False, True, True]


def test_infer_equals_onnxruntime(
    pyz: Path, built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    place, engines, _ = built
    code, events, _ = start(pyz, "infer", "--bundle", place, "--engines", engines, "--out", tmp_path)
    assert code == 0
    assert [fault for event in events for fault in faults(event)] == []
    samples, labels = (np.load(place / "samples" / f"{name}.npy") for name in ("images", "labels"))
    session = ort.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    padded = np.concatenate([samples, samples[-1:]])
    truth = np.concatenate([session.run(None, {"images": padded[at : at + 2]})[0] for at in (0, 2, 4)])[:5]
    outputs = np.load(tmp_path / "outputs-compressed.npy")
    np.testing.assert_allclose(outputs, truth, rtol=1e-4, atol=1e-6)
    said = next(event for event in only(events, "infer") if event["model"] == "compressed")
    assert said["top1"] == pytest.approx((truth.argmax(1) == labels).mean())
    assert said["outputs"][0]["finite"] is True


def test_bench_interleaves_and_publishes(
    pyz: Path, built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    place, engines, _ = built
    words = ("--bundle", place, "--engines", engines, "--seconds", 0.4, "--sessions", 3, "--out", tmp_path)
    code, events, prose = start(pyz, "bench", *words)
    assert [fault for event in events for fault in faults(event)] == []
    results = {event["model"]: event for event in only(events, "result")}
    ratio = only(events, "ratio")[0]
    assert code == (7 if ratio["state"] == "unknown" else 0), prose
    for result in results.values():
        assert (
            result["runs"]
            == len(result["raw"]["latency"])
            == sum(block["runs"] for block in result["blocks"])
            >= 64
        )
        assert result["interval"][0] <= result["latency"]["median"] <= result["interval"][1]
        assert result["level"] == 95
        assert {block["session"] for block in result["blocks"]} == {1, 2, 3}
        assert result["seconds"] >= 0.4
        assert any("a number to quote needs" in reason for reason in result["reasons"])
    order = sorted((block["start"], model) for model, result in results.items() for block in result["blocks"])
    assert [model for _, model in order[:8]] == ["compressed", "dense", "dense", "compressed"] * 2
    second = [(block["start"], model) for model, result in results.items() for block in result["blocks"]
              if block["session"] == 2]  # fmt: skip
    assert [model for _, model in sorted(second)[:4]] == ["dense", "compressed", "compressed", "dense"]
    assert ratio["verdict"] == "faster", "a network of 8 channels against one of 32"
    assert (ratio["level"], ratio["sessions"], len(ratio["session_ratios"])) == (95, 3, 3)
    assert ratio["pairs"] == len(ratio["pairs_ms"]) >= 24
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [event["event"] for event in written] == ["machine", "result", "result", "ratio"]
    assert prose.startswith(f"machine: {written[0]['line']}")
    with_knobs = results["dense"]["knobs"]
    assert (with_knobs["threads"], with_knobs["batch"], with_knobs["transfers"]) == (1, 2, False)


def test_a_profile_is_as_published(
    capsys: pytest.CaptureFixture[str], built: tuple[Path, Path, list[dict[str, Any]]]
) -> None:
    place, engines, _ = built
    code, events, _ = inside(capsys, "profile", "--bundle", place, "--engines", engines)
    assert code == 0
    assert [fault for event in events for fault in faults(event)] == []
    profiles = {event["model"]: event for event in only(events, "profile")}
    assert set(profiles) == {"compressed", "dense"}
    for event in profiles.values():
        assert any("Conv" in layer or "_nchwc" in layer for layer in event["layers"])
        assert 0 < sum(event["layers"].values()) < 20 * event["latency_ms"]


def test_every_event_of_the_code_is_in_the_schema() -> None:
    """Whoever emits a new event publishes its shape."""
    from tests.deploy.runner_schema import SCHEMA

    published = {shape["properties"]["event"]["const"] for shape in SCHEMA["oneOf"]}
    emitted = {
        node.args[0].value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "emit"
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert emitted == published


class Cached:
    """A session that is `slow` on inputs which it has not just seen: a benchmark of it would measure a cache."""

    def __init__(self, session: Any, slow: float) -> None:
        self.inner, self.slow, self.known, self.inputs = session, slow, b"", session.inputs

    def bind(self, feeds: dict[str, Any]) -> None:
        seen = next(iter(feeds.values())).tobytes()
        self.fresh, self.known = seen != self.known, self.known or seen

    def block(self, milliseconds: float, least: int) -> dict[str, list[float]]:
        return {"latency": [1.0 * (self.slow if self.fresh else 1.0)] * least}


@pytest.mark.parametrize(("slow", "found"), [(1.0, 1.0), (1.3, 1.3)])
def test_other_inputs_that_take_longer_are_seen(
    built: tuple[Path, Path, list[dict[str, Any]]], slow: float, found: float
) -> None:
    from jetpress.deploy.runner.engines.infer import different_batches
    from jetpress.deploy.runner.measure import session as sessions

    place, engines, _ = built
    entry = sessions.entries_of(Bundle(str(place)), str(engines))["dense"]
    batches = different_batches(entry.bundle, entry.session, 4)
    assert not any(np.array_equal(batch["images"], entry.feeds["images"]) for batch in batches)
    session = Cached(entry.session, slow)
    session.bind(entry.feeds)
    said = sessions.varied(entry._replace(session=session))
    assert [*said.interval, said.ratio] == pytest.approx([found] * 3)


def test_what_an_engine_reads_and_writes_begins_at_a_page(
    built: tuple[Path, Path, list[dict[str, Any]]],
) -> None:
    """Else one of two equal engines is always the faster one: by where its arrays happen to begin."""
    from jetpress.deploy.runner.interface.tensors import PAGE, on_a_page
    from jetpress.deploy.runner.measure.session import entries_of

    place, engines, _ = built
    entry = entries_of(Bundle(str(place)), str(engines))["dense"]
    entry.session.bind(entry.feeds)
    for array in (*entry.session.held.values(), *entry.session.bound.values()):  # type: ignore[attr-defined]
        assert array.ctypes.data % PAGE == 0
    for array in (np.arange(7, dtype=np.float16), np.array(True), np.zeros((0, 3)), np.eye(3)[:, ::2]):
        assert np.array_equal(on_a_page(array), array)


def test_one_line_inside_the_bundle(tmp_path: Path) -> None:
    place = bundle(tmp_path / "bundle")
    pack(place / "runner.pyz")
    seal(place)
    code, events, _ = start(place / "runner.pyz")
    assert code in (0, 7)
    assert {event["event"] for event in events} >= {"engine", "built", "infer", "result", "ratio", "done"}
    assert (place / "engines" / "outputs-dense.npy").exists()


def test_dynamic_batch_and_noise_without_samples(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = bundle(tmp_path / "bundle", batch="n", samples=0)
    assert inside(capsys, "build", "--bundle", place)[0] == 0
    code, events, _ = inside(capsys, "infer", "--bundle", place)
    assert code == 2
    assert "no samples" in only(events, "error")[0]["what"]
    code, events, _ = inside(capsys, "bench", "--bundle", place, "--seconds", 0.1)
    assert code in (0, 7)
    assert len(only(events, "result")) == 2


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"format": 2}, "format must be 1"),
        ({"backend": "torch"}, "backend must be one of"),
        ({"precision": ["fp32"]}, "precision must be one of"),
        ({"models": {}}, "models must name"),
        ({"models": {"a/b": {"file": "model.onnx"}}}, "cannot be a file name"),
        ({"models": {"a": ["model.onnx"]}}, "model a names no file"),
        ({"models": {"a": {"file": "model.onnx", "dla_core": "0"}}}, "dla_core of model a must be a whole"),
        ({"inputs": [{"name": "images", "shape": [0]}]}, "shape must be positive"),
        ({"inputs": [{"name": "images", "shape": [1], "profile": {"min": [1]}}]}, "needs min, opt, max"),
        ({"compute_capabilities": 8.6}, "compute_capabilities must be a list"),
        ({"workspace_mb": "much"}, "workspace_mb must be a whole number"),
        ({"threads": "two"}, "threads must be a whole number"),
        ({"target": ["host"]}, "target must be an object"),
    ],
)
def test_a_plan_that_would_be_misread_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], what: str
) -> None:
    code, events, _ = inside(capsys, "build", "--bundle", bundle(tmp_path / "bundle", **changes))
    assert code == 2
    assert what in only(events, "error")[0]["what"]


@pytest.mark.parametrize(
    ("rules", "what"), [({"iou": "half"}, "detection.iou"), ({"levels": [1.5]}, "detection.levels")]
)
def test_rules_of_detections_are_numbers(rules: dict[str, Any], what: str) -> None:
    good = {"score": 0.1, "iou": 0.5, "candidates": 10, "detections": 5, "first_label": 1}
    outputs = {
        "boxes": np.array([[[0, 0, 1, 1]]], np.float32),
        "scores": np.array([[[0.9]]], np.float32),
    }
    assert [array.tolist() for array in detections(outputs, good)[0]][2] == [1]
    with pytest.raises(BundleError, match=what):
        detections(outputs, {**good, **rules})


@pytest.mark.parametrize("name", ["model.onnx", "dense.onnx", "plan.json", "samples/images.npy"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "longer"])
def test_a_changed_file_is_refused_before_it_is_parsed(
    pyz: Path, tmp_path: Path, name: str, harm: str
) -> None:

    place = bundle(tmp_path / "bundle")
    path = place / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-1], "longer": data + b"\0"}.get(harm, data))
    if harm == "gone":
        path.unlink()
    with pytest.raises(DigestMismatch, match=r"expected .* bytes, sha256 .*found"):
        Bundle(str(place))
    if harm == "flip":
        code, events, prose = start(pyz, "build", "--bundle", place)
        assert code == 6
        assert only(events, "error")[0]["exit"] == 6
        assert "Traceback" not in prose


def test_a_bundle_that_is_not_there_is_a_wrong_name_and_no_broken_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--bundle", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["build", "--bundle", str(tmp_path), "--out", str(tmp_path / "out")]) == 6


@pytest.mark.parametrize(
    "name", ["../outside.bin", "/etc/hostname", "link.bin", "a/../../outside.bin", "fifo"]
)
def test_a_manifest_cannot_lead_out_of_the_bundle(tmp_path: Path, name: str) -> None:

    place = bundle(tmp_path / "bundle")
    (tmp_path / "outside.bin").write_bytes(b"secret")
    (place / "link.bin").symlink_to(tmp_path / "outside.bin")
    os.mkfifo(place / "fifo")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "size": 0 if name == "fifo" else 6}
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DigestMismatch, match=r"leads out|not a regular file"):
        Bundle(str(place))


def test_a_changed_engine_is_never_loaded(
    capsys: pytest.CaptureFixture[str], built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    place, engines, _ = built
    shutil.copytree(engines, tmp_path / "engines")
    path = tmp_path / "engines" / "dense.ort.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    for command in ("infer", "bench"):
        code, events, _ = inside(capsys, command, "--bundle", place, "--engines", tmp_path / "engines")
        assert code == 6
        assert "expected" in only(events, "error")[0]["what"]


def test_engines_of_another_model_or_runtime_are_refused(
    capsys: pytest.CaptureFixture[str], built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    place, engines, _ = built
    shutil.copytree(place, tmp_path / "bundle")
    shutil.copy(place / "dense.onnx", tmp_path / "bundle" / "model.onnx")
    seal(tmp_path / "bundle")
    code, events, _ = inside(capsys, "infer", "--bundle", tmp_path / "bundle", "--engines", engines)
    assert (code, "was built from" in only(events, "error")[0]["what"]) == (6, True)

    shutil.copytree(engines, tmp_path / "engines")
    stamp = json.loads((engines / "engine.json").read_text()) | {"version": "1.0.0"}
    (tmp_path / "engines" / "engine.json").write_text(json.dumps(stamp))
    code, events, _ = inside(capsys, "infer", "--bundle", place, "--engines", tmp_path / "engines")
    what = only(events, "error")[0]["what"]
    assert code == 5
    assert "1.0.0" in what
    assert ort.__version__ in what


def test_samples_with_objects_are_refused(
    capsys: pytest.CaptureFixture[str], built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    place, engines, _ = built
    shutil.copytree(place, tmp_path / "bundle")
    np.save(tmp_path / "bundle" / "samples" / "images.npy", np.array([object]))
    seal(tmp_path / "bundle")
    code, events, prose = inside(capsys, "infer", "--bundle", tmp_path / "bundle", "--engines", engines)
    assert code == 2
    assert "not a plain .npy" in only(events, "error")[0]["what"]
    assert "Traceback" not in prose


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": 2}, "format"),
        ({"backend": "openvino"}, "backend"),
        ({"precision": "fp4"}, "precision"),
        ({"models": {}}, "models"),
        ({"models": {"../x": {"file": "model.onnx"}}}, "file name"),
        ({"inputs": [{"name": "images", "shape": [-1, 3, 16, 16]}]}, "shape"),
        ({"inputs": [{"name": "images", "shape": [1], "profile": {"min": [1]}}]}, "profile"),
    ],
)
def test_a_plan_that_we_would_misread(tmp_path: Path, changes: dict[str, Any], word: str) -> None:

    with pytest.raises(BundleError, match=word):
        Bundle(str(bundle(tmp_path / "bundle", **changes)))


def test_tensorrt_bundle_without_tensorrt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, events, prose = inside(capsys, "build", "--bundle", bundle(tmp_path / "bundle", backend="tensorrt"))
    assert code == 3
    assert "python3-libnvinfer" in only(events, "error")[0]["hint"]
    assert [fault for event in events for fault in faults(event)] == []
    assert "Traceback" not in prose


def test_rtx_builds_ahead_of_time_and_then_waits_for_a_gpu(pyz: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    place = bundle(tmp_path / "bundle", backend="tensorrt_rtx", compute_capabilities=["8.6", "8.9"])
    code, events, _ = start(pyz, "build", "--bundle", place)
    assert code == 0
    assert [fault for event in events for fault in faults(event)] == []
    engine = only(events, "engine")[0]
    assert engine["ahead_of_time"] == ["8.6", "8.9"]
    assert engine["strongly_typed"] is True
    assert (place / "engines" / "compressed.engine").stat().st_size == engine["size"] > 10_000
    if not Path("/dev/nvidia0").exists():
        code, events, _ = start(pyz, "bench", "--bundle", place)
        assert code == 3
        assert [event["event"] for event in events] == ["signature", "machine", "skipped", "done"]
        assert "no CUDA device" in events[2]["what"]


def test_rtx_names_the_capabilities_it_knows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    place = bundle(tmp_path / "bundle", backend="tensorrt_rtx", compute_capabilities=["5.3"])
    code, events, _ = inside(capsys, "build", "--bundle", place)
    assert code == 5
    assert "5.3" in only(events, "error")[0]["what"]
    assert "SM86" in only(events, "error")[0]["hint"]


def test_ctrl_c(pyz: Path, built: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    place, engines, _ = built
    words = [
        sys.executable,
        str(pyz),
        "bench",
        "--bundle",
        str(place),
        "--engines",
        str(engines),
        "--seconds",
        "10",
    ]
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        child = subprocess.Popen(words, stdout=stdout, stderr=stderr)
        until = time.monotonic() + 15
        while "machine" not in err.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        child.wait(timeout=20)
    assert child.returncode == 130
    assert json.loads(out.read_text().splitlines()[-1])["exit"] == 130
    assert "Traceback" not in err.read_text()


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">&-", 5, "it is closed"),
        (">/dev/full", 5, "No space left"),
        ("2>&- >/dev/null", 2, ""),
        ("2>/dev/full >/dev/null", 2, ""),
        (">&- 2>&-", 5, ""),
    ],
)
def test_streams_that_nobody_reads(pyz: Path, streams: str, code: int, said: str) -> None:
    command = f'"$0" "$1" build --bundle nowhere {streams}'
    words = ["sh", "-c", command, sys.executable, str(pyz)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_two_benches_at_once_say_so(
    built: tuple[Path, Path, list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, engines, _ = built
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = (
        "bench",
        "--bundle",
        place,
        "--engines",
        engines,
        "--seconds",
        0.05,
        "--runs",
        5,
        "--sessions",
        1,
    )
    with machine.measuring() as others:
        assert not others()
        _, events, prose = inside(capsys, *words)
        assert not others()
    together = "another benchmark ran on this machine at the same time"
    assert all(any(together in one for one in event["reasons"]) for event in only(events, "result"))
    assert "another benchmark runs on this machine now" in prose
    _, events, prose = inside(capsys, *words)
    assert together not in str(events)
    assert "another benchmark" not in prose


def test_usage_error_is_no_traceback(pyz: Path) -> None:
    code, _, prose = start(pyz, "bench")
    assert code == 2
    assert "--bundle" in prose


def test_ctypes_takes_every_function_from_a_real_libcudart() -> None:
    """The third way to device memory: all symbols exist, and without a driver the error is CUDA's own."""
    from jetpress.deploy.runner.cuda import cudart

    paths = cudart.cudart_paths()
    if not paths:
        pytest.skip("no libcudart here")
    library = cudart.Cudart(paths[0])
    error, count = library.cudaGetDeviceCount()  # type: ignore[attr-defined]
    assert (error == 0) == (count > 0)
