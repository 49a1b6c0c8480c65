"""The whole runner against the API of every TensorRT version, on engines that really compute."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from jetpress.deploy.runner import findings, gpu, memory
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.identity import Board, part_number
from tests.deploy.api import fake
from tests.deploy.api.names import VERSIONS, names
from tests.deploy.runner_bundles import bundle, seal

PROFILE = {"min": [1, 3, 16, 16], "opt": [2, 3, 16, 16], "max": [4, 3, 16, 16]}
INPUTS = [{"name": "images", "shape": [2, 3, 16, 16], "dtype": "float32", "profile": PROFILE}]
PLAN: dict[str, Any] = {
    "backend": "tensorrt",
    "precision": "int8",
    "inputs": INPUTS,
    "workspace_mb": 256,
    "optimization_level": 4,
    "benchmark": {"warmup_ms": 0, "warmup_max_ms": 30, "sessions": 1},
    "models": {
        "compressed": {"file": "model.onnx", "sparse": True},
        "dense": {"file": "dense.onnx", "sparse": False},
    },
}
TWIN = {"file": "model.onnx", "sparse": False, "twin_of": "compressed"}


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`board("8.5")` puts that TensorRT and a GPU into this process, with a HOME of their own."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))

    def install(version: str) -> Any:
        trt = fake.module(version)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        monkeypatch.setattr(gpu, "connect", fake.Gpu)
        return trt

    return install


def events(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], []).append(event)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str, board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trt, place = board(version), bundle(tmp_path / "b", batch="n", **PLAN)
    table = names(version)
    assert main(["build", "--bundle", str(place)]) == 0
    calls = trt.CALLS
    flags = [value for _, name, value in calls if name == "set_flag"]
    weak = "FP16" in table["BuilderFlag"]
    assert flags == (["FP16", "INT8"] if weak else []) + ["SPARSE_WEIGHTS"] + (
        ["FP16", "INT8"] if weak else []
    )
    pools = [value for _, name, value in calls if name in ("set_memory_pool_limit", "max_workspace_size")]
    modern = "set_memory_pool_limit" in table["IBuilderConfig"]
    assert pools == [("WORKSPACE", 256 << 20) if modern else 256 << 20] * 2
    levels = [value for _, name, value in calls if name == "builder_optimization_level"]
    assert levels == ([4, 4] if "builder_optimization_level" in table["IBuilderConfig"] else [])
    detail = {value.name for _, name, value in calls if name == "profiling_verbosity"}
    assert detail == {"DETAILED" if "DETAILED" in table["ProfilingVerbosity"] else "VERBOSE"}

    assert main(["infer", "--bundle", str(place)]) == 0
    code = main(["bench", "--bundle", str(place), "--seconds", "0.02"])
    assert code in (0, 7)
    found = events(capsys)
    built = found["engine"][0]
    assert built["strongly_typed"] is not weak
    assert built["findings"]["sparsity"] == {
        "eligible": 3,
        "eligible_layers": ["a", "b", "c"],
        "chosen": 1,
        "chosen_layers": ["a"],
    }
    assert built["profile"] == {"images": [PROFILE["min"], PROFILE["opt"], PROFILE["max"]]}
    assert built["sparse_layers"] == (1 if "create_engine_inspector" in table["ICudaEngine"] else None)
    assert found["engine"][1]["timing_cache_reused"] is True
    assert ("progress" in found) == ("IProgressMonitor" in table["trt"])

    samples = np.load(place / "samples" / "images.npy")
    truth = ort.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"]).run(
        None, {"images": samples}
    )[0]
    assert np.array_equal(np.load(place / "engines" / "outputs-compressed.npy"), truth)
    result = found["result"][0]
    assert set(result["raw"]) == {"latency", "h2d", "compute", "d2h", "enqueue"}
    assert result["latency"]["median"] == pytest.approx(0.375)
    assert result["parts"]["compute"]["median"] == pytest.approx(0.125)
    assert result["knobs"]["transfers"] is True


KNOBS = {"transfers": True, "spin_wait": False, "cuda_graph": False, "overlap": True}


@pytest.mark.parametrize("version", ["8.2", "10.3", "11.1"])
@pytest.mark.parametrize(
    "asked",
    [{}, {"cuda_graph": True}, {"spin_wait": True}, {"transfers": False}, {"overlap": False},
     {"transfers": False, "cuda_graph": True, "spin_wait": True}],
    ids=lambda asked: "+".join(asked) or "defaults",
)  # fmt: skip
def test_knobs(
    version: str,
    asked: dict[str, bool],
    board: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each knob does what it says, is named in the result, and outputs stay those of an untimed run."""
    board(version)
    made: list[fake.Gpu] = []
    monkeypatch.setattr(gpu, "connect", lambda: made.append(fake.Gpu()) or made[-1])
    plan = {**PLAN, "benchmark": {**PLAN["benchmark"], **asked}}
    place = bundle(tmp_path / "b", batch="n", **plan)
    assert main(["build", "--bundle", str(place)]) == 0
    assert main(["bench", "--bundle", str(place), "--seconds", "0.02"]) in (0, 7)
    result = events(capsys)["result"][0]
    knobs = {**KNOBS, **asked}
    assert {name: result["knobs"][name] for name in KNOBS} == knobs
    device = made[-1]
    assert device.graphs == (2 if knobs["cuda_graph"] else 0), "one graph a model"
    slots = 2 if knobs["overlap"] else 1
    assert device.spinning == [knobs["spin_wait"]] * 6 * slots * 2
    assert device.streams == 6
    parts = {"h2d", "compute", "d2h", "enqueue"} if knobs["transfers"] else {"compute", "enqueue"}
    assert set(result["parts"]) == parts
    assert result["latency"]["median"] == pytest.approx(0.375 if knobs["transfers"] else 0.125)
    assert not any("other outputs" in reason for reason in result["reasons"])


def test_a_knob_that_is_no_truth_value_is_refused(board: Any, tmp_path: Path) -> None:
    board("8.5")
    plan = {**PLAN, "benchmark": {"cuda_graph": "yes"}}
    assert main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **plan))]) == 2


def test_overlap_has_two_runs_under_way_and_no_overlap_has_one() -> None:
    from jetpress.deploy.runner.tensorrt_session import ONE_BY_ONE, Run

    order: list[str] = []

    class Watched(Run):
        def start(self, *_: Any) -> None:
            order.append("start")

        def times(self, moving: bool) -> tuple[float, ...]:
            order.append("end")
            return 1.0, 2.0, 3.0, 0.5

    from jetpress.deploy.runner.tensorrt_session import Session

    for depth, wanted in ((1, "start end " * 3), (2, "start start end start end end")):
        session = object.__new__(Session)
        session.knobs = dict(ONE_BY_ONE)
        session.uploads = session.downloads = []
        session.enqueue = lambda: True
        session.slots = [Watched(fake.Gpu(), {}, False) for _ in range(depth)]
        order.clear()
        found = session.block(0.0, 3)
        assert " ".join(order) == wanted.strip()
        assert found == {"h2d": [1.0] * 3, "compute": [2.0] * 3, "d2h": [3.0] * 3, "enqueue": [0.5] * 3,
                         "latency": [6.0] * 3}  # fmt: skip


@pytest.mark.parametrize("modern", [True, False], ids=["CUDA 11.4 and newer", "CUDA 10.2"])
def test_a_graph_is_captured_once_and_launched(modern: bool) -> None:
    """The C calls in their order; a real libcudart has all of them (next test), a GPU to run them is not here."""
    from jetpress.deploy.runner import graphs

    class Function:
        def __init__(self, name: str, calls: list[str]) -> None:
            self.name, self.calls = name, calls

        def __call__(self, *_: Any) -> int:
            self.calls.append(self.name)
            return 0

    class Library:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def __getattr__(self, name: str) -> Any:
            if name == "cudaGraphInstantiateWithFlags" and not modern:
                raise AttributeError(name)
            function = Function(name, self.calls)
            setattr(self, name, function)
            return function

    library = Library()
    launch = graphs.capture(library, 7, lambda: library.calls.append("enqueue") or True)
    assert launch() is True
    assert launch() is True
    made = "cudaGraphInstantiateWithFlags" if modern else "cudaGraphInstantiate"
    assert library.calls == [
        "cudaStreamBeginCapture", "enqueue", "cudaStreamEndCapture", made, "cudaGraphLaunch", "cudaGraphLaunch",
    ]  # fmt: skip


def test_a_real_libcudart_has_the_calls_of_graphs() -> None:
    from jetpress.deploy.runner import graphs

    paths = gpu.cudart_paths()
    if not paths:
        pytest.skip("no libcudart here")
    library = graphs.load(paths)
    for name in ("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphLaunch", "cudaStreamWaitEvent",
                 "cudaGraphInstantiateWithFlags"):  # fmt: skip
        assert hasattr(library, name)


def test_without_a_gpu_a_real_libcudart_says_so() -> None:
    """The C calls reach the library with the right arguments, and its refusal becomes one sentence."""
    from jetpress.deploy.runner import graphs
    from jetpress.deploy.runner.failures import DeviceError

    paths = gpu.cudart_paths()
    if not paths or Path("/dev/nvidia0").exists():
        pytest.skip("no libcudart here, or a GPU")
    with pytest.raises(DeviceError, match=r"cudaStreamBeginCapture failed with CUDA error \d+"):
        graphs.capture(graphs.load(paths), 0, lambda: pytest.fail("nothing was begun"))


def test_strongly_typed_by_plan(board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TensorRT 10 has both; a plan whose graph carries FP16 asks for strong typing, and sets no flag."""
    trt, place = board("10.3"), bundle(tmp_path / "b", batch="n", **{**PLAN, "strongly_typed": True})
    assert main(["build", "--bundle", str(place)]) == 0
    assert [value for _, name, value in trt.CALLS if name == "set_flag"] == ["SPARSE_WEIGHTS"]
    assert events(capsys)["engine"][0]["strongly_typed"] is True


def test_fp32_graph_in_a_strongly_typed_engine_is_told(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("11.1")
    assert (
        main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **{**PLAN, "precision": "fp16"}))])
        == 0
    )
    assert "it runs in FP32" in capsys.readouterr().err


def test_another_tensorrt_is_refused_before_loading(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    place = bundle(tmp_path / "b", batch="n", **PLAN)
    assert main(["build", "--bundle", str(place)]) == 0
    trt = board("10.3")
    trt.Runtime.deserialize_cuda_engine = None
    assert main(["infer", "--bundle", str(place)]) == 5
    error = events(capsys)["error"][0]
    assert "8.5.0" in error["what"]
    assert "10.3.0" in error["what"]
    assert "build" in error["hint"]


def test_parser_error_names_the_operator(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    board("8.2")
    place = bundle(tmp_path / "b", batch="n", **PLAN)
    model = onnx.load(place / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("NonZero", ["logits"], ["where"]))
    onnx.save(model, place / "model.onnx")
    seal(place)
    assert main(["build", "--bundle", str(place)]) == 5
    assert "NonZero" in events(capsys)["error"][0]["what"]


def test_dla(board: Any, tmp_path: Path) -> None:
    trt = board("8.5")
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "precision": "fp16", "dla_core": 1})
    assert main(["build", "--bundle", str(place)]) == 0
    assert ("IBuilderConfig", "DLA_core", 1) in trt.CALLS
    assert ("IBuilderConfig", "set_flag", "GPU_FALLBACK") in trt.CALLS


def test_gpu_and_both_cores_of_the_dla_alone_and_together(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each model is built for each place and runs there; the runtime's core is set before the engine is loaded."""
    from tests.deploy.runner_schema import faults

    trt = board("8.5")
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "precision": "fp16"})
    places = ["--bundle", str(place), "--places", "gpu,dla0,dla1"]
    assert main(["build", *places]) == 0
    cores = [value for kind, name, value in trt.CALLS if (kind, name) == ("IBuilderConfig", "DLA_core")]
    assert cores == [0, 1, 0, 1]
    capsys.readouterr()
    trt.CALLS.clear()
    assert main(["infer", *places]) == 0
    assert [v for kind, n, v in trt.CALLS if (kind, n) == ("Runtime", "DLA_core")] == [0, 1, 0, 1]
    outputs = [
        np.load(place / "engines" / f"outputs-compressed{where}.npy") for where in ("", "-dla0", "-dla1")
    ]
    assert all(np.array_equal(outputs[0], output) for output in outputs[1:])
    capsys.readouterr()
    assert main(["bench", *places, "--seconds", "0.05", "--concurrent"]) in (0, 7)
    lines = capsys.readouterr().out.splitlines()
    assert [fault for line in lines for fault in faults(json.loads(line))] == []
    found = [json.loads(line) for line in lines]
    names = {event["model"] for event in found if event["event"] == "result"}
    assert names == {
        f"{model}{where}" for model in ("compressed", "dense") for where in ("", "-dla0", "-dla1")
    }
    compared = {(event["of"], event["against"]) for event in found if event["event"] == "ratio"}
    assert ("compressed-dla1", "compressed") in compared
    assert ("compressed", "dense") in compared
    together = next(event for event in found if event["event"] == "concurrent")
    assert set(together["engines"]) == {"compressed", "compressed-dla0", "compressed-dla1"}
    rates = [each["throughput_per_s"] for each in together["engines"].values()]
    assert together["throughput_per_s"] == pytest.approx(sum(rates))


def test_a_core_that_is_not_there(board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board("10.3").Builder.num_DLA_cores = 1
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "precision": "fp16"})
    assert main(["build", "--bundle", str(place), "--places", "dla1"]) == 5
    assert "no DLA core 1 here, TensorRT sees 1" in events(capsys)["error"][0]["what"]


@pytest.mark.parametrize(
    ("asked", "fits", "code", "tried"),
    [(None, 9999, 0, [1000]), (None, 300, 0, [1000, 500, 250]), (256, 100, 5, [256]),
     (None, 10, 5, [1000, 500, 250, 125])],
    ids=["half of what is free", "halved until it fits", "as the plan says", "too little for anything"],
)  # fmt: skip
def test_the_workspace_on_a_board(
    asked: int | None, fits: int, code: int, tried: list[int], board: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What TensorRT takes by itself is all the memory of the GPU, which there is the CPU's, too."""
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/proc/meminfo").write_text(
        "MemTotal: 8000000 kB\nMemAvailable: 2048000 kB\nSwapFree: 0 kB\n"
    )
    (tmp_path / "root/proc/swaps").write_text(
        "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 5\n"
    )
    monkeypatch.setenv("JETPRESS_BOARD", str(tmp_path / "root"))
    trt = board("8.5")
    trt.FITS_MB = fits
    plan = {**PLAN, "workspace_mb": asked, "models": {"one": {"file": "model.onnx"}}}
    assert main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **plan))]) == code
    assert [value[1] >> 20 for _, name, value in trt.CALLS if name == "set_memory_pool_limit"] == tried
    found = events(capsys)
    if code:
        assert "mkswap" in found["error"][0]["hint"]
        assert "nvzramconfig" in found["error"][0]["hint"]
    else:
        assert found["engine"][0]["workspace_mb"] == tried[-1]


def test_a_build_that_may_not_fit_is_said_before() -> None:
    free = memory.Memory(free=1000, swap=200, zram=False)
    assert memory.warning(10 << 20, 500, free) == ""
    assert "take 1700 MiB (an estimate), and 1000 MiB are free" in memory.warning(200 << 20, 500, free)
    assert "nvzramconfig" not in memory.advice(free)
    assert "mkswap" not in memory.advice(free._replace(swap=8192))


@pytest.mark.parametrize("sessions", [1, 2])
def test_with_and_without_copies_are_measured_beside_each_other(
    sessions: int,
    board: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jetpress.deploy.runner import processes
    from tests.deploy.runner_schema import faults

    def inside(words: list[str]) -> dict[str, Any]:
        """The session that is a process of its own elsewhere: the fake is in this one."""
        main(words)
        return {"engines": events(capsys)["session"][0]["engines"]}

    monkeypatch.setattr(processes, "run", inside)
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)
    board("10.3")
    timing = {**PLAN["benchmark"], "memory": "mapped", "sessions": sessions}
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "benchmark": timing})
    assert main(["build", "--bundle", str(place)]) == 0
    assert {event["model"] for event in events(capsys)["engine"]} == {"compressed", "dense"}
    assert main(["bench", "--bundle", str(place), "--seconds", "0.05", "--out", str(tmp_path)]) in (0, 7)
    told = json.loads((tmp_path / "bench.json").read_text())
    assert [fault for event in told for fault in faults(event)] == []
    found = {event["model"]: event for event in told if event["event"] == "result"}
    assert {name: one["knobs"]["memory"] for name, one in found.items()} == {
        "compressed": "copied", "dense": "copied", "compressed-mapped": "mapped", "dense-mapped": "mapped",
    }  # fmt: skip
    assert set(found["compressed-mapped"]["parts"]) == {"compute", "enqueue"}, "nothing is copied"
    assert set(found["compressed"]["parts"]) == {"h2d", "compute", "d2h", "enqueue"}
    assert not any("other outputs" in reason for one in found.values() for reason in one["reasons"])
    ratios = {(event["of"], event["against"]): event["ratio"] for event in told if event["event"] == "ratio"}
    assert set(ratios) == {
        ("compressed", "dense"),
        ("compressed-mapped", "compressed"),
        ("dense-mapped", "dense"),
    }
    assert ratios["dense-mapped", "dense"] == pytest.approx(3.0)  # one of three equal parts


def test_zero_copy_is_for_memory_that_is_shared(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board("10.3")
    facts = fake.Gpu().facts()
    monkeypatch.setattr(fake.Gpu, "facts", lambda _: {**facts, "integrated": False})
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "benchmark": {"memory": "mapped", "sessions": 1}})
    assert main(["build", "--bundle", str(place)]) == 0
    assert main(["bench", "--bundle", str(place)]) == 5
    assert 'memory = "mapped" is for a GPU' in events(capsys)["error"][0]["what"]


RANGES = {"images": 1.0, "b": 2.5, "logits": 9.0, "of another network": 3.0}


@pytest.mark.parametrize("version", ["8.5", "10.3"])
def test_int8_on_a_dla_is_the_graph_without_qdq_and_ranges(
    version: str, board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The GPU's engine is of the file with Q/DQ, the DLA's of the float graph with a range for each tensor."""
    trt = board(version)
    float_file = {"implicit": {"file": "dense.onnx", "ranges": "ranges.json"}}
    models = {"compressed": {"file": "model.onnx", **float_file}}
    place = bundle(tmp_path / "b", **{**PLAN, "inputs": [{**INPUTS[0], "profile": None}], "models": models})
    (place / "ranges.json").write_text(json.dumps(RANGES))
    seal(place)
    asked = ["build", "--bundle", str(place), "--places", "gpu,dla0"]
    assert main(asked) == 0
    given = {value for kind, name, value in trt.CALLS if (kind, name) == ("ITensor", "dynamic_range")}
    assert given == {(-1.0, 1.0), (-2.5, 2.5), (-9.0, 9.0)}
    engines = {event["model"]: event for event in events(capsys)["engine"]}
    on_dla = engines["compressed-dla0"]
    assert on_dla["onnx_sha256"] != engines["compressed"]["onnx_sha256"]
    assert (on_dla["dla"]["ranges"], engines["compressed"]["dla"]) == (3, None)
    plan = json.loads((place / "plan.json").read_text())
    for wrong in ({"ranges": "none.json"}, None):
        plan["models"]["compressed"]["implicit"] = wrong and {"file": "dense.onnx", **wrong}
        (place / "plan.json").write_text(json.dumps(plan))
        seal(place)
        assert main([*asked, "--force"]) == (6 if wrong else 5)
    assert "has Q/DQ alone: every layer would fall back" in events(capsys)["error"][-1]["what"]


def test_since_tensorrt_11_a_dla_takes_what_the_graph_says(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt = board("11.1")
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "dla_core": 0})
    assert main(["build", "--bundle", str(place)]) == 0
    assert ("OnnxParser", "set_flag", "ADJUST_FOR_DLA") in trt.CALLS
    assert not [value for _, name, value in trt.CALLS if name == "dynamic_range"]
    trt.ON_DLA = set()
    assert main(["build", "--bundle", str(place), "--force"]) == 5
    assert ("OnnxParser", "set_flag", "REPORT_CAPABILITY_DLA") in trt.CALLS
    assert "no layer can run on the DLA. node 4: " in capsys.readouterr().err


def test_a_result_of_a_dla_says_how_much_of_it_ran_there(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt = board("10.3")
    place = bundle(
        tmp_path / "b", batch="n", **{**PLAN, "precision": "fp16", "models": {"one": {"file": "model.onnx"}}}
    )
    places = ["--bundle", str(place), "--places", "dla1"]
    assert main(["build", *places]) == 0
    said = events(capsys)["engine"][0]["dla"]
    assert said == {
        "core": 1,
        "layers": 7,
        "capable": 5,
        "share": 5 / 7,
        "ranges": None,
        "loadables": 1,
        "gpu_layers": 2,
    }
    assert main(["bench", *places, "--seconds", "0.02"]) in (0, 7)
    result = events(capsys)["result"][0]
    assert (result["model"], result["knobs"]["dla_core"], result["knobs"]["dla_share"]) == (
        "one-dla1",
        1,
        5 / 7,
    )
    assert "71 % of its layers can run on DLA core 1, the GPU runs the rest" in result["notes"]
    stamp = json.loads((place / "engines/engine.json").read_text())
    del stamp["models"]["one-dla1"]["dla"]
    (place / "engines/engine.json").write_text(json.dumps(stamp))
    assert main(["bench", *places, "--seconds", "0.02"]) == 5
    trt.ON_DLA = set()
    assert main(["build", *places, "--force"]) == 5
    assert "none of its 7 layers runs on the DLA" in events(capsys)["error"][-1]["what"]


def test_the_builders_list_of_a_dla_is_read() -> None:
    """NVIDIA's own tutorial for the DLA, TensorRT 8.4, said twice."""
    lines = ["INFO: ---------- Layers Running on DLA ----------", "INFO: [DlaLayer] {ForeignNode[Conv_0]}",
             "INFO: [DlaLayer] {ForeignNode[Relu_10...Conv_11]}", "INFO: ---------- Layers Running on GPU ----------",
             "INFO: [GpuLayer] POOLING: MaxPool_2", "INFO: [GpuLayer] SHUFFLE: shuffle_between"]  # fmt: skip
    found = findings.read(lines * 2)
    assert (found["dla_loadables"], found["gpu_layers"]) == (2, 1)
    assert findings.of_interest(lines[1])


@pytest.mark.parametrize("text", ["gpu,gpu", "dla2", "", "gpu,,dla0"])
def test_places_that_do_not_exist(text: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["build", "--bundle", str(tmp_path), "--places", text])
    assert ended.value.code == 2


def test_int64_input_takes_the_engines_type() -> None:
    from jetpress.deploy.runner.failures import BundleError
    from jetpress.deploy.runner.tensors import Tensor, fit

    small, large = np.array([[1]], np.int64), np.array([[2**40]], np.int64)
    assert fit(small, Tensor("x", (1, 1), "int32")).dtype == np.int32
    with pytest.raises(BundleError, match="do not fit"):
        fit(large, Tensor("x", (1, 1), "int32"))
    with pytest.raises(BundleError, match="uint8"):
        fit(np.zeros((1, 1), np.uint8), Tensor("x", (1, 1), "float32"))


ELIGIBLE = "(Sparsity) Layers eligible for sparse math: "
PICKED = "(Sparsity) TRT inference plan picked sparse implementation for layers: "
SKIPPED = "WARNING: Skipping tactic 3 due to insufficient memory on requested size of 1073741824 detected"
INT64 = (
    "WARNING: Your ONNX model has been generated with INT64 weights, while TensorRT does not support INT64."
)
FALLBACK = (
    "WARNING: Layer 'x' (POOLING): Unsupported on DLA. Switching this layer's device type to GPU fallback."
)


@pytest.mark.parametrize(
    ("lines", "eligible", "chosen"),
    [
        # TensorRT #1403
        (["[TensorRT] INFO: " + ELIGIBLE + "Conv_0", "[TensorRT] INFO: " + PICKED], ["Conv_0"], []),
        # NVIDIA's developer guide 8.x
        (
            [
                "[03/23/2021-00:14:05] [I] [TRT] " + ELIGIBLE + "conv1, conv2, conv3",
                "[03/23/2021-00:14:05] [I] [TRT] " + PICKED + "conv2, conv3",
            ],
            ["conv1", "conv2", "conv3"],
            ["conv2", "conv3"],
        ),
    ],
)
def test_sparsity_lines_of_tensorrt_8(lines: list[str], eligible: list[str], chosen: list[str]) -> None:
    found = findings.read(lines)["sparsity"]
    assert (found["eligible_layers"], found["chosen_layers"]) == (eligible, chosen)
    assert (found["eligible"], found["chosen"]) == (len(eligible), len(chosen))


def test_every_recorded_builder_line_is_understood() -> None:
    """The file has a pair of lines from each of four sources, in both wordings."""
    lines = (Path(__file__).parents[2] / "probes" / "trt_sparsity_log_lines.txt").read_text().splitlines()
    found = [findings.read(lines[at : at + 2])["sparsity"] for at in range(0, 8, 2)]
    assert [(pair["eligible"], pair["chosen"]) for pair in found] == [(1, 0), (0, 0), (3, 2), (39, 0)]
    assert all(findings.of_interest(line) for line in lines)


def test_sparsity_lines_of_tensorrt_10_last_pass_counts() -> None:
    counts = ((12, 5), (39, 0))
    lines = [
        line
        for eligible, chosen in counts
        for line in (
            f"(Sparsity) Found {eligible} layer(s) eligible to use sparse tactics",
            f"(Sparsity) Chose {chosen} layer(s) using sparse tactics",
        )
    ]
    found = findings.read(lines)["sparsity"]
    assert (found["eligible"], found["chosen"]) == (39, 0)


def test_other_findings() -> None:
    found = findings.read([SKIPPED, INT64, FALLBACK])
    assert (
        found["skipped_tactics"],
        found["skipped_for_memory"],
        found["int64_casts"],
        found["dla_fallback"],
    ) == (1, 1, 1, 1)
    assert found["sparsity"] is None


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        # NVIDIA-AI-IOT/jetson_dla_tutorial #3; DeepStream-Yolo #27; TensorRT #2318; tensorflow-onnx #1632
        ("Layer '/a/Constant' (CONSTANT): Unsupported on DLA. Switching this layer's device type to GPU.", 1),
        ("DLA supports only 8 subgraphs per DLA core. Switching to GPU for layer conv_6", 1),
        ("Default DLA is enabled but layer LSTM is not supported on DLA, falling back to GPU.", 1),
        ("DLA only supports FP16 and Int8 precision type. Switching x [Gather] device type to GPU.", 1),
        ("Switching to another tactic", 0),
    ],
)
def test_every_wording_of_a_fallback_is_counted(line: str, counted: int) -> None:
    assert findings.read([line])["dla_fallback"] == counted
    assert findings.of_interest(line) == bool(counted)


@pytest.mark.parametrize(
    ("compatible", "part"),
    [
        (["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"], "p3448-0000"),
        (["nvidia,p2972-0000", "nvidia,p2822-0000+p2888-0001", "nvidia,tegra194"], "p2888-0001"),
        (["nvidia,p3768-0000+p3767-0003-super", "nvidia,p3767-0003", "nvidia,tegra234"], "p3767-0003"),
        (["nvidia,p3767-0004", "nvidia,tegra234"], "p3767-0004"),
        (["raspberrypi,4-model-b"], None),
        ([""], None),
    ],
)
def test_the_part_number_is_the_modules_not_the_carriers(compatible: list[str], part: str | None) -> None:
    assert part_number(compatible) == part


def test_a_board_that_the_bundle_is_not_for(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    target = {"name": "xavier-nx", "tensorrt": "8.2.1", "compute_capability": [7, 2]}
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "target": target})
    assert main(["build", "--bundle", str(place)]) == 5
    what = events(capsys)["error"][0]["what"]
    assert "7.2" in what
    assert "8.7" in what
    assert not (place / "engines").exists()
    assert main(["build", "--bundle", str(place), "--other-device"]) == 0
    assert "made for TensorRT 8.2.1, here is 8.5.0" in capsys.readouterr().err


def test_a_damaged_timing_cache_is_not_opened(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    place = bundle(tmp_path / "b", batch="n", **PLAN)
    assert main(["build", "--bundle", str(place)]) == 0
    (cache,) = (Path.home() / ".jetpress" / "timings").glob("*/timing.cache")
    cache.write_bytes(b"9.9.9")
    capsys.readouterr()
    assert main(["build", "--bundle", str(place), "--force"]) == 0
    assert [event["timing_cache_reused"] for event in events(capsys)["engine"]] == [False, True]


def test_a_sparse_engine_is_timed_beside_the_same_without_sparse_kernels(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt = board("10.3")
    place = bundle(tmp_path / "b", **{**PLAN, "models": {**PLAN["models"], "not-sparse": TWIN}})
    assert main(["build", "--bundle", str(place)]) == 0
    flags = [value for _, name, value in trt.CALLS if name == "set_flag"]
    assert flags.count("SPARSE_WEIGHTS") == 1
    main(["bench", "--bundle", str(place), "--seconds", "0.02"])
    found = [(one["of"], one["against"]) for one in events(capsys)["ratio"]]
    assert found == [("compressed", "dense"), ("compressed", "not-sparse")]


def test_timings_are_shared_by_bundles_and_kept_apart_by_version(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reused = []
    for at, version in enumerate(("8.5", "8.5", "10.3", "10.3")):
        board(version)
        place = bundle(tmp_path / str(at), batch="n", **PLAN)
        assert main(["build", "--bundle", str(place)]) == 0
        said = capsys.readouterr()
        told = [json.loads(line) for line in said.out.splitlines()]
        reused.append([event["timing_cache_reused"] for event in told if event["event"] == "engine"])
        # 8.5 has no progress monitor: what is known is how long it took last time
        assert ("the last build here took" in said.err) == (version == "8.5")
        stamp = json.loads((place / "engines" / "engine.json").read_text())
        assert f"tensorrt-{version}" in stamp["timing_cache"]["file"]
    assert reused == [[False, True], [True, True], [False, True], [True, True]]


def test_engines_and_timings_are_of_a_module_and_its_power_mode(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was chosen at 15 W is not used at MAXN, nor an Orin NX's on an Orin Nano: both are called Orin."""
    trees = tmp_path / "board/proc/device-tree"
    trees.mkdir(parents=True)
    monkeypatch.setenv("JETPRESS_BOARD", str(tmp_path / "board"))
    place = bundle(tmp_path / "b", batch="n", **PLAN)

    def build(part: str, mode: str, command: str = "build") -> tuple[int, list[dict[str, Any]]]:
        board("10.3")
        (trees / "compatible").write_text(f"nvidia,p3768-0000+{part}-super\0nvidia,tegra234\0")
        monkeypatch.setattr(Board, "power_mode", lambda _: mode)
        code = main([command, "--bundle", str(place)])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    _, told = build("p3767-0003", "15W")
    stamp = told[-2]["stamp"]
    named = {name: stamp[name] for name in ("module", "multiprocessors", "memory_gb", "power_mode")}
    assert named == {"module": "p3767-0003", "multiprocessors": 8, "memory_gb": 8, "power_mode": "15W"}
    code, told = build("p3767-0003", "MAXN_SUPER", "infer")
    (failed,) = [event for event in told if event["event"] == "error"]
    assert (code, "power mode 15W" in failed["what"], "MAXN_SUPER" in failed["what"]) == (5, True, True)
    assert "bring 15W back" in failed["hint"]
    for part, mode, cached in (("p3767-0003", "MAXN_SUPER", False), ("p3767-0003", "MAXN_SUPER", True),
                               ("p3767-0001", "MAXN_SUPER", False)):  # fmt: skip
        engines = [event for event in build(part, mode)[1] if event["event"] == "engine"]
        assert [event["cached"] for event in engines] == [cached] * 2
        assert [event["timing_cache_reused"] for event in engines] == [False, True], "a cache for each"


def test_a_home_that_cannot_be_written_costs_the_timings_alone(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **PLAN))]) == 0
    said = capsys.readouterr()
    assert "timings of kernels are not kept" in said.err
    assert '"timing_cache_reused": true' not in said.out


@pytest.mark.parametrize("version", ["8.2", "11.1"])
def test_errors_are_named_with_their_codes(
    version: str, board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    board(version)
    place = bundle(tmp_path / "b", batch="n", **PLAN)
    model = onnx.load(place / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("Det", ["logits"], ["where"]))
    onnx.save(model, place / "model.onnx")
    seal(place)
    assert main(["build", "--bundle", str(place)]) == 5
    assert "INTERNAL_ERROR: no tactic for Det" in events(capsys)["error"][0]["what"]


def test_the_recorder_keeps_what_it_can() -> None:
    from jetpress.deploy.runner import tensorrt_errors

    recorder = tensorrt_errors.make_recorder(fake.module("8.5"))
    assert tensorrt_errors.last_errors(recorder) == ""
    for number in range(tensorrt_errors.KEPT + 1):
        assert recorder.report_error(number, "text")
    assert recorder.has_overflowed()
    assert (
        recorder.get_num_errors() == recorder.num_errors == tensorrt_errors.KEPT
    )  # the trampoline's name, and ours
    assert (recorder.get_error_code(7), recorder.get_error_desc(7)) == (7, "text")
    recorder.clear()
    assert (recorder.num_errors, recorder.has_overflowed()) == (0, False)


def test_tensorrt_rtx_reports_to_the_recorder(tmp_path: Path) -> None:
    """The real one: an operator that it parses and has no kernel for."""
    trt = pytest.importorskip("tensorrt_rtx")
    import onnx

    from jetpress.deploy.runner.backend_tensorrt import make_log
    from jetpress.deploy.runner.settings import Input, Settings
    from jetpress.deploy.runner.tensorrt_build import build_engine
    from jetpress.deploy.runner.tensorrt_errors import last_errors

    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["rows"], name="search"),
        helper.make_node("Cast", ["rows"], ["y"], to=kind.FLOAT),
    ]
    shapes = {"boxes": [1, 8, 4], "scores": [1, 2, 8]}
    constants = {"most": np.array([5]), "iou": np.array([0.5], np.float32)}
    graph = helper.make_graph(
        nodes,
        "search",
        [helper.make_tensor_value_info(name, kind.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", kind.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7),
        tmp_path / "model.onnx",
    )
    log = make_log(trt)
    settings = Settings("m", "fp32", [Input(name, shape) for name, shape in shapes.items()])
    plan, _ = build_engine(trt, log, str(tmp_path / "model.onnx"), settings)
    assert plan is None
    assert "INTERNAL_ERROR: " in last_errors(log.recorder)
    assert "no runners that implement it" in last_errors(log.recorder)
