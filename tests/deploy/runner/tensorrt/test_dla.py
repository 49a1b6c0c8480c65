"""Engines on a DLA: cores, INT8 by version, and what ran there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.tensorrt import findings
from tests.deploy.runner.plans import INPUTS, PLAN, events
from tests.deploy.runner_bundles import bundle, seal


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
