from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.deploy.targets import find
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.retraining import Distillation, finetuning, with_rounding
from jetpress.pipeline.recipe.retraining import written as as_decided
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, QatConfig, TrainConfig
from tests.pipeline.recipe.helpers import written


def test_what_fine_tuning_leaves_open_is_as_in_training(tmp_path: Path) -> None:
    text = (
        "[train]\nema = 0.99\naccumulate = 4\nmixup = 0.2\nfreeze = ['conv1.*']\ndeterministic = true\n"
        "[finetune]\nmixup = 0.0\n[budget]\naccuracy_drop = 2.5\n"
    )
    tuning = resolve(Recipe.load(written(tmp_path, text)), find("host")).recipe.finetune
    assert (tuning.ema, tuning.accumulate, tuning.deterministic) == (0.99, 4, True)
    assert tuning.mixup == 0.0
    assert tuning.freeze == ()  # what was frozen to train a baseline may be what was pruned
    assert tuning.accuracy_drop is None  # another budget is no other training, unless it decides when to stop
    stopping = resolve(Recipe.load(written(tmp_path, text), ["finetune.stop_margin=0.5"]), find("host"))
    assert stopping.recipe.finetune.accuracy_drop == 2.5


TRAIN = TrainConfig(
    epochs=9,
    optimizer="adamw",
    learning_rate=0.1,
    momentum=0.8,
    weight_decay=1e-3,
    schedule="step",
    warmup_epochs=2.0,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=1.0,
    clip_norm=3.0,
    accumulate=2,
    ema=0.9,
    freeze=("conv1.*",),
    precision="tf32",
    compile=True,
    deterministic=True,
    sync_batchnorm=True,
    freeze_batchnorm=True,
    stop_at=90,
    trainer="my.py:train",
)


def test_everything_is_inherited_but_how_long_it_lasts() -> None:
    """No field of the baseline's training is at its default here, so none can be forgotten unseen."""
    assert all(getattr(TRAIN, one.name) != one.default for one in fields(TRAIN))
    found = finetuning(FinetuneConfig(), TRAIN).training
    own = {"epochs": 8, "schedule": "cosine", "warmup_epochs": 0.25, "freeze": (), "stop_at": None}
    for one in fields(TRAIN):
        expected = own.get(one.name, getattr(TRAIN, one.name))
        assert getattr(found, one.name) == (pytest.approx(0.02) if one.name == "learning_rate" else expected)


def test_rounding_inherits_the_optimizer_and_no_augmentation() -> None:
    found = with_rounding(QatConfig(), TRAIN).training
    inherited = ("optimizer", "momentum", "weight_decay", "clip_norm", "accumulate", "ema", "precision")
    assert all(getattr(found, name) == getattr(TRAIN, name) for name in inherited)
    assert found.deterministic is True
    without = (
        "label_smoothing",
        "mixup",
        "cutmix",
        "freeze",
        "compile",
        "sync_batchnorm",
        "freeze_batchnorm",
        "stop_at",
        "trainer",
    )
    assert all(getattr(found, name) == getattr(TrainConfig(), name) for name in without)
    assert found.learning_rate == pytest.approx(0.01)


@given(
    st.sampled_from(["label_smoothing", "mixup", "cutmix", "clip_norm", "ema", "momentum", "weight_decay"]),
    st.just(0.0) | st.floats(0.1, 0.9),
)
def test_what_is_given_holds_zero_included(name: str, value: float) -> None:
    config = FinetuneConfig(**{name: value})
    tuned = finetuning(config, TRAIN)
    assert getattr(tuned.training, name) == value
    assert getattr(as_decided(config, tuned.training), name) == value


def test_what_is_decided_is_written_down_in_full() -> None:
    tuned = finetuning(FinetuneConfig(), TRAIN)
    decided = as_decided(FinetuneConfig(), tuned.training)
    open_ = {one.name for one in fields(decided) if getattr(decided, one.name) is None}
    assert open_ == {"stop_margin", "accuracy_drop", "teacher"}
    undecided = finetuning(FinetuneConfig(), TrainConfig()).training
    assert undecided.freeze_batchnorm is None  # until the network is there
    assert finetuning(FinetuneConfig(freeze_batchnorm=False), TRAIN).training.freeze_batchnorm is False
    assert finetuning(decided, TrainConfig()) == tuned
    rounded = with_rounding(QatConfig(), tuned.training)
    again = as_decided(QatConfig(), rounded.training)
    assert not [one.name for one in fields(again) if getattr(again, one.name) is None]
    assert with_rounding(again, TrainConfig()) == rounded


def test_when_it_may_stop() -> None:
    def may_lose(**given: float) -> float | None:
        return finetuning(FinetuneConfig(**given), TRAIN, budget=2.0).may_lose

    assert may_lose() is None
    assert may_lose(accuracy_drop=1.0) is None
    assert may_lose(stop_margin=0.5) == 1.5
    assert may_lose(stop_margin=0.5, accuracy_drop=0.0) == -0.5


def test_feature_maps_are_looked_at_where_they_count() -> None:
    assert not Distillation(0.7, 5.0).looks_inside
    for name in ("hint", "attention", "similarity"):
        assert Distillation(**{name: 0.1}).looks_inside
