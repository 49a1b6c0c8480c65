from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training import fit
from jetpress.pipeline.training.updates import Updates, frozen
from tests.pipeline import small
from tests.pipeline.stages.test_train import few, network, same, weights


def tiny() -> nn.Module:
    """A convolution, BatchNorm, a head."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5))


def masks_of(module: nn.Module, dropped: float, seed: int) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(module.get_parameter(name).shape, generator=drawn) > dropped
        for name in ("0.weight", "3.weight")
    }


SETTINGS = st.builds(
    TrainConfig,
    optimizer=st.sampled_from(["sgd", "adamw"]),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    clip_norm=st.sampled_from([0.0, 0.5]),
    ema=st.sampled_from([0.0, 0.5, 0.99]),
)


@given(
    settings=SETTINGS,
    dtype=st.sampled_from([None, torch.bfloat16]),
    parts=st.sampled_from([1, 3]),
    steps=st.integers(1, 6),
    dropped=st.floats(0.05, 0.95),
    seed=st.integers(0, 999),
    scaled=st.booleans(),
)
def test_pruned_weights_are_exactly_zero_and_nothing_of_them_is_remembered(
    settings: TrainConfig,
    dtype: torch.dtype | None,
    parts: int,
    steps: int,
    dropped: float,
    seed: int,
    scaled: bool,
) -> None:
    """In the weights, their average and every moment: whatever the optimizer, decay, precision and accumulation."""
    module = tiny()
    masks = masks_of(module, dropped, seed)
    updates = Updates(module, masks, settings, scaled=scaled)
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images, labels = torch.randn(6, 3, 8, 8, generator=drawn), torch.arange(6) % 5
        for some, wanted in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                loss = F.cross_entropy(module(some).float(), wanted)
            updates.backward(loss / parts)
        updates.step(0.05)
        for name, mask in masks.items():
            parameter = module.get_parameter(name)
            for tensor in (parameter, updates.judged.get_parameter(name)):
                assert torch.equal(tensor[~mask], torch.zeros(int((~mask).sum())))
            for moment in updates.optimizer.state[parameter].values():
                if moment is not None and moment.shape == parameter.shape:
                    assert torch.equal(moment[~mask], torch.zeros(int((~mask).sum())))


def test_a_pruned_weight_that_somebody_sets_does_not_come_back() -> None:
    module = tiny()
    masks = masks_of(module, 0.5, 0)
    updates = Updates(module, masks, TrainConfig(weight_decay=0.0))
    with torch.no_grad():
        module.get_parameter("0.weight").fill_(1.0)
    (1e6 * module(torch.ones(2, 3, 8, 8))).sum().backward()
    updates.step(0.1)
    parameter = module.get_parameter("0.weight")
    assert not parameter[~masks["0.weight"]].any()
    assert not updates.optimizer.state[parameter]["momentum_buffer"][~masks["0.weight"]].any()
    assert updates.optimizer.state[parameter]["momentum_buffer"][masks["0.weight"]].any()


def test_the_average_is_the_average() -> None:
    module = tiny()
    updates = Updates(module, {}, TrainConfig(ema=0.9))
    expected: dict[str, torch.Tensor] = {}
    for step in range(5):
        module(torch.randn(4, 3, 8, 8)).square().mean().backward()
        updates.step(0.1)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if step == 0 or not value.is_floating_point():
                expected[name] = value.clone()
            else:
                expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in updates.judged.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert not same(module.state_dict(), expected)


def test_the_average_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    plain, averaged = network(tmp_path), network(tmp_path)
    config = TrainConfig(epochs=1, learning_rate=0.1, schedule="constant")
    for one, ema in ((plain, 0.0), (averaged, 0.98)):
        fit.fit(one, few(one), replace(config, ema=ema), state=tmp_path / f"s{ema}", what="x")
    assert not same(weights(plain), weights(averaged))
    # Of a noisy walk the average lies nearer to where it started than its end does.
    start = weights(network(tmp_path))["head.weight"]
    far, near = (weights(one)["head.weight"] - start for one in (plain, averaged))
    assert near.norm() < far.norm()


@pytest.mark.parametrize("parts", [2, 5, 32])
def test_accumulation_equals_the_large_batch(tmp_path: Path, parts: int) -> None:
    """Where every sample is by itself; 32 samples in 5 parts are parts of 6 and 7."""
    made = []
    for count in (1, parts):
        one = models.load(small.start(tmp_path, f"start-{count}", function="plain"))
        config = TrainConfig(
            epochs=1, learning_rate=0.05, accumulate=count, clip_norm=1.0, precision="float32"
        )
        made.append((fit.fit(one, few(one), config, state=tmp_path / f"s{count}", what="x"), weights(one)))
    (whole, ours), (divided, theirs) = made
    assert divided.training.curve[0].loss == pytest.approx(whole.training.curve[0].loss, rel=1e-5)
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=1e-3, atol=1e-5), name


def test_frozen_parameters_and_their_statistics_stay(tmp_path: Path) -> None:
    one = network(tmp_path)
    before = weights(one)
    config = TrainConfig(epochs=1, learning_rate=0.1, freeze=("conv1.*", "bn1.*"), weight_decay=0.1)
    fit.fit(one, few(one), config, state=tmp_path / "s", what="x")
    after = weights(one)
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"conv2", "bn2", "head"}
    assert all(p.requires_grad for p in one.module.parameters())


@pytest.mark.parametrize(
    ("patterns", "said"), [(("conv7.*",), "matches no parameter"), (("*",), "nothing to train")]
)
def test_freezing_what_is_not_there_or_everything(patterns: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said), frozen(tiny(), patterns):
        pass


def test_what_is_added_is_trained_too() -> None:
    module, extra = tiny(), nn.Linear(5, 5)
    before = copy.deepcopy(extra.state_dict())
    updates = Updates(module, {}, TrainConfig(), extra)
    extra(module(torch.randn(4, 3, 8, 8))).square().mean().backward()
    updates.step(0.1)
    assert not same(before, extra.state_dict())
