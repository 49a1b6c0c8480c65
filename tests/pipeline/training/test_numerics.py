from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training import fit, numerics
from tests.pipeline.stages.test_train import QUICK, Killed, few, kill_in, network, same, weights

CPU = torch.device("cpu")


def test_what_the_recipe_says_is_taken() -> None:
    for kind in ("float32", "tf32", "bf16", "fp16"):
        assert numerics.precision(TrainConfig(precision=kind), CPU) == kind  # type: ignore[arg-type]


def test_a_cpu_without_bf16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "cpu_has_bf16", lambda: False)
    assert numerics.precision(TrainConfig(), CPU) == "float32"


def test_a_cpu_with_bf16_is_measured_unless_bits_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "cpu_has_bf16", lambda: True)
    assert numerics.precision(TrainConfig(), CPU) == ""
    assert numerics.precision(TrainConfig(deterministic=True), CPU) == "float32"


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.95, "float32"), (2.0, "float32")])
def test_bf16_is_taken_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bf16: float, chosen: str
) -> None:
    monkeypatch.setattr(numerics, "seconds", lambda *a: [1.0, bf16])
    assert numerics.faster(nn.Linear(1, 1), ()) == chosen
    assert "times as fast" in capsys.readouterr().err


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    one = network(tmp_path)
    before, state = weights(one), torch.get_rng_state()
    (inputs, _) = few(one).train.batch(range(4), 0)
    assert all(0 < taken < 60 for taken in numerics.seconds(one.module, inputs, (None, torch.bfloat16)))
    assert same(weights(one), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in one.module.parameters())


def test_what_was_measured_is_kept_when_a_training_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another measurement might come out differently, and the result with it."""
    one, config = network(tmp_path), replace(QUICK, precision="auto")
    monkeypatch.setattr(numerics, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(numerics, "faster", lambda *a: "bf16")
    with monkeypatch.context() as patch:
        kill_in(patch, 1)
        with pytest.raises(Killed):
            fit.fit(one, few(one), config, state=tmp_path / "state", what="killed")
    assert json.loads((tmp_path / "state/state.json").read_text())["state"]["precision"] == "bf16"
    monkeypatch.setattr(numerics, "faster", lambda *a: "float32")
    resumed = fit.fit(network(tmp_path), few(one), config, state=tmp_path / "state", what="x")
    assert resumed.training.precision == "bf16"


def test_switches_are_as_before_afterwards() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    with numerics.prepared(TrainConfig(deterministic=True), CPU):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before


def test_an_operator_without_a_deterministic_form_is_named() -> None:
    """What torch says on a GPU, in its own words."""
    said = (
        "adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set "
        "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation"
    )
    with pytest.raises(StageError) as caught, numerics.prepared(TrainConfig(deterministic=True), CPU):
        raise RuntimeError(said)
    assert caught.value.what.startswith("adaptive_max_pool2d_backward_cuda")
    assert "turn off" not in caught.value.what
    assert "train.deterministic" in caught.value.hint
    with pytest.raises(RuntimeError, match="out of memory"), numerics.prepared(TrainConfig(), CPU):
        raise RuntimeError("out of memory")


def test_keeping_memory_does_not_change_a_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for keep in (lambda: False, numerics.keep_memory):
        monkeypatch.setattr(numerics, "keep_memory", keep)
        one = network(tmp_path)
        config = replace(QUICK, epochs=1)
        fit.fit(one, few(one), config, state=tmp_path / f"s{len(made)}", what="x")
        made.append(weights(one))
    assert same(*made)
