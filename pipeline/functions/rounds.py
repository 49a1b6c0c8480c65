"""Pruning in rounds around somebody's own training: a step, their training, their measure of accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Unpack

from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.functions.arguments import Cutting, configured, spelled
from jetpress.pipeline.functions.pruned import Pruned
from jetpress.pipeline.functions.pruning import Shown, clock_of, pruned, shown
from jetpress.pipeline.network.channels.modes import set_modes
from jetpress.pipeline.pruning import steps as sizes
from jetpress.pipeline.pruning.steps import goal
from jetpress.pipeline.recipe.sections.compression import PruneConfig

if TYPE_CHECKING:
    from jetpress.pipeline.functions.latency import Clock

Accuracy = Callable[[nn.Module], float]
"""A network -> its points on validation data, more is better."""


class Rounds:
    """Rounds of pruning, to be iterated once: each gives a network to train, and goes on when that is done."""

    def __init__(
        self,
        model: nn.Module | Pruned,
        inputs: Tensor | Sequence[Tensor],
        config: PruneConfig,
        data: Shown,
        accuracy: Accuracy | None,
        drop: float,
        clock: Clock | None = None,
    ) -> None:
        self.why = "not begun"
        """Why it ended."""
        self.accuracy: list[float] = []
        """Points of the dense network, and of each round's after training."""
        self._model, self._inputs, self._config, self._data = model, inputs, config, data
        self._measure, self._drop, self._clock = accuracy, drop, clock
        whole = replace(
            config,
            ratio=0.0,
            macs=None,
            params=None,
            latency=None,
            scope="uniform",
            criterion="l2",
            reconstruct=False,
        )
        self.best = pruned(model, inputs, whole, Shown((), None, 0))
        """The last network that was good enough, as it was trained: at first a copy of the dense one."""
        self._walk = self._rounds()

    def __iter__(self) -> Iterator[Pruned]:
        return self._walk

    def _rounds(self) -> Iterator[Pruned]:
        config, whole, done = self._config, goal(self._config, 1, None), 0.0
        self._judged(self.best)
        step, trained = sizes.first(config, whole.share), 0
        self.why = "left before its end"
        for number in range(1, config.rounds + 1):
            left, share = config.rounds - number, min(done + step, whole.share)
            step = share - done
            now = pruned(self._model, self._inputs, whole.at(config, share), self._data, self._clock)
            if not now.removed:
                done, step = share, sizes.even(whole.share - share, left)
                continue
            yield now
            trained += 1
            lost = self._judged(now)
            kept = lost is None or lost <= self._drop
            if kept:
                self.best = self._model = now
                done = share
            elif config.steps == "even" or not left:
                self.why = (
                    f"round {number} lost {lost:.4g} points of accuracy, and {self._drop:g} may be lost"
                )
                return
            easy = lost is None or lost <= self._drop / 2
            step = sizes.following(config, step, whole.share - done, left, kept, easy)
            if done >= whole.share - 1e-9 or step < sizes.SMALLEST:
                break
        self.why = self._ending(done >= whole.share - 1e-9, trained)

    def _judged(self, slim: Pruned) -> float | None:
        """Points below the dense network; None where nobody measures."""
        if self._measure is None:
            return None
        modes = {part: part.training for part in slim.module.modules()}
        points = float(self._measure(slim.module))
        set_modes(modes)
        if not math.isfinite(points):
            raise StageError(f"accuracy gave {points}", "it must give points, more for a better network")
        self.accuracy.append(points)
        dense = self.accuracy[0]
        if 0 < dense <= self._drop:
            raise RecipeError(
                f"accuracy gave {dense:g} for the dense network, and drop={self._drop:g} lets all of it go",
                "give both in one unit: points from 0 to 100, or drop=0.01",
            )
        return dense - points

    def _ending(self, reached: bool, trained: int) -> str:
        if not trained:
            left = next(iter({**self.best.pruning.left, **self.best.pruning.fixed}.items()), None)
            return "nothing was removed" + (f": {left[0]}: {left[1]}" if left else "")
        if reached:
            return "the goal is reached"
        return "a smaller step is not worth a training"


@spelled
def rounds(
    model: nn.Module | Pruned,
    example_inputs: Tensor | Sequence[Tensor],
    *,
    accuracy: Accuracy | None = None,
    drop: float = 1.0,
    rounds: int = 3,
    first_step: float = 0.3,
    steps: Literal["adaptive", "even"] = "even",
    **how: Unpack[Cutting],
) -> Rounds:
    """Prune in rounds: ``for step in jetpress.rounds(...): train(step.module)``.

    It ends at the goal; with a round that lost too much; or where nothing can be removed. ``why`` says which, ``best``
    is the last network that was good enough. Accuracy is measured after each training, and before the first.

    Args:
        model: as of :func:`jetpress.prune`, with the arguments that are not named here.
        example_inputs: as there.
        accuracy: a network -> its points on validation data, more is better; it may change its mode. None: every round
            is good enough.
        drop: points that may be lost against the network that was given, in the unit of ``accuracy``.
        rounds: the goal is reached in this many steps.
        first_step: the first of several rounds removes at most this share.
        steps: ``even``: it ends with the first round that lost too much. ``adaptive``: half of its step is tried from
            the last good network (make a new optimizer then), and steps grow while little is lost.

    Raises:
        RecipeError: as of :func:`jetpress.prune`; ``accuracy`` and ``drop`` are not in one unit.
        StageError: as there; ``accuracy`` gives no number.
    """
    config = configured(how, rounds=rounds, first_step=first_step, steps=steps)
    if not drop >= 0:
        raise RecipeError(f"jetpress.rounds: drop = {drop}", "give the points that may be lost: 0 or more")
    data = shown(config, how)
    return Rounds(model, example_inputs, config, data, accuracy, drop, clock_of(config, how))
