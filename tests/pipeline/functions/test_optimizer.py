"""What trained the dense network trains the pruned one: state is the slice of what it was; so are copies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import jetpress
from jetpress.deploy.errors import RecipeError
from tests.pipeline.functions.networks import INPUTS, Net, Stubborn, net, step

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw, amsgrad": lambda p: torch.optim.AdamW(p, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True),
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
    "nadam": torch.optim.NAdam,
}


def prune(model: nn.Module, **how: Any) -> jetpress.Pruned:
    return jetpress.prune(model, INPUTS, **{"macs": 0.5, "channel_multiple": 2, **how})


def positions(slim: jetpress.Pruned, name: str, axis: int, width: int) -> list[int]:
    ranges = slim.history[-1]["kept"].get(name, {}).get(str(axis), [[0, width]])
    return [k for a, b in ranges for k in range(a, b)]


def sliced(slim: jetpress.Pruned, name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    for axis, width in enumerate(tensor.shape):
        if width == shape[axis]:
            tensor = tensor.index_select(axis, torch.tensor(positions(slim, name, axis, width)))
    return tensor


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("make", [net, Stubborn])
def test_state_is_cut_as_the_parameters_were(kind: str, make: Callable[[], nn.Module]) -> None:
    model = make()
    optimizer = OPTIMIZERS[kind](list(model.parameters()))
    step(model, optimizer)
    names = {parameter: name for name, parameter in model.named_parameters()}
    before = {names[p]: (p.shape, copy.deepcopy(state)) for p, state in optimizer.state.items()}
    slim = prune(model)
    slim.prune_optimizer(optimizer)
    after = {name: optimizer.state[p] for name, p in slim.module.named_parameters()}
    assert before.keys() == after.keys()
    assert len(optimizer.state) == len(after)
    for name, (shape, state) in before.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.ndim:
                value = sliced(slim, name, value, shape)
            assert torch.equal(torch.as_tensor(after[name][key]), torch.as_tensor(value)), (name, key)
    weights = [slim.module.get_parameter(f"{name}.weight") for name in ("first", "second", "head")]
    cut = [weight.clone() for weight in weights]
    step(slim.module, optimizer)
    assert not any(torch.equal(a, b) for a, b in zip(weights, cut, strict=True))


def test_groups_schedulers_and_other_modules_stay() -> None:
    model, other = net(), nn.Linear(2, 2)
    groups = [
        {"params": [*model.first.named_parameters(), *model.norm.named_parameters()], "lr": 0.5},
        {"params": [*model.second.named_parameters(), *model.head.named_parameters()]},
        {"params": list(other.named_parameters())},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)
    step(model, optimizer)
    scheduler.step()
    slim = prune(model)
    slim.prune_optimizer(optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 4, 2]
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias", "weight", "bias"]
    assert optimizer.param_groups[0]["params"][0] is slim.module.first.weight
    assert optimizer.param_groups[2]["params"][0] is other.weight
    scheduler.step()
    assert [round(group["lr"], 6) for group in optimizer.param_groups] == [0.005, 0.001, 0.001]
    optimizer.load_state_dict(optimizer.state_dict())


def test_round_after_round() -> None:
    first = prune(net(), macs=0.3)
    optimizer = torch.optim.Adam(first.module.parameters())
    step(first.module, optimizer)
    second = jetpress.prune(first, INPUTS, macs=0.6, channel_multiple=2)
    second.prune_optimizer(optimizer)
    step(second.module, optimizer)
    assert {id(p) for p in optimizer.state} == {id(p) for p in second.module.parameters()}


def test_a_weight_put_together_begins_anew() -> None:
    model = net()
    parametrizations.weight_norm(model.first)
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    slim = prune(model)
    slim.prune_optimizer(optimizer)
    assert sum(p is slim.module.first.weight for p in optimizer.param_groups[0]["params"]) == 1
    assert slim.module.first.weight not in optimizer.state
    assert slim.module.second.weight in optimizer.state
    step(slim.module, optimizer)


def test_what_cannot_be_cut_is_refused_and_left() -> None:
    model = net()
    slim = prune(model)
    with pytest.raises(RecipeError, match="no parameter of the network that was pruned"):
        slim.prune_optimizer(torch.optim.Adam(net().parameters()))
    with pytest.raises(RecipeError, match="LBFGS keeps the whole network as one vector"):
        slim.prune_optimizer(torch.optim.LBFGS(model.parameters()))
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    optimizer.state[model.first.weight]["exp_avg"] = torch.zeros(7)
    with pytest.raises(RecipeError, match=r"Adam keeps 'exp_avg' for first.weight as a tensor \[7\]"):
        slim.prune_optimizer(optimizer)
    assert optimizer.param_groups[0]["params"][0] is model.first.weight
    assert model.first.weight in optimizer.state


@pytest.mark.parametrize("make", [net, Stubborn])
def test_an_average_and_a_teacher_are_cut_alike(make: Callable[[], Net]) -> None:
    model = make()
    average = AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    average.update_parameters(model)
    average.update_parameters(make())
    slim = prune(model)
    smaller = slim.prune_copy(average)
    assert isinstance(smaller, AveragedModel)
    assert smaller.n_averaged == 2
    for name, tensor in average.module.named_parameters():
        assert torch.equal(smaller.module.get_parameter(name), sliced(slim, name, tensor, tensor.shape))
    smaller.update_parameters(slim.module)
    assert average.module.first.weight.shape == (16, 3, 3, 3)
    assert slim.prune_copy(model).state_dict().keys() == slim.module.state_dict().keys()
    with pytest.raises(RecipeError, match=r"head.weight: \[5, 16\] and \[4, 16\]"):
        slim.prune_copy(Net(5))
