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
from jetpress.pipeline.pruning.steps import Course, goal
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
        config, whole, trained = self._config, goal(self._config, 1, None), 0
        self._judged(self.best)
        self.why = "left before its end"
        course = Course(config, whole.share, self._drop)
        while (share := course.next()) is not None:
            now = pruned(self._model, self._inputs, whole.at(config, share), self._data, self._clock)
            if not now.removed:
                course.told(share, None)
                continue
            yield now
            trained += 1
            if course.told(share, self._judged(now)):
                self.best = self._model = now
        self.why = self._ending(course, trained)

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

    def _ending(self, course: Course, trained: int) -> str:
        if not trained:
            left = next(iter({**self.best.pruning.left, **self.best.pruning.fixed}.items()), None)
            return "nothing was removed" + (f": {left[0]}: {left[1]}" if left else "")
        if course.reached:
            return "the goal is reached"
        lost = self.accuracy[0] - self.accuracy[-1] if self.accuracy else 0.0
        if lost > self._drop:
            return f"round {course.number} lost {lost:.4g} points of accuracy, and {self._drop:g} may be lost"
        if course.number == self._config.rounds:
            return "there is no round left"
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
    steps: Literal["even", "whole"] = "even",
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
        rounds: there are at most so many.
        first_step: of ``even``: the first of several rounds removes at most this share.
        steps: ``even``: equal steps; it ends with the first that lost too much. ``whole``: first all that is to go;
            after a round that lost too much less, from the last good network (make a new optimizer); after one that
            did not, more.

    Raises:
        RecipeError: as of :func:`jetpress.prune`; ``accuracy`` and ``drop`` are not in one unit.
        StageError: as there; ``accuracy`` gives no number.
    """
    config = configured(how, rounds=rounds, first_step=first_step, steps=steps)
    if not drop >= 0:
        raise RecipeError(f"jetpress.rounds: drop = {drop}", "give the points that may be lost: 0 or more")
    data = shown(config, how)
    return Rounds(model, example_inputs, config, data, accuracy, drop, clock_of(config, how))
