"""The stage on a trained network: near FP32, smaller, honest about the budget, and caught when it is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import jetpress
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.data import loading
from jetpress.pipeline.graph import tolerance
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.network import models
from jetpress.pipeline.quantization import NOT_MIXED, THROUGHOUT
from jetpress.pipeline.quantization.judge import Judge, looks_random
from jetpress.pipeline.recipe import configs
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.compression import PruneConfig, QuantizeConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.stages import bundle, equivalence, export, quantize, train
from jetpress.pipeline.stages.assess_file import assess_file
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.facts.network import CheckpointFacts, Rounding, Training
from jetpress.pipeline.training.evaluate import evaluate
from tests.pipeline import small

CONFIG = QuantizeConfig(images=48, sensitivity_images=8, dialect="onnxruntime", accuracy_drop=3.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("trained")
    config = TrainConfig(epochs=4, learning_rate=0.1, precision="float32")
    return train.train(config, small.start(folder), small.draft(folder, "train"))


@pytest.fixture(scope="module")
def exported(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    folder = tmp_path_factory.mktemp("exported")
    return export.export(ExportConfig(opset=13), trained, small.draft(folder, "onnx"))


def run(config: QuantizeConfig, trained: Checkpoint, exported: OnnxModel, folder: Path) -> OnnxModel:
    return quantize.quantize(config, trained, exported, small.draft(folder, "int8"))


@pytest.mark.parametrize("dialect", ["onnxruntime", "tensorrt", "tensorrt8"])
def test_the_same_network_in_int8(
    dialect: str, trained: Checkpoint, exported: OnnxModel, tmp_path: Path
) -> None:
    made = run(replace(CONFIG, dialect=dialect), trained, exported, tmp_path)  # type: ignore[arg-type]
    facts = made.facts.quantization
    assert facts.met
    assert all(one.int8 and one.error > 0 for one in facts.layers)
    assert facts.errors[facts.method] == min(facts.errors.values())
    assert facts.warnings == ()
    same = equivalence.equivalence(EquivalenceConfig(), trained, made, small.draft(tmp_path, "same"))
    assert same.facts.precision == "int8"
    # Judged on the whole split, whatever the file's batch.
    accuracy = assess_file(None, trained, trained, made, small.draft(tmp_path, "assess")).facts
    assert abs(accuracy.compressed.test - accuracy.dense.test) < 4
    assert (made.facts.bytes < exported.facts.bytes) == (dialect != "tensorrt8")
    assert not onnx.load(made.path / "model.onnx").graph.value_info, "shapes that every parser infers"
    told = json.loads((made.path / "quantization.json").read_text())
    assert all(sum(one["counts"]) > 0 for one in told["tensors"])


def test_ranges_found_while_it_runs(trained: Checkpoint, exported: OnnxModel, tmp_path: Path) -> None:
    """The linear head alone; the gate takes it, and it is judged on the whole split."""
    made = run(replace(CONFIG, method="dynamic"), trained, exported, tmp_path)
    facts = made.facts.quantization
    assert facts.met
    assert [(one.weight, one.int8) for one in facts.layers] == [("head.weight", True)]
    assert 0 < facts.error == facts.errors["dynamic"] < 0.05
    assert made.facts.bytes < exported.facts.bytes
    same = equivalence.equivalence(EquivalenceConfig(), trained, made, small.draft(tmp_path, "same"))
    assert same.facts.precision == "int8"


def test_no_tensorrt_finds_ranges_while_it_runs() -> None:
    recipe = Recipe("r", quantize=QuantizeConfig(method="dynamic"), build=BuildConfig(precision="int8"))
    assert resolve(recipe, TARGETS["host"]).recipe.quantize.qat == "off"
    for target in ("orin-nano", "rtx"):
        with pytest.raises(RecipeError, match="TensorRT has no dynamic quantization") as error:
            resolve(recipe, TARGETS[target])
        assert "fp16" in error.value.hint
    always = replace(recipe, quantize=replace(recipe.quantize, qat="always"))
    with pytest.raises(RecipeError, match="exclude each other"):
        resolve(always, TARGETS["host"])


def test_points_of_the_fp32_file_are_those_of_pytorch(trained: Checkpoint, exported: OnnxModel) -> None:
    network = models.load(trained)
    split = loading.load(network.data, network.seed, network.task).validation
    judge = Judge(network, Ends.of(exported.facts, network.data), 1)
    found = judge.points(onnx.load(exported.path / "model.onnx"), split, "points")
    assert found == pytest.approx(evaluate(network, split, "points"))


@pytest.mark.parametrize("options", [{"output": "argmax"}, {"output": "softmax", "input": "uint8_nhwc"}])
def test_camera_frames_in_and_classes_out(
    options: dict[str, str], trained: Checkpoint, tmp_path: Path
) -> None:
    config = ExportConfig(opset=17, dynamic_batch=True, max_batch=4, **options)  # type: ignore[arg-type]
    exported = export.export(config, trained, small.draft(tmp_path, "onnx"))
    made = run(replace(CONFIG, method="max"), trained, exported, tmp_path)
    assert made.facts.quantization.validation.int8 > 60
    equivalence.equivalence(EquivalenceConfig(), trained, made, small.draft(tmp_path, "same"))


def damaged(made: OnnxModel, folder: Path) -> OnnxModel:
    """The file with two output channels of its first convolution swapped."""
    proto = onnx.load(made.path / "model.onnx")
    weight = next(
        one
        for one in proto.graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4
    )
    array = numpy_helper.to_array(weight).copy()
    array[[0, 5, 1, 9]] = array[[5, 0, 9, 1]]
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    folder.mkdir()
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return OnnxModel(folder, made.facts)


def test_swapped_channels_are_caught(trained: Checkpoint, exported: OnnxModel, tmp_path: Path) -> None:
    made = damaged(run(CONFIG, trained, exported, tmp_path), tmp_path / "damaged")
    with pytest.raises(StageError, match="not the same function"):
        equivalence.equivalence(EquivalenceConfig(), trained, made, small.draft(tmp_path, "same"))


def outlier(trained: Checkpoint, folder: Path) -> Checkpoint:
    """One channel of the first layer a thousand times as large: its tensor has no range that fits all."""
    network = models.load(trained)
    with torch.no_grad():
        network.module.get_parameter("bn1.weight")[0] *= 1000
        network.module.get_parameter("bn1.bias")[0] *= 1000
        network.module.get_parameter("conv2.weight")[:, 0] /= 1000
    return models.save(network, small.draft(folder, "outlier"), trained.facts)


def test_the_layer_that_suffers_stays_out_where_the_budget_asks_for_it(
    trained: Checkpoint, tmp_path: Path
) -> None:
    hard = outlier(trained, tmp_path)
    exported = export.export(ExportConfig(opset=17), hard, small.draft(tmp_path, "onnx"))
    config = replace(CONFIG, method="max", dialect="tensorrt")
    alone = run(replace(config, mixed=False), hard, exported, tmp_path).facts.quantization
    assert not alone.met
    (tmp_path / "int8").rename(tmp_path / "throughout")
    made = run(config, hard, exported, tmp_path)
    mixed = made.facts.quantization
    assert mixed.met
    # Both are sent to the device, to be timed in one session.
    throughout = (tmp_path / "throughout" / "model.onnx").read_bytes()
    assert (made.path / THROUGHOUT).read_bytes() == throughout
    packing = configs.BundleConfig(
        "r", TARGETS["orin-nano"], BuildConfig(precision="int8"), BenchmarkConfig(), 0
    )
    packed = bundle.bundle(packing, hard, made, exported, small.draft(tmp_path, "bundle"))
    models = json.loads((packed.path / "plan.json").read_text())["models"]
    assert models[NOT_MIXED] == {**models["compressed"], "file": THROUGHOUT, "twin_of": "compressed"}
    assert (packed.path / THROUGHOUT).read_bytes() == throughout
    assert [one.name for one in mixed.layers if not one.int8] == ["conv2/Conv"]
    assert mixed.layers[1].error == max(one.error for one in mixed.layers)


@pytest.mark.slow
def test_the_mixed_engine_is_timed_beside_the_one_without(trained: Checkpoint, tmp_path: Path) -> None:
    hard = outlier(trained, tmp_path)
    weights = str(hard.path / "weights.safetensors")
    recipe = Recipe(
        name="r",
        model=small.model(tmp_path, weights=weights),
        data=small.DIGITS,
        train=TrainConfig(epochs=0),
        prune=PruneConfig(ratio=0.0),
        quantize=replace(CONFIG, method="max", dialect="tensorrt", qat="off"),
        build=BuildConfig(precision="int8"),
        benchmark=BenchmarkConfig(seconds=0.3, threads=1),
    )
    report = jetpress.run(recipe, "host", home=tmp_path / "runs")
    assert report.folder is not None
    assert set(json.loads((report.folder / "engine" / "engine.json").read_text())["models"]) == {
        "compressed",
        "dense",
        NOT_MIXED,
    }
    assert report.quantization is not None
    assert report.benchmark is not None
    latency = report.quantization.mixed_latency
    assert latency is not None
    assert min(latency.mixed_ms, latency.throughout_ms) > 0
    interval = latency.times_as_fast.interval
    assert interval is not None
    assert 0 < interval.low <= interval.high
    assert "With these layers in higher precision" in (report.folder / "report.md").read_text()


def test_layers_that_the_recipe_keeps(trained: Checkpoint, exported: OnnxModel, tmp_path: Path) -> None:
    made = run(replace(CONFIG, keep=("conv1.*", "*/Gemm")), trained, exported, tmp_path)
    layers = made.facts.quantization.layers
    assert [(one.int8, one.why) for one in layers] == [
        (False, "quantize.keep"),
        (True, ""),
        (False, "quantize.keep"),
    ]
    with pytest.raises(StageError, match="keep means all"):
        quantize.quantize(replace(CONFIG, keep=("*",)), trained, exported, small.draft(tmp_path, "none"))


def test_noise_is_no_calibration_data(capsys: pytest.CaptureFixture[str]) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32))
    assert looks_random((noise,))
    assert quantize._warnings((noise,))
    assert "WARNING" in "".join(capsys.readouterr())


def test_targets_without_int8_refuse_it() -> None:
    recipe = Recipe(name="r", build=BuildConfig(precision="int8"))
    with pytest.raises(RecipeError, match=r"int8.*Nano"):
        resolve(recipe, TARGETS["nano"])
    with pytest.raises(RecipeError, match="fp16"):
        resolve(replace(recipe, export=ExportConfig(fp16=True)), TARGETS["rtx"])
    assert resolve(recipe, TARGETS["xavier"]).recipe.quantize.dialect == "tensorrt8"
    assert resolve(recipe, TARGETS["orin-nano"]).recipe.quantize.dialect == "tensorrt"
    assert resolve(recipe, TARGETS["host"]).recipe.quantize.dialect == "onnxruntime"


def test_what_noise_may_turn_is_a_tie_and_silence_is_not_the_same() -> None:
    limits, rng = tolerance.LIMITS["int8"], np.random.default_rng(0)
    expected = rng.standard_normal((200, 10)) * 10
    noise = rng.standard_normal((200, 10)) * 0.5
    close = tolerance.score("output", "images", expected, expected + noise, None, limits)
    assert close.top1 >= 0.98
    assert limits.allow(close)
    assert (expected.argmax(1) == (expected + noise).argmax(1)).mean() < 0.98  # more than ties of rounding
    for wrong in (np.zeros_like(expected), expected[:, ::-1], expected + 10 * noise, -expected):
        assert not limits.allow(tolerance.score("output", "images", expected, wrong, None, limits))


def test_the_rest_in_fp16_where_no_flag_says_so(trained: Checkpoint, tmp_path: Path) -> None:
    plan = resolve(Recipe(name="r", build=BuildConfig(precision="int8")), TARGETS["rtx"])
    assert (plan.recipe.export.opset, plan.recipe.quantize.rest) == (20, "fp16")
    exported = export.export(plan.recipe.export, trained, small.draft(tmp_path, "onnx"))
    made = run(replace(CONFIG, dialect="tensorrt", rest="fp16"), trained, exported, tmp_path)
    proto = onnx.load(made.path / "model.onnx")
    kinds = {one.name: one.data_type for one in proto.graph.initializer}
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    assert all(kinds[node.input[2]] == onnx.TensorProto.FLOAT16 for node in layers)
    producers = {node.output[0]: node.op_type for node in proto.graph.node}
    assert all(producers[node.input[1]] == "DequantizeLinear" for node in layers)
    equivalence.equivalence(EquivalenceConfig(), trained, made, small.draft(tmp_path, "same"))
    assert (
        resolve(Recipe(name="r", build=BuildConfig(precision="int8")), TARGETS["xavier"]).recipe.quantize.rest
        == "fp32"
    )
    with pytest.raises(RecipeError, match="rest"):
        resolve(
            Recipe(name="r", build=BuildConfig(precision="int8"), quantize=QuantizeConfig(rest="fp16")),
            TARGETS["host"],
        )


@pytest.mark.parametrize(
    ("best_epoch", "rounding", "learnt"),
    [
        (3, None, False),  # of fine-tuning
        (0, Rounding(90.0, 0.01, 3, 3, ()), False),
        (1, Rounding(90.0, 0.01, 3, 3, ()), True),
    ],
)
def test_biases_are_corrected_unless_training_with_rounding_won(
    best_epoch: int, rounding: Rounding | None, learnt: bool
) -> None:
    training = Training(best_epoch, (), "float32", "")
    assert quantize.learnt_rounded(CheckpointFacts(1, 1, training=training, rounding=rounding)) == learnt
