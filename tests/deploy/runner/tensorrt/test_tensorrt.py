"""The whole runner against the API of every TensorRT version, on engines that really compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from jetpress.deploy.runner.__main__ import main
from tests.deploy.api import fake
from tests.deploy.api.names import VERSIONS, names
from tests.deploy.runner.plans import PLAN, PROFILE, TWIN, events
from tests.deploy.runner_bundles import bundle, seal


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


def test_int64_input_takes_the_engines_type() -> None:
    from jetpress.deploy.runner.interface.tensors import Tensor, fit
    from jetpress.deploy.runner.system.failures import BundleError

    small, large = np.array([[1]], np.int64), np.array([[2**40]], np.int64)
    assert fit(small, Tensor("x", (1, 1), "int32")).dtype == np.int32
    with pytest.raises(BundleError, match="do not fit"):
        fit(large, Tensor("x", (1, 1), "int32"))
    with pytest.raises(BundleError, match="uint8"):
        fit(np.zeros((1, 1), np.uint8), Tensor("x", (1, 1), "float32"))


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
    from jetpress.deploy.runner.tensorrt import errors as tensorrt_errors

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

    from jetpress.deploy.runner.backends.tensorrt import make_log
    from jetpress.deploy.runner.interface.settings import Input, Settings
    from jetpress.deploy.runner.tensorrt.build import build_engine
    from jetpress.deploy.runner.tensorrt.errors import last_errors

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
