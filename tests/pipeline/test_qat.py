"""Training with rounded numbers: from the post-training point to one that INT8 keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from pipeline import export, fold, models, qat, quantize, train
from pipeline.artifact import Checkpoint, OnnxModel
from pipeline.data import load
from pipeline.sections import ExportConfig, FinetuneConfig, QatConfig, QuantizeConfig, TrainConfig
from pipeline.training.evaluate import evaluate
from pipeline.training.settings import settings
from tests.pipeline import small

EXPORT = ExportConfig(opset=17, dynamic_batch=True, max_batch=64)
QUANTIZE = QuantizeConfig(method="max", images=64, sensitivity_images=16, dialect="tensorrt", mixed=False)
CONFIG = QatConfig(epochs=2, learning_rate=0.02, precision="float32")
OUTLIER = 120.0


class Made(NamedTuple):
    folded: Checkpoint
    exported: OnnxModel
    quantized: OnnxModel


def in_int8(folder: Path, folded: Checkpoint, name: str) -> Made:
    exported = export.export(EXPORT, folded, small.draft(folder, f"{name}-onnx"))
    return Made(
        folded, exported, quantize.quantize(QUANTIZE, folded, exported, small.draft(folder, f"{name}-int8"))
    )


def points(made: Made) -> float:
    return float(made.quantized.facts["quantization"]["validation"]["int8"])


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network that one range for each tensor breaks: a channel 120 times as large, read as much smaller.

    Some of conv2 is masked, so that its zeros must be held.
    """
    folder = tmp_path_factory.mktemp("broken")
    trained = train.train(
        TrainConfig(epochs=4, learning_rate=0.1), small.start(folder), small.draft(folder, "train")
    )
    network = models.load(trained)
    norm, second = (network.module.get_submodule(name) for name in ("bn1", "conv2"))
    with torch.no_grad():
        norm.weight[3] *= OUTLIER
        norm.bias[3] *= OUTLIER
        second.weight[:, 3] /= OUTLIER
    network.masks["conv2.weight"] = second.weight.abs() > second.weight.abs().flatten().quantile(0.3)
    masked = models.save(network, small.draft(folder, "masked"), trained.facts)
    return in_int8(folder, fold.fold(None, masked, small.draft(folder, "folded")), "before")


@pytest.fixture(scope="module")
def mended(broken: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("mended")
    made = qat.qat(
        CONFIG, broken.folded, broken.folded, broken.exported, broken.quantized, small.draft(folder, "qat")
    )
    return in_int8(folder, made, "after")


def test_training_wins_back_what_int8_lost(broken: Made, mended: Made) -> None:
    facts, before, after = mended.folded.facts, points(broken), points(mended)
    floating = broken.quantized.facts["quantization"]["validation"]["fp32"]
    assert before < floating - 10
    assert after > before + 0.5 * (floating - before)
    assert facts["post_training"] == pytest.approx(before, abs=2)  # where post-training quantization ended
    assert facts["validation"] == pytest.approx(after, abs=2)  # quantizers that are found anew cost nothing
    assert facts["dense_validation"] == broken.folded.facts["validation"]
    assert facts["rounded"] == {"weights": 3, "activations": 3}
    assert facts["not_rounded"] == []
    assert facts["best_epoch"] > 0
    assert len(facts["curve"]) == 2


def test_what_comes_out_is_a_plain_network(broken: Made, mended: Made) -> None:
    before, after = (load_file(one.folded.path / "weights.safetensors") for one in (broken, mended))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if "tracked" not in name:  # BatchNorm uses its statistics, and does not change them
            assert torch.equal(tensor, after[name]) == ("running" in name), name
    zeros = before["conv2.weight"] == 0
    assert 0.25 < zeros.float().mean() < 0.35
    assert not after["conv2.weight"][zeros].any()
    assert not (mended.folded.path / "masks.safetensors").exists()
    assert not (mended.folded.path / "state").exists()
    network = models.load(mended.folded)
    plain = evaluate(network, load(network.data, network.seed).validation, "FP32")
    assert plain > 90


def test_a_killed_training_goes_on_bit_for_bit(
    broken: Made, mended: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch, draft = train._epoch, small.draft(tmp_path, "killed")

    def dies(learn: Any, network: Any, data: Any, settings: Any, number: int, *rest: Any) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return epoch(learn, network, data, settings, number, *rest)

    def go() -> Checkpoint:
        return qat.qat(CONFIG, broken.folded, broken.folded, broken.exported, broken.quantized, draft)

    with monkeypatch.context() as patch:
        patch.setattr(train, "_epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            go()
    assert json.loads((draft / "state/state.json").read_text())["state"]["epoch"] == 1
    made = go()
    assert made.facts == mended.folded.facts
    assert (draft / "weights.safetensors").read_bytes() == (
        mended.folded.path / "weights.safetensors"
    ).read_bytes()


def test_layers_that_the_recipe_keeps_are_not_rounded(broken: Made, tmp_path: Path) -> None:
    network = models.load(broken.folded)
    config = replace(QUANTIZE, keep=("conv1.*", "head.*"))
    kept = quantize.quantize(config, broken.folded, broken.exported, small.draft(tmp_path, "kept"))
    grids = qat.grids_of(network, broken.folded, broken.exported, kept)
    assert grids.weights == {"conv2.weight"}
    assert set(grids.activations) == {("conv1.weight", "conv2.weight")}


def test_what_the_recipe_leaves_open_is_slower_than_fine_tuning() -> None:
    assert settings(QatConfig()).learning_rate == settings(FinetuneConfig()).learning_rate / 10
