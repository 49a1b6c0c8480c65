from __future__ import annotations

import errno
import json
import math
import resource
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.data.loading import Data, load, steps
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.retraining import Distillation
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.stages import assess, train
from jetpress.pipeline.stages import source as baseline
from jetpress.pipeline.training import fit, resume, updates
from jetpress.pipeline.training.distill import Teacher
from jetpress.pipeline.training.evaluate import evaluate, guessing
from jetpress.pipeline.training.losses import loss
from tests.pipeline import small

QUICK = TrainConfig(epochs=3, learning_rate=0.1, precision="float32")


def network(folder: Path, dropped: float = 0.0) -> Network:
    """The tiny network; of its convolution and head a share of the weights is masked."""
    found = models.load(small.start(folder, f"start-{len(list(folder.iterdir()))}"))
    if dropped:
        generator = torch.Generator().manual_seed(0)
        for name in ("conv2.weight", "head.weight"):
            shape = found.module.get_parameter(name).shape
            found.masks[name] = torch.rand(shape, generator=generator) > dropped
    return found


def few(of: Network) -> Data:
    """The digits with 400 training images."""
    data = load(of.data, 0)
    return replace(data, train=data.train.subset(torch.arange(400)))


def weights(of: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in of.module.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


class Killed(BaseException):
    """What SIGKILL would do, as far as one process can see it."""


def kill_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Die in the middle of an epoch, counted from 0."""
    batches = fit.batches

    def dying(split: Any, number: int | None = None, *rest: Any) -> Any:
        for count, batch in enumerate(batches(split, number, *rest)):
            if number == epoch and count == 5:
                raise Killed
            yield batch

    monkeypatch.setattr(fit, "batches", dying)


def test_the_baseline_learns_the_digits(tmp_path: Path) -> None:
    start = small.start(tmp_path)
    made = train.train(replace(QUICK, epochs=5), start, small.draft(tmp_path, "train"))
    assert made.facts.validation > 85
    assert len(made.facts.training.curve) == 5
    assert made.facts.data.train == start.facts.data.train
    lines = (made.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(entry) for entry in made.facts.training.curve]
    assert sorted(p.name for p in made.path.iterdir()) == [
        "metrics.jsonl",
        "network.json",
        "weights.safetensors",
    ]
    again = models.load(made)
    data = load(again.data, again.seed)
    assert evaluate(again, data.validation, "") == made.facts.validation

    final = assess.assess(None, start, made, small.draft(tmp_path, "assess"))
    assert final.facts.compressed.validation == made.facts.validation
    assert final.facts.dense.test < 40 < final.facts.compressed.test
    assert final.facts.test_images == len(data.test)


@pytest.mark.parametrize(
    ("killed_in", "taught", "changed"),
    [
        (1, False, {}),
        (2, False, {"optimizer": "adamw", "learning_rate": 0.01}),
        (1, True, {"ema": 0.9, "accumulate": 2, "schedule": "one-cycle"}),
        (2, False, {"mixup": 0.2, "cutmix": 1.0, "precision": "bf16", "freeze": ("conv1.*",)}),
        (1, True, {"optimizer": "adamw", "learning_rate": 0.01, "precision": "fp16", "ema": 0.9}),
    ],
)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: int, changed: Any, taught: bool
) -> None:
    """Bit for bit: the average, the scale of the losses, the adapters of hints and their moments too."""
    config, teacher = replace(QUICK, **changed), None
    if taught:
        wide = models.load(small.start(tmp_path, "teacher", arguments={"width": 24}))
        teacher = Teacher(wide.module, Distillation(0.5, 4.0, hint=0.5, attention=1.0, similarity=1.0))

    def fitted(one: Network, state: str) -> fit.Fit:
        return fit.fit(one, data, config, state=tmp_path / state, what=state, teacher=teacher)

    whole = network(tmp_path, dropped=0.5)
    data = few(whole)
    through = fitted(whole, "a")
    broken = network(tmp_path, dropped=0.5)
    with monkeypatch.context() as patch:
        kill_in(patch, killed_in)
        with pytest.raises(Killed):
            fitted(broken, "b")
    assert json.loads((tmp_path / "b/state.json").read_text())["state"]["epoch"] == killed_in
    assert not list((tmp_path / "b").glob("*.pt"))
    torch.manual_seed(99)  # whatever else the process did meanwhile
    resumed = network(tmp_path, dropped=0.5)
    rest = fitted(resumed, "b")
    assert rest == through
    assert same(weights(resumed), weights(whole))


def test_a_resumed_stage_makes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = small.start(tmp_path)
    whole = train.train(QUICK, start, small.draft(tmp_path, "whole"))
    draft = small.draft(tmp_path, "killed")
    with monkeypatch.context() as patch:
        kill_in(patch, 1)
        with pytest.raises(Killed):
            train.train(QUICK, start, draft)
    (draft / "weights.safetensors").write_bytes(b"half of it")
    made = train.train(QUICK, start, draft)
    assert made.facts == whole.facts
    for file in whole.path.iterdir():
        assert (draft / file.name).read_bytes() == file.read_bytes()


def test_the_state_of_another_training_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is any file that it left: the second training is killed too, and resumes from its own."""
    one, other = network(tmp_path), replace(QUICK, momentum=0.5)
    data, whole = few(one), network(tmp_path)
    expected = fit.fit(whole, data, other, state=tmp_path / "whole", what="whole", start=0.0)
    for config in (QUICK, other):
        with monkeypatch.context() as patch:
            kill_in(patch, 2)
            with pytest.raises(Killed):
                fit.fit(network(tmp_path), data, config, state=tmp_path / "state", what="killed", start=0.0)
    resumed = network(tmp_path)
    assert fit.fit(resumed, data, other, state=tmp_path / "state", what="other", start=0.0) == expected
    assert same(weights(resumed), weights(whole))


def test_the_weights_it_started_from_survive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = network(tmp_path)
    before, data = weights(one), few(one)
    with monkeypatch.context() as patch:
        kill_in(patch, 2)
        with pytest.raises(Killed):
            fit.fit(one, data, QUICK, state=tmp_path / "state", what="killed", start=100.1)
    resumed = network(tmp_path)
    with torch.no_grad():
        resumed.module.get_parameter("head.bias").add_(1.0)  # the state counts, not what it was called with
    fitted = fit.fit(resumed, data, QUICK, state=tmp_path / "state", what="x", start=100.1)
    assert fitted.training.best_epoch == 0
    assert same(weights(resumed), before)


@pytest.mark.parametrize("torn", ["state.json", "weights-1.safetensors", "moments-1.safetensors"])
def test_a_state_that_is_not_readable_is_said_and_training_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], torn: str
) -> None:
    one = network(tmp_path)
    data = few(one)
    with monkeypatch.context() as patch:
        kill_in(patch, 1)
        with pytest.raises(Killed):
            fit.fit(one, data, QUICK, state=tmp_path / "state", what="killed")
    (tmp_path / "state" / torn).write_bytes(b"{")
    again = fit.fit(network(tmp_path), data, QUICK, state=tmp_path / "state", what="again")
    assert len(again.training.curve) == 3
    assert "not readable" in capsys.readouterr().err


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    """A file that may not grow is one, too."""
    one = network(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            fit.fit(one, few(one), QUICK, state=tmp_path / "state", what="x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG


def test_ctrl_c_passes_through_and_leaves_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    one = network(tmp_path)
    save = resume.save

    def then_interrupt(*arguments: Any) -> None:
        save(*arguments)
        monkeypatch.setattr(fit, "judged", interrupted)

    monkeypatch.setattr(resume, "save", then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(one, load(one.data, 0), QUICK, state=tmp_path / "state", what="x")
    assert json.loads((tmp_path / "state/state.json").read_text())["state"]["epoch"] == 1


def test_masked_weights_are_exactly_zero_after_a_training(tmp_path: Path) -> None:
    one = network(tmp_path, 0.5)
    before, config = weights(one), replace(QUICK, weight_decay=0.1, clip_norm=0.5, ema=0.9, accumulate=2)
    fit.fit(one, few(one), config, state=tmp_path / "state", what="x")
    for name, mask in one.masks.items():
        parameter = one.module.get_parameter(name)
        assert torch.equal(parameter[~mask], torch.zeros(int((~mask).sum())))
        assert not torch.equal(parameter[mask], before[name][mask])


def test_masks_survive_saving(tmp_path: Path) -> None:
    one = network(tmp_path, dropped=0.5)
    saved = models.save(one, small.draft(tmp_path, "masked"))
    assert same(models.load(saved).masks, one.masks)


def test_biases_and_norms_do_not_decay(tmp_path: Path) -> None:
    optimizer = updates.optimizer(network(tmp_path).module, QUICK)
    decayed, free = optimizer.param_groups
    assert {p.ndim for p in free["params"]} == {1}
    assert free["weight_decay"] == 0
    assert len(decayed["params"]) == 3
    assert decayed["weight_decay"] == QUICK.weight_decay


def test_a_diverging_loss_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    one = network(tmp_path)
    with pytest.raises(StageError, match="the training diverged") as caught:
        fit.fit(one, load(one.data, 0), replace(QUICK, learning_rate=1e30), state=tmp_path / "s", what="x")
    assert "clip_norm" in caught.value.hint


def test_nothing_learnt_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(QUICK, epochs=1, learning_rate=1e-9)
    start = small.start(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jetpress.pipeline.stages.train.guessing", lambda *_: 99.0)
        train.train(config, start, small.draft(tmp_path, "train"))
    assert "no better than guessing" in capsys.readouterr().err
    one = network(tmp_path)
    assert 9 < (guessing(one, load(one.data, 0).validation) or 0) < 12


def test_two_inputs_a_dict_of_outputs_and_functions_of_the_users_own(tmp_path: Path) -> None:
    data = small.data(tmp_path, "sums")
    file = tmp_path / "data.py"
    data = replace(data, loss=f"{file}:both", metric=f"{file}:right")
    source = baseline.source(
        baseline.SourceConfig(small.model(tmp_path, "pair"), data), small.draft(tmp_path, "s")
    )
    loaded = models.load(source)
    assert [(i.name, i.shape) for i in loaded.model.inputs] == [("left", (4,)), ("right", (3,))]
    made = train.train(replace(QUICK, epochs=4), source, small.draft(tmp_path, "t"))
    assert made.facts.validation > 85


def test_a_class_that_the_network_has_no_score_for(tmp_path: Path) -> None:
    judge = loss(network(tmp_path))
    with pytest.raises(RecipeError, match="the data has class 12, the network scores 10 classes"):
        judge(torch.zeros(2, 10), torch.tensor([3, 12]), ())


def test_a_metric_must_give_one_number_a_sample(tmp_path: Path) -> None:
    one = network(tmp_path)
    small.data(tmp_path, "sums")
    one.data = replace(one.data, metric=f"{tmp_path / 'data.py'}:one_number")
    with pytest.raises(RecipeError, match=r"a tensor \[\] for 128 samples"):
        evaluate(one, load(small.DIGITS, 0).validation, "x")


def test_an_output_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    one = network(tmp_path)
    with torch.no_grad():
        one.module.get_parameter("head.bias").fill_(math.nan)
    with pytest.raises(StageError, match="NaN or infinite"):
        evaluate(one, load(small.DIGITS, 0).validation, "x")


def test_the_better_of_the_start_and_all_epochs_is_kept(tmp_path: Path) -> None:
    one = network(tmp_path)
    before = weights(one)
    fitted = fit.fit(one, load(one.data, 0), QUICK, state=tmp_path / "s", what="x", start=100.1)
    assert fitted.training.best_epoch == 0
    assert fitted.validation == 100.1
    assert same(weights(one), before)


def test_evaluating_leaves_the_network_where_it_was(tmp_path: Path) -> None:
    one = network(tmp_path)
    before = weights(one)
    evaluate(one, load(one.data, 0).validation, "x")
    assert same(weights(one), before)
    assert steps(load(one.data, 0).train) > 30


def test_training_stops_when_the_target_holds_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(QUICK, epochs=8, stop_at=50.0)
    made = train.train(config, small.start(tmp_path), small.draft(tmp_path, "train"))
    assert 2 <= len(made.facts.training.curve) < 8
    assert "in 2 epochs in a row" in made.facts.training.stopped
    assert "training stops: " in capsys.readouterr().err
    assert min(entry.validation for entry in made.facts.training.curve[-2:]) >= 50


def test_a_hopeless_training_is_given_up(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=6, stop_at=100.0, learning_rate=1e-6)
    made = train.train(config, small.start(tmp_path), small.draft(tmp_path, "train"))
    assert len(made.facts.training.curve) == 3
    assert "out of reach" in made.facts.training.stopped


def test_a_stopped_training_stays_stopped_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, one = replace(QUICK, epochs=8, stop_at=50.0), network(tmp_path)
    data = few(one)
    through = fit.fit(one, data, config, state=tmp_path / "state", what="x")
    resumed = network(tmp_path)
    assert fit.fit(resumed, data, config, state=tmp_path / "state", what="x") == through
    assert same(weights(resumed), weights(one))


@pytest.mark.parametrize("changed", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_mixed_images_teach(tmp_path: Path, changed: Any) -> None:
    start = small.start(tmp_path)
    made = train.train(replace(QUICK, epochs=4, **changed), start, small.draft(tmp_path, "train"))
    assert made.facts.validation > 70
    losses = [entry.loss for entry in made.facts.training.curve]
    assert losses[-1] < losses[0]


def test_compiling_and_looking_inside_exclude_each_other(tmp_path: Path) -> None:
    one = network(tmp_path)
    teacher = Teacher(network(tmp_path).module, Distillation(0.5, 4.0, hint=1.0))
    with pytest.raises(RecipeError, match="exclude each other"):
        fit.fit(one, few(one), replace(QUICK, compile=True), state=tmp_path / "s", what="x", teacher=teacher)


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_loss(tmp_path: Path) -> None:
    curves = []
    for compiled in (False, True):
        one = models.load(small.start(tmp_path, f"start-{compiled}", function="plain"))
        config = replace(QUICK, epochs=1, compile=compiled)
        fitted = fit.fit(one, few(one), config, state=tmp_path / f"s{compiled}", what="x")
        curves.append(fitted.training.curve[0])
    assert curves[0].loss == pytest.approx(curves[1].loss, rel=1e-3)


def test_the_figures_of_a_running_training_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = network(tmp_path)
    with monkeypatch.context() as patch:
        kill_in(patch, 2)
        with pytest.raises(Killed):
            fit.fit(one, few(one), QUICK, state=tmp_path / "state", what="killed")
    lines = [json.loads(line) for line in (tmp_path / "state/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "learning_rate", "validation"} < set(lines[0])
