"""Weights that stay zero while a network is trained, whoever trains it.

Their gradients never reach the optimizer and they are exactly 0.0 after every step. jetpress's own loop does both
itself (:mod:`jetpress.pipeline.training.updates`); any other optimizer is told by hooks of its own, and where there is
no optimizer in hand the gradients alone are held, which leaves a weight that begins at zero there: no optimizer of
PyTorch moves what never had a gradient, and weight decay of zero is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jetpress.deploy.errors import StageError


class Masks(Mapping[str, Tensor]):
    """Masks of a module's parameters: name -> bool tensor of its shape, False is held at zero.

    ::

        masks.hold(optimizer)  # every step of it, from now on
        with masks.hold(optimizer):
            ...  # or in here alone
        with masks.held():
            ...  # whatever optimizer is made in here, also by somebody else's trainer
    """

    def __init__(self, module: nn.Module, masks: Mapping[str, Tensor]) -> None:
        parameters = dict(module.named_parameters())
        self.module, self._masks = module, dict(masks)
        self._parameters = {name: parameters[name] for name in self._masks}
        self._where: dict[str, Tensor] = {}
        self.apply()

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @torch.no_grad()
    def apply(self) -> None:
        """Masked weights to zero."""
        for parameter, where in self._dropped():
            parameter.masked_fill_(where, 0.0)

    def drop_gradients(self) -> None:
        """Gradients of masked weights to zero."""
        for parameter, where in self._dropped():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(where, 0.0)

    def hold(self, optimizer: torch.optim.Optimizer) -> Holding:
        """From now on every step of ``optimizer`` leaves masked weights at zero; of a ``with`` until its end."""
        before = optimizer.register_step_pre_hook(lambda *_: self.drop_gradients())
        after = optimizer.register_step_post_hook(lambda *_: self.apply())
        return Holding(before, after)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it masked weights get no gradient: no optimizer, whose ever it is, moves them."""
        hooks = [
            parameter.register_hook(lambda grad, where=where: grad.masked_fill(where, 0.0))
            for parameter, where in self._dropped()
            if parameter.requires_grad
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def check(self, module: nn.Module | None = None) -> None:
        """Every masked weight is zero, in the module or in another with the same names.

        Raises:
            StageError: one is not; the weight and how many of it are named.
        """
        parameters = dict((module or self.module).named_parameters())
        for name, mask in self.items():
            if wrong := int(parameters[name].detach().cpu()[~mask.cpu()].count_nonzero()):
                raise StageError(
                    f"{name}: {wrong} of {int((~mask).sum())} weights that are held at zero are not zero",
                    "hold them while you train: masks.hold(optimizer), or with masks.held(): ...",
                )

    def _dropped(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Every masked parameter with where it is zero, on its device, laid out in memory as it is."""
        for name, parameter in self._parameters.items():
            where = self._where.get(name)
            if where is None or where.device != parameter.device or where.stride() != parameter.stride():
                where = torch.zeros_like(parameter, dtype=torch.bool).copy_(~self._masks[name])
                self._where[name] = where
            yield parameter, where


class Holding:
    """Hooks of an optimizer."""

    def __init__(self, *hooks: RemovableHandle) -> None:
        self._hooks = hooks

    def remove(self) -> None:
        """Weights are held no more."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
