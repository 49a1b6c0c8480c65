"""Rounds around somebody's training: they end where they should, and say why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import jetpress
from jetpress.deploy.errors import RecipeError, StageError
from tests.pipeline.functions.networks import INPUTS, net, step


def rounds(**how: Any) -> jetpress.Rounds:
    return jetpress.rounds(net(), INPUTS, **{"macs": 0.6, "channel_multiple": 2, **how})


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_goal_is_reached_in_steps_with_one_optimizer() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    steps = jetpress.rounds(model, INPUTS, macs=0.6, channel_multiple=2, accuracy=lambda m: 90.0)
    sizes = []
    for slim in steps:
        slim.prune_optimizer(optimizer)
        step(slim.module, optimizer)
        sizes.append(slim.size.macs)
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    assert steps.why == "the goal is reached"
    assert steps.best.size.macs == sizes[-1] <= 0.4 * steps.best.dense.macs
    assert steps.accuracy == [90.0] * 4


def test_the_last_good_one_is_kept_as_it_was_trained() -> None:
    trained = []

    def accuracy(module: nn.Module) -> float:
        module.eval()
        return 90.0 if parameters(module) > 1500 else 88.0

    steps = rounds(accuracy=accuracy)
    for slim in steps:
        assert slim.module.training
        with torch.no_grad():
            slim.module.get_parameter("head.bias").fill_(len(trained))
        trained.append(slim)
    assert steps.why == f"round {len(trained)} lost 2 points of accuracy, and 1 may be lost"
    assert steps.best is trained[-2]
    assert steps.best.module.get_parameter("head.bias")[0] == len(trained) - 2


def test_a_first_round_that_fails_leaves_the_dense_network() -> None:
    steps = rounds(accuracy=lambda module: 90.0 if parameters(module) > 2800 else 10.0)
    assert len(list(steps)) == 1
    assert not steps.best.removed
    assert parameters(steps.best.module) == parameters(net())


def test_the_whole_goal_first_then_less_from_the_last_good_network() -> None:
    tried = []

    def accuracy(module: nn.Module) -> float:
        tried.append(parameters(module))
        return 90.0 if parameters(module) > 1500 else 80.0

    model = net()
    steps = jetpress.rounds(
        model, INPUTS, macs=0.6, channel_multiple=2, accuracy=accuracy, steps="whole", rounds=5
    )
    for slim in steps:
        assert slim.dense.parameters == parameters(model) == tried[0]
        assert steps.best.size.parameters >= slim.size.parameters
    whole = parameters(jetpress.prune(model, INPUTS, macs=0.6, channel_multiple=2).module)
    assert tried[1] == whole < 1500 < parameters(steps.best.module) < 2800
    assert len(tried) > 3
    assert parameters(steps.best.module) == min(size for size in tried if size > 1500)


def test_the_whole_goal_at_once_where_it_can_be_borne() -> None:
    for accuracy in (None, lambda module: 90.0):
        steps = rounds(accuracy=accuracy, steps="whole")
        assert len(list(steps)) == 1
        assert steps.why == "the goal is reached"
        assert steps.best.size.macs <= 0.4 * steps.best.dense.macs


def test_nothing_to_remove_is_said() -> None:
    steps = rounds(channel_multiple=16)
    assert list(steps) == []
    assert steps.why == "nothing was removed: first.weight: 16 channels: no smaller multiple of 16"


def test_who_leaves_is_told_so() -> None:
    steps = rounds()
    for _ in steps:
        break
    assert steps.why == "left before its end"


@pytest.mark.parametrize(("how", "said"), [
    ({"accuracy": lambda _: 0.93}, "in one unit"),
    ({"drop": -1}, "0 or more"),
    ({"rounds": 0}, "jetpress.prune: rounds = 0"),
    ({"criterion": "taylor"}, "gradients of a loss"),
])  # fmt: skip
def test_what_cannot_work_is_said_before_training(how: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        next(iter(rounds(**how)))


def test_an_accuracy_that_is_no_number_is_refused() -> None:
    with pytest.raises(StageError, match="accuracy gave nan"):
        next(iter(rounds(accuracy=lambda _: float("nan"))))
