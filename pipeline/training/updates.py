"""One step of the optimizer, in which pruned weights take no part: their gradients never reach it, and they are
exactly 0.0 after it, in the weights and in their running average.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training.ema import average_of
from jetpress.pipeline.training.masks import Masks


class Updates:
    """What turns losses into new weights.

    Args:
        module: the network, on its device, in its memory layout.
        masks: parameter name -> bool tensor: False is held at zero.
        settings: of the optimizer.
        extra: what else is trained, and dropped afterwards.
        scaled: whether losses are scaled, as fp16 needs it.
    """

    def __init__(
        self,
        module: nn.Module,
        masks: Mapping[str, Tensor],
        settings: TrainConfig,
        extra: nn.Module | None = None,
        scaled: bool = False,
    ) -> None:
        self.module, self.clip_norm = module, settings.clip_norm
        self.masks = Masks(module, masks)
        self.optimizer = optimizer(module, settings, extra)
        place = next((p.device.type for p in module.parameters()), "cpu")
        self.scaler = torch.amp.GradScaler(place, enabled=scaled)
        self.average = average_of(module, settings.ema) if settings.ema else None

    @property
    def judged(self) -> nn.Module:
        """The network whose accuracy counts: the average, where there is one."""
        average: nn.Module | None = self.average and self.average.module
        return average or self.module

    def resumed(self, steps: int) -> None:
        """So many steps were made before the weights and their average were filled in."""
        if self.average is not None:
            self.average.n_averaged.fill_(steps)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one part of a step's samples."""
        self.scaler.scale(loss).backward()

    def step(self, rate: float) -> None:
        """New weights from the gradients, which are then gone; ``rate``: of learning."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        self.masks.drop_gradients()
        if self.clip_norm > 0:
            parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.masks.apply()
        if self.average is not None:
            self.average.update_parameters(self.module)


def optimizer(
    module: nn.Module, settings: TrainConfig, extra: nn.Module | None = None
) -> torch.optim.Optimizer:
    """No weight decay on biases and normalisation: they have one dimension."""
    parameters = [*module.parameters(), *(extra.parameters() if extra is not None else ())]
    parameters = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=True,
    )


@contextmanager
def frozen(module: nn.Module, patterns: tuple[str, ...]) -> Iterator[None]:
    """Parameters whose names match stay as they are inside.

    Raises:
        RecipeError: a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in parameters):
            raise RecipeError(
                f"train.freeze: {pattern!r} matches no parameter",
                f"parameters are named as in {', '.join(list(parameters)[:3])}",
            )
    held = [
        p
        for name, p in parameters.items()
        if p.requires_grad and any(fnmatch(name, pattern) for pattern in patterns)
    ]
    if patterns and len(held) == sum(p.requires_grad for p in parameters.values()):
        raise RecipeError("train.freeze leaves nothing to train", "take a pattern out")
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
