from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import RecipeError, StageError
from pipeline import assess, baseline, models, resume, schedule, train, updates
from pipeline.data import Data, load, steps
from pipeline.evaluate import evaluate, loss
from pipeline.models import Network
from pipeline.sections import TrainConfig
from tests.pipeline import small

QUICK = TrainConfig(epochs=3, learning_rate=0.1)


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
    batches = train.batches

    def dying(split: Any, number: int | None = None, *rest: Any) -> Any:
        for count, batch in enumerate(batches(split, number, *rest)):
            if number == epoch and count == 5:
                raise Killed
            yield batch

    monkeypatch.setattr(train, "batches", dying)


def test_the_baseline_learns_the_digits(tmp_path: Path) -> None:
    start = small.start(tmp_path)
    made = train.train(replace(QUICK, epochs=5), start, small.draft(tmp_path, "train"))
    assert made.facts["validation"] > 85
    assert len(made.facts["curve"]) == made.facts["epochs"] == 5
    assert made.facts["data"]["train"] == start.facts["data"]["train"]
    lines = (made.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == made.facts["curve"]
    assert sorted(p.name for p in made.path.iterdir()) == [
        "metrics.jsonl",
        "network.json",
        "weights.safetensors",
    ]
    again = models.load(made)
    data = load(again.data, again.seed)
    assert evaluate(again, data.validation, "") == made.facts["validation"]

    final = assess.assess(None, start, made, small.draft(tmp_path, "assess"))
    assert final.facts["compressed"]["validation"] == made.facts["validation"]
    assert final.facts["dense"]["test"] < 40 < final.facts["compressed"]["test"]
    assert final.facts["test_images"] == len(data.test)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("killed_in", [1, 2])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, killed_in: int
) -> None:
    config = replace(QUICK, optimizer=optimizer, learning_rate=0.1 if optimizer == "sgd" else 0.01)
    whole = network(tmp_path, dropped=0.5)
    data = few(whole)
    through = train.fit(whole, data, config, state=tmp_path / "a", what="through")

    broken = network(tmp_path, dropped=0.5)
    with monkeypatch.context() as patch:
        kill_in(patch, killed_in)
        with pytest.raises(Killed):
            train.fit(broken, data, config, state=tmp_path / "b", what="killed")
    assert json.loads((tmp_path / "b/state.json").read_text())["state"]["epoch"] == killed_in
    assert not list((tmp_path / "b").glob("*.pt"))
    torch.manual_seed(99)  # whatever else the process did meanwhile
    resumed = network(tmp_path, dropped=0.5)
    rest = train.fit(resumed, data, config, state=tmp_path / "b", what="resumed")
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
    expected = train.fit(whole, data, other, state=tmp_path / "whole", what="whole", start=0.0)
    for config in (QUICK, other):
        with monkeypatch.context() as patch:
            kill_in(patch, 2)
            with pytest.raises(Killed):
                train.fit(network(tmp_path), data, config, state=tmp_path / "state", what="killed", start=0.0)
    resumed = network(tmp_path)
    assert train.fit(resumed, data, other, state=tmp_path / "state", what="other", start=0.0) == expected
    assert same(weights(resumed), weights(whole))


def test_the_weights_it_started_from_survive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = network(tmp_path)
    before, data = weights(one), few(one)
    with monkeypatch.context() as patch:
        kill_in(patch, 2)
        with pytest.raises(Killed):
            train.fit(one, data, QUICK, state=tmp_path / "state", what="killed", start=100.1)
    resumed = network(tmp_path)
    with torch.no_grad():
        resumed.module.get_parameter("head.bias").add_(1.0)  # the state counts, not what it was called with
    assert train.fit(resumed, data, QUICK, state=tmp_path / "state", what="x", start=100.1).best_epoch == 0
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
            train.fit(one, data, QUICK, state=tmp_path / "state", what="killed")
    (tmp_path / "state" / torn).write_bytes(b"{")
    assert len(train.fit(network(tmp_path), data, QUICK, state=tmp_path / "state", what="again").curve) == 3
    assert "not readable" in capsys.readouterr().err


def test_ctrl_c_passes_through_and_leaves_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    one = network(tmp_path)
    monkeypatch.setattr(train, "evaluate", lambda *a: 50.0)
    save = resume.save

    def then_interrupt(*arguments: Any) -> None:
        save(*arguments)
        monkeypatch.setattr(train, "evaluate", interrupted)

    monkeypatch.setattr(resume, "save", then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.fit(one, load(one.data, 0), QUICK, state=tmp_path / "state", what="x")
    assert json.loads((tmp_path / "state/state.json").read_text())["state"]["epoch"] == 1


@given(
    optimizer=st.sampled_from(["sgd", "adamw"]),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    clip_norm=st.sampled_from([0.0, 0.5]),
    dropped=st.floats(0.1, 0.9),
)
@settings(max_examples=8, deadline=None)
def test_masked_weights_are_exactly_zero(
    tmp_path_factory: pytest.TempPathFactory,
    optimizer: str,
    momentum: float,
    weight_decay: float,
    clip_norm: float,
    dropped: float,
) -> None:
    one = network(tmp_path_factory.mktemp("held"), dropped)
    config = TrainConfig(
        epochs=1,
        optimizer=optimizer,  # type: ignore[arg-type]
        momentum=momentum,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        learning_rate=0.01,
    )
    before = weights(one)
    seen: list[torch.optim.Optimizer] = []
    with pytest.MonkeyPatch.context() as patch:
        made = updates.optimizer
        patch.setattr(updates, "optimizer", lambda *a: seen.append(made(*a)) or seen[-1])
        train.fit(one, few(one), config, state=tmp_path_factory.mktemp("state"), what="x")
    for name, mask in one.masks.items():
        parameter = one.module.get_parameter(name)
        assert torch.equal(parameter[~mask], torch.zeros(int((~mask).sum())))
        assert not torch.equal(parameter[mask], before[name][mask])
        for moment in seen[0].state[parameter].values():
            if moment.shape == parameter.shape:
                assert not moment[~mask].any()


def test_masks_survive_saving(tmp_path: Path) -> None:
    one = network(tmp_path, dropped=0.5)
    saved = models.save(one, small.draft(tmp_path, "masked"), {})
    assert same(models.load(saved).masks, one.masks)


@pytest.mark.parametrize("kind", ["cosine", "step", "constant"])
def test_schedules(kind: Any) -> None:
    config = TrainConfig(epochs=8, schedule=kind, warmup_epochs=1.0)
    rates = [schedule.factor(config, step, 10) for step in range(80)]
    assert rates[:10] == sorted(rates[:10])
    assert 0 < rates[0] < 0.2
    assert max(rates) == rates[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert (
        rates[-1]
        == {"cosine": pytest.approx(0.0, abs=0.01), "step": pytest.approx(0.01), "constant": 1.0}[kind]
    )
    short = [schedule.factor(replace(config, epochs=1), step, 10) for step in range(10)]
    assert short.index(max(short)) == 2


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
        train.fit(one, load(one.data, 0), replace(QUICK, learning_rate=1e30), state=tmp_path / "s", what="x")
    assert "clip_norm" in caught.value.hint


def test_nothing_learnt_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(QUICK, epochs=1, learning_rate=1e-9)
    start = small.start(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "guessing", lambda data: 99.0)
        train.train(config, start, small.draft(tmp_path, "train"))
    assert "no better than guessing" in capsys.readouterr().err
    assert 9 < train.guessing(load(small.DIGITS, 0)) < 12


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
    assert made.facts["validation"] > 85


def test_a_class_that_the_network_has_no_score_for() -> None:
    judge = loss(small.DIGITS)
    with pytest.raises(RecipeError, match="the data has class 12, the network scores 10 classes"):
        judge(torch.zeros(2, 10), torch.tensor([3, 12]))


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
    fitted = train.fit(one, load(one.data, 0), QUICK, state=tmp_path / "s", what="x", start=100.1)
    assert fitted.best_epoch == 0
    assert fitted.validation == 100.1
    assert same(weights(one), before)


def test_evaluating_leaves_the_network_where_it_was(tmp_path: Path) -> None:
    one = network(tmp_path)
    before = weights(one)
    evaluate(one, load(one.data, 0).validation, "x")
    assert same(weights(one), before)
    assert steps(load(one.data, 0).train) > 30
