from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse
from jetpress.pipeline.pruning.criteria import scores
from jetpress.pipeline.recipe.configs import RegularizeConfig
from jetpress.pipeline.recipe.retraining import Distillation, finetuning
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, TrainConfig
from jetpress.pipeline.stages import train
from jetpress.pipeline.stages.regularize import regularize
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.store import Store
from tests.pipeline import small
from tests.pipeline.stages.test_train import Killed, kill_in

SETTINGS = TrainConfig(epochs=2, learning_rate=0.02, precision="float32")
CONFIG = RegularizeConfig(SETTINGS, Distillation(0.7, 5.0), 0.03)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A trained network."""
    folder = tmp_path_factory.mktemp("dense")
    config = TrainConfig(epochs=5, learning_rate=0.1, precision="float32")
    return train.train(config, small.start(folder), small.draft(folder, "train"))


def norms(checkpoint: Checkpoint) -> dict[str, list[float]]:
    """Of every unit, ascending, by group."""
    network = models.load(checkpoint)
    graph = analyse(network.module, models.example_inputs(network.model.inputs))
    return {name: sorted(found) for name, found in scores("l2", network.module, graph).items()}


def test_weak_channels_become_weaker_beside_the_strong_ones(dense: Checkpoint, tmp_path: Path) -> None:
    """Than in the same training without the pull; what the network knows is not lost."""
    pulled = regularize(CONFIG, dense, dense, small.draft(tmp_path, "pulled"))
    plain = regularize(replace(CONFIG, strength=0.0), dense, dense, small.draft(tmp_path, "plain"))
    for name, twin in norms(plain).items():
        found = norms(pulled)[name]
        quarter = len(found) // 4
        assert sum(found[:quarter]) / found[-1] < 0.5 * sum(twin[:quarter]) / twin[-1]
    facts = pulled.facts
    assert facts.validation > dense.facts.validation - 10
    assert facts.dense_validation == facts.dense == dense.facts.validation
    assert (facts.training.best_epoch, len(facts.training.curve)) == (2, 2)
    assert facts.validation == facts.training.curve[-1].validation
    assert facts.pruned is None


def test_the_last_epoch_is_kept_though_it_is_not_the_best(dense: Checkpoint, tmp_path: Path) -> None:
    """A pull that is far too strong takes accuracy each epoch."""
    slow = replace(SETTINGS, epochs=3, learning_rate=3e-4, schedule="constant")
    facts = regularize(
        replace(CONFIG, strength=1.0, training=slow), dense, dense, small.draft(tmp_path, "hard")
    ).facts
    first, *_, last = (entry.validation for entry in facts.training.curve)
    assert last < first - 5
    assert (facts.training.best_epoch, facts.validation) == (3, last)


def test_layers_that_keep_their_channels_are_not_pulled(dense: Checkpoint, tmp_path: Path) -> None:
    """By ``ignore``, by ``limits``, and because there is no narrower width."""
    plain = regularize(replace(CONFIG, strength=0.0), dense, dense, small.draft(tmp_path, "plain"))
    for number, kept in enumerate(({"ignore": ("*",)}, {"limits": {"*": 0.0}}, {"multiple": 32})):
        config = replace(CONFIG, **kept)  # type: ignore[arg-type]
        made = regularize(config, dense, dense, small.draft(tmp_path, f"kept-{number}"))
        assert (made.path / models.WEIGHTS).read_bytes() == (plain.path / models.WEIGHTS).read_bytes()


def test_killed_and_started_again_it_makes_the_same_files(
    dense: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = regularize(CONFIG, dense, dense, small.draft(tmp_path, "whole"))
    draft = small.draft(tmp_path, "killed")
    with monkeypatch.context() as patch:
        kill_in(patch, 1)
        with pytest.raises(Killed):
            regularize(CONFIG, dense, dense, draft)
    assert (draft / "state").is_dir()
    made = regularize(CONFIG, dense, dense, draft)
    assert made.facts == whole.facts
    for file in whole.path.iterdir():
        assert (draft / file.name).read_bytes() == file.read_bytes()


def test_another_strength_is_another_result(dense: Checkpoint, tmp_path: Path) -> None:
    """What else pruning is told of is not."""
    store, tuning = Store(tmp_path / "store"), finetuning(FinetuneConfig(), TrainConfig())

    def key(**prune: object) -> str:
        config = PruneConfig(regularize_epochs=2, **prune)  # type: ignore[arg-type]
        return store.key(regularize, RegularizeConfig.of(config, tuning), (dense, dense))

    assert key() == key(ratio=0.3, rounds=1, criterion="obs", scope="measured")
    assert len({key(), key(regularization=0.1), key(ignore=("conv1.*",)), key(channel_multiple=4)}) == 4


def test_frozen_weights_stay(dense: Checkpoint, tmp_path: Path) -> None:
    config = replace(CONFIG, training=replace(SETTINGS, freeze=("conv1.*",)))
    made = models.load(regularize(config, dense, dense, small.draft(tmp_path, "frozen"))).module
    before = models.load(dense).module
    assert torch.equal(made.get_parameter("conv1.weight"), before.get_parameter("conv1.weight"))
    assert not torch.equal(made.get_parameter("conv2.weight"), before.get_parameter("conv2.weight"))
