"""Weights that are held at zero stay there, whatever trains them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jetpress.deploy.errors import StageError
from jetpress.pipeline.training.masks import Masks

OPTIMIZERS = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad]


def tiny() -> tuple[nn.Module, Masks]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5))
    drawn = {name: torch.rand_like(module.get_parameter(name)) > 0.5 for name in ("0.weight", "3.weight")}
    return module, Masks(module, drawn)


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, count: int = 3) -> None:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        inputs = torch.randn(4, 3, 8, 8, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(module(inputs), torch.arange(4)).backward()
        optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("how", ["hold", "held"])
def test_any_optimizer_holds_them(kind: type[torch.optim.Optimizer], how: str) -> None:
    module, masks = tiny()
    before = copy.deepcopy(module)
    optimizer = kind(module.parameters(), lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
    if how == "hold":
        optimizer.step()  # nothing has a gradient yet
        masks.hold(optimizer)
        steps(module, optimizer)
    else:
        with masks.held():
            steps(module, optimizer)
    masks.check()
    moved = module.get_parameter("3.weight") != before.get_parameter("3.weight")
    assert torch.equal(moved, masks["3.weight"])


def test_after_the_end_they_are_held_no_more() -> None:
    module, masks = tiny()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with masks.hold(optimizer):
        steps(module, optimizer)
    masks.check()
    steps(module, optimizer)
    with pytest.raises(StageError, match=r"0\.weight: \d+ of \d+ weights"):
        masks.check()


def test_a_copy_is_checked_by_its_names() -> None:
    module, masks = tiny()
    other = copy.deepcopy(module)
    masks.check(other)
    other.get_parameter("3.weight").data.fill_(1.0)
    with pytest.raises(StageError, match=r"3\.weight"):
        masks.check(other)
