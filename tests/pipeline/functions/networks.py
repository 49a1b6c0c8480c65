"""Somebody's networks, small: the shapes do not matter, what is around them does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUTS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two convolutions, the second with a shortcut, and a classifier."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = x + torch.relu(self.second(x))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Stubborn(Net):
    """Its code names a width: it cannot be changed."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = self.second(x.reshape(len(x), 16, 8, 8))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def net() -> Net:
    """The same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One step of training."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = module(INPUTS.to(next(module.parameters()).dtype)).float().square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
