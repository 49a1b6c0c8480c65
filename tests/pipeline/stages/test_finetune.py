from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse, cut
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.retraining import finetuning
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, TrainConfig
from jetpress.pipeline.run import plan
from jetpress.pipeline.stages import finetune, train
from jetpress.pipeline.stages import source as baseline
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.tasks.metric import Result, of_samples
from jetpress.pipeline.training import distill, features
from tests.pipeline import small

CONFIG = FinetuneConfig(epochs=2, learning_rate=0.02, precision="float32")


def retrained(config: FinetuneConfig, model: Checkpoint, teacher: Checkpoint, draft: Path) -> Checkpoint:
    """The stage, with all else as in training by default."""
    return finetune.finetune(finetuning(config, TrainConfig()), model, teacher, draft)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A trained network."""
    folder = tmp_path_factory.mktemp("dense")
    config = TrainConfig(epochs=5, learning_rate=0.1, precision="float32")  # auto is what is faster just now
    return train.train(config, small.start(folder), small.draft(folder, "train"))


def damage(checkpoint: Checkpoint, folder: Path, share: float = 0.5) -> Checkpoint:
    """A share of the weights of the first layers masked, smallest first."""
    network = models.load(checkpoint)
    for name in ("conv1.weight", "conv2.weight"):
        parameter = network.module.get_parameter(name)
        mask = parameter.abs() > parameter.abs().flatten().quantile(share)
        network.masks[name] = mask
        with torch.no_grad():
            parameter.mul_(mask)
    return models.save(network, small.draft(folder, "damaged"), replace(checkpoint.facts, pruned=True))


def test_recalibration_then_training_recovers_the_accuracy(dense: Checkpoint, tmp_path: Path) -> None:
    hurt = damage(dense, tmp_path, 0.8)
    made = retrained(CONFIG, hurt, dense, small.draft(tmp_path, "tuned"))
    facts = made.facts
    assert facts.recovery.after_pruning < facts.recovery.after_recalibration < facts.validation
    assert facts.validation > dense.facts.validation - 8
    assert facts.pruned is True
    assert len(facts.training.curve) == 2
    assert not (made.path / "state").exists()
    network = models.load(made)
    for name, mask in network.masks.items():
        assert not network.module.get_parameter(name)[~mask].any()


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """New statistics are worse than old ones, as where layers were fitted after a cut."""

    def recalibrate(network: models.Network, _: object) -> None:
        for name, buffer in network.module.named_buffers():
            if name.endswith("running_var"):
                buffer.fill_(1e6)

    monkeypatch.setattr(finetune, "recalibrate", recalibrate)


@pytest.mark.usefixtures("spoilt")
def test_statistics_that_make_it_worse_are_not_kept(dense: Checkpoint, tmp_path: Path) -> None:
    hurt = damage(dense, tmp_path, 0.1)
    made = retrained(replace(CONFIG, epochs=0), hurt, dense, small.draft(tmp_path, "tuned"))
    assert made.facts.recovery.after_recalibration < made.facts.recovery.after_pruning
    assert made.facts.validation == made.facts.recovery.after_pruning
    one, two = models.load(hurt).module.state_dict(), models.load(made).module.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("spoilt")
@pytest.mark.parametrize("asked", [None, True, False])
def test_statistics_that_were_fitted_stay_in_training(
    dense: Checkpoint, tmp_path: Path, asked: bool | None
) -> None:
    hurt = damage(dense, tmp_path, 0.4)
    config = replace(CONFIG, learning_rate=0.002, freeze_batchnorm=asked)
    made = retrained(config, hurt, dense, small.draft(tmp_path, "tuned"))
    one, two = models.load(hurt).module, models.load(made).module
    kept = [torch.equal(one.get_buffer(f"bn1.running_{name}"), two.get_buffer(f"bn1.running_{name}"))
            for name in ("mean", "var")]  # fmt: skip
    assert kept == [asked is not False] * 2
    assert not torch.equal(one.get_parameter("bn1.weight"), two.get_parameter("bn1.weight"))


@pytest.mark.parametrize(
    ("before", "recalibrated", "dense", "kept"),
    [
        (90.8, 87.8, 97.0, True),
        (90.5, 89.0, 97.0, False),  # there is more to win back
        (95.5, 94.3, 95.0, True),  # nothing is lost
        (95.5, 95.0, 95.0, False),  # within the standard error, 0.85
        (75.9, 75.9, 87.2, False),
        (90.8, 87.8, None, True),
    ],
)
def test_statistics_are_kept_where_new_ones_cost_a_part_of_what_was_lost(
    before: float, recalibrated: float, dense: float | None, kept: bool
) -> None:
    percent = of_samples("percent", lambda *_: torch.zeros(1))
    old, new = (Result(percent, (), points, 600) for points in (before, recalibrated))
    assert finetune._freezes(TrainConfig(freeze_batchnorm=None), old, new, dense) == kept
    assert finetune._freezes(TrainConfig(freeze_batchnorm=not kept), old, new, dense) != kept


def test_a_rate_that_ruins_the_network_is_lowered(
    dense: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hurt = damage(dense, tmp_path, 0.8)
    for rate, lower in ((0.2, False), (1e4, True)):
        far = replace(CONFIG, epochs=1, learning_rate=rate)
        made = retrained(far, hurt, dense, small.draft(tmp_path, f"at {rate}"))
        assert ("once more" in capsys.readouterr().err) == lower
        assert made.facts.validation >= made.facts.recovery.after_recalibration
    whole = Checkpoint(hurt.path, replace(hurt.facts, dense_validation=0.0))  # nothing was lost
    assert retrained(far, whole, dense, small.draft(tmp_path, "nothing lost")).facts.validation > 0
    assert "diverged: once more" in capsys.readouterr().err
    with pytest.raises(StageError, match="diverged"):
        retrained(replace(CONFIG, learning_rate=1e30), hurt, dense, small.draft(tmp_path, "nan"))


def test_no_epochs_recalibrate_only(dense: Checkpoint, tmp_path: Path) -> None:
    hurt = damage(dense, tmp_path, 0.5)
    made = retrained(replace(CONFIG, epochs=0), hurt, dense, small.draft(tmp_path, "tuned"))
    assert made.facts.validation == made.facts.recovery.after_recalibration
    assert made.facts.training.curve == ()
    one, two = models.load(hurt).module, models.load(made).module
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, two.get_parameter(name))
    assert not torch.equal(one.get_buffer("bn1.running_mean"), two.get_buffer("bn1.running_mean"))


def test_a_network_that_lost_nothing_passes_through(dense: Checkpoint, tmp_path: Path) -> None:
    untouched = Checkpoint(dense.path, replace(dense.facts, pruned=False))
    made = retrained(CONFIG, untouched, dense, small.draft(tmp_path, "same"))
    assert (made.path / "weights.safetensors").read_bytes() == (
        dense.path / "weights.safetensors"
    ).read_bytes()
    assert made.facts == untouched.facts


def test_recalibration_measures_mean_and_variance(dense: Checkpoint) -> None:
    network = models.load(dense)
    data = load(network.data, network.seed, network.task)
    norm, convolution = network.module.get_submodule("bn1"), network.module.get_submodule("conv1")
    momentum = norm.momentum
    finetune.recalibrate(network, data)
    seen = [convolution(inputs[0]) for inputs, _ in finetune.batches(data.train, 0)]
    assert torch.allclose(norm.running_mean, torch.cat(seen).mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(norm.running_var, torch.cat(seen).var((0, 2, 3)), rtol=0.05)
    assert norm.momentum == momentum
    assert not any(m.training for m in network.module.modules())


def test_recalibrating_a_network_without_batchnorm_changes_nothing(tmp_path: Path) -> None:
    config = baseline.SourceConfig(small.model(tmp_path, "pair"), small.data(tmp_path, "sums"))
    network = models.load(baseline.source(config, small.draft(tmp_path, "s")))
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    finetune.recalibrate(network, load(network.data, 0))
    assert all(torch.equal(before[n], t) for n, t in network.module.state_dict().items())


def test_a_student_learns_from_its_teacher_alone(dense: Checkpoint, tmp_path: Path) -> None:
    """Weight 1 leaves no labels: what it knows at the end, it has from the teacher."""
    student = small.start(tmp_path)
    config = replace(CONFIG, epochs=4, learning_rate=0.1, distill=1.0, temperature=3.0)
    made = retrained(config, student, dense, small.draft(tmp_path, "taught"))
    assert made.facts.validation > 80
    teacher = models.load(dense).module
    assert torch.equal(
        teacher.get_buffer("bn1.running_mean"), models.load(dense).module.get_buffer("bn1.running_mean")
    )


def test_a_dict_of_outputs_is_distilled(tmp_path: Path) -> None:
    data = small.data(tmp_path, "sums")
    source = baseline.source(
        baseline.SourceConfig(small.model(tmp_path, "pair"), data), small.draft(tmp_path, "s")
    )
    tuned = retrained(replace(CONFIG, epochs=1), source, source, small.draft(tmp_path, "t"))
    assert len(tuned.facts.training.curve) == 1


def test_what_the_recipe_leaves_open_is_as_in_training() -> None:
    from jetpress.deploy.targets import find

    recipe = Recipe(name="x", train=TrainConfig(optimizer="adamw", learning_rate=0.001, clip_norm=2.0))
    found = resolve(recipe, find("host")).finetune.training
    assert found.optimizer == "adamw"
    assert found.learning_rate == pytest.approx(0.0002)
    assert found.clip_norm == 2.0
    assert found.weight_decay == recipe.train.weight_decay
    assert found.schedule == "cosine"
    assert (
        finetuning(FinetuneConfig(), TrainConfig()).training.learning_rate == TrainConfig().learning_rate / 5
    )


def halved(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Half of the channels removed."""
    network = models.load(checkpoint)
    inputs = models.example_inputs(network.model.inputs)
    graph = analyse(network.module, inputs)
    removal = {group.name: list(range(group.units // 2)) for group in graph.groups}
    network.module, step = cut(network.module, inputs, graph, removal)
    network.history.append(step)
    return models.save(network, small.draft(folder, "halved"), replace(checkpoint.facts, pruned=True))


@pytest.mark.parametrize("how", [{"hint": 0.5}, {"attention": 5.0}, {"similarity": 5.0}])
def test_a_pruned_network_learns_the_feature_maps_of_its_dense_twin(
    dense: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: Any
) -> None:
    """By feature maps alone: no labels, no outputs but through what lies below them."""
    hurt = halved(dense, tmp_path)
    config = replace(CONFIG, distill=1.0, temperature=4.0, **how)
    made = retrained(config, hurt, dense, small.draft(tmp_path, "tuned"))
    assert "feature maps compared: conv1.weight, conv2.weight" in capsys.readouterr().err
    assert made.facts.validation > made.facts.recovery.after_recalibration
    # The adapters are gone: the network is the pruned one.
    assert set(models.load(made).module.state_dict()) == set(models.load(hurt).module.state_dict())


def test_hints_bring_feature_maps_nearer(dense: Checkpoint, tmp_path: Path) -> None:
    hurt, distances = damage(dense, tmp_path, 0.6), []
    data = load(models.load(dense).data, 0)
    inputs = data.validation.batch(range(64), None)[0]
    theirs = features.maps_of(models.load(dense).module, ["conv2.weight"], inputs)[1][0]
    for weight in (0.0, 20.0):
        config = replace(CONFIG, distill=0.0, hint=weight, layers=("conv2.*",))
        made = retrained(config, hurt, dense, small.draft(tmp_path, f"tuned-{weight}"))
        ours = features.maps_of(models.load(made).module, ["conv2.weight"], inputs)[1][0]
        distances.append(distill.values(ours, theirs).item())
    assert distances[1] < 0.8 * distances[0]


def test_any_other_network_may_teach(dense: Checkpoint, tmp_path: Path) -> None:
    """A wider one, by its outputs and, at the same resolutions, by its feature maps."""
    wide = small.start(tmp_path, "wide", arguments={"width": 24})
    teacher = train.train(TrainConfig(epochs=3, learning_rate=0.1), wide, small.draft(tmp_path, "teacher"))
    config = replace(CONFIG, hint=0.1, attention=1.0, similarity=1.0)
    made = retrained(config, damage(dense, tmp_path), teacher, small.draft(tmp_path, "tuned"))
    assert made.facts.validation > 70


def test_another_teacher_is_a_step_of_its_own(tmp_path: Path) -> None:
    """Looked at before anything is trained, and only where the recipe asks for it."""
    weights = str(small.start(tmp_path).path / "weights.safetensors")
    teacher = ModelConfig(builder=f"{tmp_path}/network.py:build", weights=weights)
    recipe = Recipe(name="x", model=replace(teacher, weights=None), data=small.DIGITS)
    names = [step.name for step in plan(recipe, "nano", home=tmp_path)]
    assert "teacher" not in names
    taught = replace(recipe, finetune=FinetuneConfig(teacher=teacher))
    with_teacher = [step.name for step in plan(taught, "nano", home=tmp_path)]
    assert with_teacher.index("teacher") == names.index("source") + 1
    assert [name for name in with_teacher if name != "teacher"] == names


def test_a_layer_that_is_not_there_is_an_error(dense: Checkpoint, tmp_path: Path) -> None:
    config = replace(CONFIG, hint=0.5, layers=("layer9.*",))
    with pytest.raises(RecipeError, match="matches no weight"):
        retrained(config, damage(dense, tmp_path), dense, small.draft(tmp_path, "tuned"))


def test_it_stops_when_the_budget_holds_with_margin(dense: Checkpoint, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=8, stop_margin=1.0, accuracy_drop=30.0)
    made = retrained(config, damage(dense, tmp_path, 0.3), dense, small.draft(tmp_path, "tuned"))
    assert made.facts.dense_validation == dense.facts.validation
    assert len(made.facts.training.curve) == 2
    assert "are enough" in made.facts.training.stopped
    # The next round is measured against the dense network too, not against this one.
    again = retrained(config, damage_again(made, tmp_path), dense, small.draft(tmp_path, "again"))
    assert again.facts.dense_validation == dense.facts.validation


def damage_again(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    (folder / "second").mkdir()
    return damage(checkpoint, folder / "second", 0.4)
