"""Packages for boards: what stands in them, to the letter, by the readers' own schemas, and what is refused."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from jetpress.deploy.errors import RecipeError, TrustError
from jetpress.deploy.formats import FORMATS, package
from jetpress.deploy.runner.__main__ import main as runner
from jetpress.deploy.runner.decode.detections import detections
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.pipeline.cli.packaging import KINDS
from tests.deploy.formats import runs
from tests.deploy.runner_bundles import bundle, seal

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = {
    "deepstream": (
        "config_infer.txt",
        "deepstream_app.txt",
        "parser.cpp",
        "plan.hpp",
        "labels.txt",
        "README.md",
    ),
    "triton": ("models/*/config.pbtxt", "client.py", "build.sh", "README.md"),
    "isaac-ros": ("*.launch.py", "decoder.py", "README.md"),
    "jetson-inference": ("run.sh", "labels.txt", "README.md"),
    "python": ("example.py", "README.md"),
    "cpp": ("plan.hpp", "main.cpp", "CMakeLists.txt", "README.md"),
}
"""Text that must not change unseen; everything else in a package is copied."""
SETTINGS: dict[str, tuple[str, ...]] = {
    "classification": (),
    "detection": (*runs.GREY, "export.dynamic_batch=true", "export.batch=2"),
    "segmentation": (),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A run of each task for a board; the detector's batch is open, its pixels are normalised alike."""
    root = tmp_path_factory.mktemp("board")
    return {task: runs.a_run(root / task, task, "orin-nano", *SETTINGS[task]) for task in runs.TASKS}


@pytest.fixture(scope="module")
def packages(made: Mapping[str, Path]) -> Mapping[tuple[str, str], Path]:
    kinds = {
        task: [kind for kind in FORMATS if kind != "jetson-inference" or task == "segmentation"]
        for task in made
    }
    return {(task, kind): package(made[task], kind) for task in made for kind in kinds[task]}


def test_the_command_knows_every_format() -> None:
    assert tuple(FORMATS) == KINDS


def test_what_is_written_is_what_was_looked_at(packages: Mapping[tuple[str, str], Path]) -> None:
    """To look at it anew: JETPRESS_GOLDEN=1 pytest tests/deploy/formats, and read the difference."""
    for (task, kind), place in packages.items():
        for pattern in WRITTEN[kind]:
            for path in sorted(place.glob(pattern)):
                golden = GOLDEN / task / kind / path.relative_to(place)
                if os.environ.get("JETPRESS_GOLDEN"):
                    golden.parent.mkdir(parents=True, exist_ok=True)
                    golden.write_text(path.read_text())
                assert path.read_text() == golden.read_text(), golden
    known = {
        (one.parts[0], one.parts[1])
        for one in (p.relative_to(GOLDEN) for p in GOLDEN.rglob("*") if p.is_file())
    }
    assert known == set(packages)


def test_every_package_has_its_bundle_and_says_what_was_tried(
    packages: Mapping[tuple[str, str], Path],
) -> None:
    for (task, kind), place in packages.items():
        readme = (place / "README.md").read_text()
        assert FORMATS[kind].tried in " ".join(readme.split())
        assert "No " in FORMATS[kind].tried
        assert "None" not in readme
        if kind != "jetson-inference":
            bundle = Bundle(str(place / "bundle"))
            assert list(bundle.models) == ["compressed"], task
            assert os.access(place / "build.sh", os.X_OK)
    assert not [path for place in packages.values() for path in place.parent.glob(".*")]


# DeepStream


def deepstream(place: Path) -> dict[str, dict[str, str]]:
    read = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string((place / "config_infer.txt").read_text())
    return {name: dict(read[name]) for name in read.sections()}


def fits(value: str, kind: object) -> bool:
    if isinstance(kind, list):
        return int(value) in kind
    parts = value.split(";") if kind in ("numbers", "integers", "names") else [value]
    kinds = {"number": float, "numbers": float, "integer": int, "integers": int}
    return all(str(one) and kinds.get(str(kind), str)(one) is not None for one in parts)


def test_every_key_is_one_that_deepstream_documents(packages: Mapping[tuple[str, str], Path]) -> None:
    known = json.loads((Path(__file__).parent / "deepstream_keys.json").read_text())
    for (task, kind), place in packages.items():
        if kind == "deepstream":
            read = deepstream(place)
            assert "property" in read
            for group, keys in read.items():
                for key, value in keys.items():
                    assert fits(value, known[group][key]), (task, group, key, value)


def test_what_deepstream_computes_of_a_pixel_is_what_the_network_was_trained_on(
    made: Mapping[str, Path], packages: Mapping[tuple[str, str], Path]
) -> None:
    """`net-scale-factor * (x - offset)`, and the rest in the graph where `std` differs by channel."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 48, 64)).astype(np.float32)
    for task, run in made.items():
        place = packages[task, "deepstream"]
        keys = deepstream(place)["property"]
        offsets = np.array(keys["offsets"].split(";"), np.float32).reshape(1, 3, 1, 1)
        pixels = np.float32(keys["net-scale-factor"]) * (frames - offsets)
        image = json.loads((run / "bundle" / "plan.json").read_text())["image"]
        mean, std = (np.array(image[name], np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
        ours = outputs(run / "bundle" / "model.onnx", (frames / 255 - mean) / std)
        theirs = outputs(place / "bundle" / "model.onnx", pixels)
        same = (place / "bundle" / "model.onnx").read_bytes() == (run / "bundle" / "model.onnx").read_bytes()
        assert same == (task == "detection")
        if task == "segmentation":
            raised = np.exp(ours[0] - ours[0].max(1, keepdims=True))
            ours = [raised / raised.sum(1, keepdims=True)]
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-2 * float(np.abs(other).max()))  # of FP16


def outputs(path: Path, image: Any) -> list[Any]:
    onnx.checker.check_model(onnx.load(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    found: list[Any] = session.run(None, {taken.name: image})
    return found


# Triton


def test_tritons_own_schema_reads_the_configuration(
    made: Mapping[str, Path], packages: Mapping[tuple[str, str], Path]
) -> None:
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    for task, run in made.items():
        place = packages[task, "triton"]
        (path,) = place.glob("models/*/config.pbtxt")
        read = text_format.Parse(path.read_text(), schema.ModelConfig())
        assert (read.name, read.platform) == (path.parent.name, "tensorrt_plan")
        graph = onnx.load(run / "bundle" / "model.onnx").graph
        for told, value in zip([*read.input, *read.output], [*graph.input, *graph.output], strict=True):
            sides = [one.dim_value for one in value.type.tensor_type.shape.dim]
            assert told.name == value.name
            assert list(told.dims) == (sides[1:] if read.max_batch_size else sides)
        assert read.max_batch_size == (8 if task == "detection" else 0)
        assert list(read.dynamic_batching.preferred_batch_size) == ([2, 8] if task == "detection" else [])
        assert read.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
        assert read.model_warmup[0].inputs["input"].data_type == schema.TYPE_FP32
        assert read.model_warmup[0].batch_size == 1  # a server skips a batch of 0, whatever max_batch_size is
        assert bool(read.output[0].label_filename) == (task == "classification")
        assert "1/model.plan" in (place / "build.sh").read_text()


def test_a_run_for_the_host_is_served_by_onnx_runtime(tmp_path: Path) -> None:
    settings = ("export.input=uint8_nhwc", "export.output=argmax")
    run = runs.a_run(tmp_path, "classification", "host", *settings, engine=False)
    place = package(run, "triton", tmp_path / "out")
    text = (place / "models" / "classification" / "config.pbtxt").read_text()
    assert 'platform: "onnxruntime_onnx"' in text
    assert "TYPE_UINT8" in text
    assert "TYPE_INT32" in text
    served = place / "models" / "classification" / "1" / "model.onnx"
    assert served.read_bytes() == (run / "bundle" / "model.onnx").read_bytes()


# Isaac ROS


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def paths() -> Any:
    before = list(sys.path)
    yield
    sys.path[:] = before


def test_the_decoder_of_ros_reads_tensors_as_the_runner_does(
    made: Mapping[str, Path], packages: Mapping[tuple[str, str], Path], paths: None
) -> None:
    del paths
    image = np.random.default_rng(0).normal(size=(1, 3, 48, 64)).astype(np.float32)
    for task, run in made.items():
        plan = json.loads((run / "bundle" / "plan.json").read_text())
        found = dict(
            zip(
                [one["name"] for one in plan["outputs"]],
                outputs(run / "bundle" / "model.onnx", image),
                strict=True,
            )
        )
        decoder = module(packages[task, "isaac-ros"] / "decoder.py")
        tensors = [SimpleNamespace(name=name, data=list(one.tobytes())) for name, one in found.items()]
        with pytest.raises(ValueError, match=r"of another network than plan\.json"):
            decoder.arrays(tensors[1:])
        seen = decoder.understood(decoder.arrays(tensors), 64, 48)
        if task == "detection":
            for one, other in zip(seen, detections(found, plan["detection"])[0], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4)
            assert decoder.placed(128, 48) == (64, 24, 0, 12)
            frame = SimpleNamespace(
                height=10, width=20, step=64, data=bytes(640)
            )  # rows with four bytes to spare
            view = np.frombuffer(decoder.drawn(frame, ([(-5, 2, 12, 99)], [0.9], [1])), np.uint8).reshape(
                10, 64
            )
            edge, corner, inside = view[2, 18:21].tolist(), view[9, 36:39].tolist(), view[5, 15:18].tolist()
            assert (edge, corner, inside) == ([37, 122, 207], [37, 122, 207], [0, 0, 0])
            assert not view[:2].any()
            assert not view[:, 60:].any()
        elif task == "segmentation":
            assert np.array_equal(seen, found["output"][0].argmax(0))
        else:
            assert seen[0] == found["output"].argmax()
        compile(next(packages[task, "isaac-ros"].glob("*.launch.py")).read_text(), task, "exec")


# What cannot be


FRAMES = {
    "inputs": [{"name": "input", "dtype": "uint8", "shape": [1, 48, 64, 3]}],
    "image": {"layout": "nhwc"},
}


@pytest.mark.parametrize(
    ("kind", "task", "changes", "message"),
    [
        ("deepstream", "segmentation", FRAMES, "DeepStream gives every network floats"),
        ("deepstream", "segmentation", {"task": {"output": "argmax"}}, "reads shares of classes"),
        ("isaac-ros", "segmentation", FRAMES, "the encoder of Isaac ROS gives normalised float"),
        ("isaac-ros", "classification", {"image": {"fit": "letterbox-corner"}}, "puts them into the middle"),
        ("isaac-ros", "classification", {"task": {"kind": "regression"}}, "no message of ROS 2 says"),
        ("jetson-inference", "detection", {}, "cannot read a detector with the head ours"),
        (
            "jetson-inference",
            "segmentation",
            {"image": {"mean": [0.5, 0.5, 0.5]}},
            "by ImageNet's mean and std",
        ),
        ("jetson-inference", "classification", {}, "shows shares of classes"),
        ("python", "classification", {"image": None}, "feeds one image, and this network takes input"),
        ("triton", "classification", {"backend": "tensorrt_rtx"}, "no backend for TensorRT-RTX"),
    ],
)
def test_what_cannot_be_said_there_is_refused_by_name(
    made: Mapping[str, Path], kind: str, task: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    run = planned_otherwise(made[task], tmp_path / "run", changes)
    with pytest.raises(RecipeError, match=message) as refused:
        package(run, kind, tmp_path / "out" / "p")
    assert refused.value.hint
    assert not [*tmp_path.glob("out/*")]


def planned_otherwise(run: Path, copy: Path, changes: Mapping[str, Any]) -> Path:
    """The run, as if its network were another."""
    shutil.copytree(run / "bundle", copy / "bundle")
    path = copy / "bundle" / "plan.json"
    plan = json.loads(path.read_text())
    for name, value in changes.items():
        plan[name] = {**plan[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(plan))
    seal(copy / "bundle")
    return copy


def test_a_package_is_whole_or_not_there(made: Mapping[str, Path], tmp_path: Path) -> None:
    run = made["detection"]
    with pytest.raises(RecipeError, match="is there already"):
        package(run, "python")
    with pytest.raises(RecipeError, match="no package for 'pyton'") as refused:
        package(run, "pyton")
    assert "did you mean 'python'?" in refused.value.hint
    plan = run / "bundle" / "plan.json"
    before = plan.read_text()
    plan.write_text(before.replace("0.05", "0.06"))
    with pytest.raises(TrustError, match=r"plan\.json: expected"):
        package(run, "python", tmp_path / "p")
    plan.write_text(before)
    assert not [*tmp_path.iterdir()]


def test_an_engine_of_another_bundle_is_refused(made: Mapping[str, Path], tmp_path: Path) -> None:
    run = planned_otherwise(made["detection"], tmp_path / "run", {"backend": "onnxruntime", "target": {}})
    assert (
        runner(["build", "--bundle", str(run / "bundle"), "--out", str(run / "engine"), "--other-device"])
        == 0
    )
    other = planned_otherwise(made["classification"], tmp_path / "other", {})
    (run / "engine").rename(other / "engine")
    with pytest.raises(TrustError, match="was not built from the bundle beside it"):
        package(other, "python")


def test_an_old_bundle_is_told_to_be_made_again(tmp_path: Path) -> None:
    place = bundle(tmp_path / "bundle")
    plan = json.loads((place / "plan.json").read_text())
    (place / "plan.json").write_text(json.dumps({key: one for key, one in plan.items() if key != "image"}))
    seal(place)
    with pytest.raises(RecipeError, match="does not say what its inputs and outputs mean"):
        package(tmp_path, "python")
