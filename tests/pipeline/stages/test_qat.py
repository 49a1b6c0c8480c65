"""Training with rounded numbers: from the post-training point to one that INT8 keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jetpress.deploy.errors import StageError
from jetpress.deploy.targets import find
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.flow.eight_bits import Quantized, in_int8, misses, rank, why_not_train
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.retraining import with_rounding
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.training import QatConfig, TrainConfig
from jetpress.pipeline.stages import export, fold, qat, quantize, source, train
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.facts.onnx_file import (
    TOO_SENSITIVE,
    Quantization,
    QuantizedLayer,
    QuantizedPoints,
)
from jetpress.pipeline.store.steps import Doing, Looking, Walk
from jetpress.pipeline.store.store import Store
from jetpress.pipeline.training import fit
from jetpress.pipeline.training.evaluate import evaluate
from tests.pipeline import small

EXPORT = ExportConfig(opset=17, dynamic_batch=True, max_batch=64)
QUANTIZE = QuantizeConfig(method="max", images=64, sensitivity_images=16, dialect="tensorrt", mixed=False)
RATE = 0.02
CONFIG = QatConfig(epochs=2, learning_rate=RATE, precision="float32")
OUTLIER = 120.0


def retrained(
    config: QatConfig,
    folded: Checkpoint,
    teacher: Checkpoint,
    exported: OnnxModel,
    quantized: OnnxModel,
    draft: Path,
) -> Checkpoint:
    """The stage, with all else as in training by default."""
    return qat.qat(with_rounding(config, TrainConfig()), folded, teacher, exported, quantized, draft)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Quantized:
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
    folded = fold.fold(None, masked, small.draft(folder, "folded"))
    exported = export.export(EXPORT, folded, small.draft(folder, "exported"))
    made = quantize.quantize(QUANTIZE, folded, exported, small.draft(folder, "quantized"))
    return Quantized(folded, exported, made)


def points(made: Quantized) -> float:
    """On validation images, in eight bits."""
    return made.known.validation.int8  # type: ignore[union-attr]


def in_flow(broken: Quantized, walk: Walk, **quantizing: Any) -> Quantized:
    """As the pipeline does it."""
    recipe = Recipe("x", export=EXPORT, quantize=replace(QUANTIZE, **quantizing), qat=CONFIG)
    return in_int8(resolve(recipe, find("host")), broken.network, broken.floating, broken.network, walk)


@pytest.fixture(scope="module")
def mended(broken: Quantized, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """Trained because it misses the budget, nobody having asked for it."""
    walk = Doing(Store(tmp_path_factory.mktemp("mended")))
    made = in_flow(broken, walk)
    assert [(one.name, one.state) for one in walk.steps] == [
        (name, "ran") for name in ("quantize", "qat", "export, qat", "quantize, qat")
    ]
    return made


def test_the_flow_trains_only_where_it_is_needed(broken: Quantized, tmp_path: Path) -> None:
    walk = Doing(Store(tmp_path))
    assert in_flow(broken, walk, qat="off").network is broken.network
    assert "off" in walk.steps[-1].why
    looking = Looking(Store(tmp_path / "empty"))
    in_flow(broken, looking)
    assert "only if" in looking.steps[-1].why
    in_flow(broken, looking, qat="always")
    assert looking.steps[-1].name == "quantize, qat"


def test_what_is_better_is_kept(broken: Quantized) -> None:
    def made(met: bool, points: float, out: int, cosine: float = 0.995) -> Quantization:
        return replace(
            broken.known,
            met=met,
            cosine=cosine,
            validation=QuantizedPoints(95.0, points, 90.0, 100),
            layers=tuple(
                QuantizedLayer("a", "a.weight", 10, number >= out, TOO_SENSITIVE if number < out else "")
                for number in range(4)
            ),
        )

    order = [made(False, 80, 0), made(False, 89, 4), made(True, 92, 3), made(True, 90, 0), made(True, 91, 0)]
    assert sorted(order, key=rank) == order
    assert "90.00 % and 0.99 are enough" in why_not_train("auto", made(True, 92, 1))
    for one, why in (
        (made(True, 92, 2), "50 % of the weights left out"),
        (made(False, 89, 0), "the budget asks for 90.00 %"),
        (made(False, 92, 0, 0.97), "cosine 0.9700 of the scores to FP32's, equivalence asks for 0.99"),
    ):
        assert not why_not_train("auto", one)
        assert [why in said for said in misses(one)] == [True]


def test_training_wins_back_what_int8_lost(broken: Quantized, mended: Quantized) -> None:
    facts, before, after = mended.network.facts, points(broken), points(mended)
    floating = broken.known.validation.fp32
    assert before < floating - 10
    assert after > before + 0.5 * (floating - before)
    assert facts.rounding.post_training == pytest.approx(
        before, abs=2
    )  # where post-training quantization ended
    assert facts.validation == pytest.approx(after, abs=2)  # quantizers that are found anew cost nothing
    assert facts.dense_validation == broken.network.facts.validation
    assert (facts.rounding.weights, facts.rounding.activations) == (3, 3)
    assert facts.rounding.not_rounded == ()
    assert facts.training.best_epoch > 0
    assert len(facts.training.curve) == 2


def test_a_rate_that_ruins_the_network_is_lowered(broken: Quantized, tmp_path: Path) -> None:
    """At ten times the rate that mends it guessing is all that is left."""
    given = broken.network, broken.network, broken.floating, broken.onnx
    far = replace(CONFIG, learning_rate=10 * RATE)
    made = retrained(far, *given, small.draft(tmp_path, "qat"))
    assert made.facts.rounding.learning_rate == RATE
    assert made.facts.validation > points(broken) + 10
    with pytest.raises(StageError, match="diverged"):
        retrained(replace(CONFIG, learning_rate=1e30), *given, small.draft(tmp_path, "nan"))


def test_what_comes_out_is_a_plain_network(broken: Quantized, mended: Quantized) -> None:
    before, after = (load_file(one.network.path / "weights.safetensors") for one in (broken, mended))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if "tracked" not in name:  # BatchNorm uses its statistics, and does not change them
            assert torch.equal(tensor, after[name]) == ("running" in name), name
    zeros = before["conv2.weight"] == 0
    assert 0.25 < zeros.float().mean() < 0.35
    assert not after["conv2.weight"][zeros].any()
    assert not (mended.network.path / "masks.safetensors").exists()
    assert not (mended.network.path / "state").exists()
    network = models.load(mended.network)
    plain = evaluate(network, load(network.data, network.seed, network.task).validation, "FP32")
    assert plain > 90


def test_a_killed_training_goes_on_bit_for_bit(
    broken: Quantized, mended: Quantized, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch, draft = fit._epoch, small.draft(tmp_path, "killed")

    def dies(learn: Any, network: Any, data: Any, settings: Any, number: int, *rest: Any) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return epoch(learn, network, data, settings, number, *rest)

    def go() -> Checkpoint:
        return retrained(CONFIG, broken.network, broken.network, broken.floating, broken.onnx, draft)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "_epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            go()
    assert json.loads((draft / "state/first/state.json").read_text())["state"]["epoch"] == 1
    made = go()
    assert made.facts == mended.network.facts
    assert (draft / "weights.safetensors").read_bytes() == (
        mended.network.path / "weights.safetensors"
    ).read_bytes()


def test_layers_that_the_recipe_keeps_are_not_rounded(broken: Quantized, tmp_path: Path) -> None:
    network = models.load(broken.network)
    config = replace(QUANTIZE, keep=("conv1.*", "head.*"))
    kept = quantize.quantize(config, broken.network, broken.floating, small.draft(tmp_path, "kept"))
    grids = qat.grids_of(network, broken.network, broken.floating, kept)
    assert grids.weights == {"conv2.weight"}
    assert set(grids.activations) == {("conv1.weight", "conv2.weight")}


ATTENTION = '''
import torch
from torch import nn

class Patches(nn.Module):
    """Rows of a picture are tokens that attend to each other."""
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(24, 32)
        self.place = nn.Parameter(torch.randn(1, 8, 32) / 4)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32 * 8, 10)

    def forward(self, x):
        x = self.embed(x.transpose(1, 2).reshape(-1, 8, 24)) + self.place
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return self.head(torch.relu(x).flatten(1))

def build():
    return Patches()
'''


def test_a_network_with_attention_is_trained_with_rounding(tmp_path: Path) -> None:
    (tmp_path / "attention.py").write_text(ATTENTION)
    model = ModelConfig(builder=f"{tmp_path / 'attention.py'}:build")
    start = source.source(source.SourceConfig(model, small.DIGITS), small.draft(tmp_path, "source"))
    config = TrainConfig(epochs=4, learning_rate=0.1, precision="float32")
    trained = train.train(config, start, small.draft(tmp_path, "train"))
    folded = fold.fold(None, trained, small.draft(tmp_path, "folded"))
    exported = export.export(EXPORT, folded, small.draft(tmp_path, "exported"))
    before = quantize.quantize(QUANTIZE, folded, exported, small.draft(tmp_path, "quantized"))
    made = retrained(
        replace(CONFIG, epochs=1), folded, folded, exported, before, small.draft(tmp_path, "qat")
    )
    assert made.facts.rounding.not_rounded == ()
    grids = qat.grids_of(models.load(folded), folded, exported, before)
    assert {
        "embed.weight",
        "head.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    } == grids.weights
    weights = [load_file(one.path / "weights.safetensors") for one in (folded, made)]
    for name in grids.weights:
        assert not torch.equal(*(one[name] for one in weights)), name
    again = export.export(EXPORT, made, small.draft(tmp_path, "again"))
    after = quantize.quantize(QUANTIZE, made, again, small.draft(tmp_path, "after"))
    # What it was trained to be is what its file is.
    assert after.facts.quantization.validation.int8 == pytest.approx(made.facts.validation, abs=2)
    assert made.facts.validation >= made.facts.rounding.post_training - 1


def test_what_the_recipe_leaves_open_is_as_in_fine_tuning_and_slower() -> None:
    tuning = TrainConfig(learning_rate=0.02, optimizer="adamw", ema=0.9, label_smoothing=0.1, compile=True)
    plan = resolve(Recipe("x", train=tuning), find("host"))
    found = plan.qat.training
    assert found.learning_rate == pytest.approx(plan.finetune.training.learning_rate / 10)
    assert (found.optimizer, found.ema) == ("adamw", 0.9)
    assert (found.label_smoothing, found.compile) == (0.0, False)  # these it does without
    assert plan.recipe.qat.learning_rate == found.learning_rate
