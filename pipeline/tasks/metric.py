"""How good a network is on a whole data set, as one frozen record.

A figure such as mAP is no mean over samples. So a metric is two functions: what a batch shows of each of its samples,
and what all that was shown comes to. The mean of points of each sample is the special case of it, and so is a class
with ``update`` and ``compute`` of the user's own. What was shown of each sample is kept: drawing samples anew from it
tells how finely the data set can see (:func:`jetpress.benchmarks.accuracy.redrawn`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from jetpress.benchmarks import accuracy
from jetpress.benchmarks.stats import Interval
from jetpress.pipeline.store.facts.onnx_file import DetectionRules

Parts = Mapping[str, float]
"""Figures of a part of the data set, in points: of each class."""


@dataclass(frozen=True)
class Setting:
    """What a metric may have to know of network and data."""

    classes: tuple[str, ...] = ()
    """Names, where they are known."""
    rules: Callable[[], DetectionRules | None] = lambda: None
    """How a detector's outputs become detections; asked for by who needs it, because the network may have to be
    built for it."""


def no_parts(*_: object) -> Parts:
    """For a figure without parts."""
    return {}


@dataclass(frozen=True)
class Metric:
    """A figure over a data set; higher is better."""

    measured: str
    """What it is called in the report."""
    shown: Callable[[object, Any], Sequence[Any]]
    """What the network returned for a batch, and the target -> what that shows, for each sample."""
    total: Callable[[Sequence[Any]], float]
    """What was shown of all samples -> points."""
    parts: Callable[[Sequence[Any]], Parts] = no_parts
    """The same -> of each class."""
    mean: bool = False
    """The points are a mean of points of each sample, 0 to 100."""
    redrawn: bool = True
    """What was shown may be drawn anew. A state of the user's own cannot."""
    unit: str = "%"
    """Of the points; empty: a number."""


@dataclass(frozen=True)
class Result:
    """What a network came to on a split."""

    metric: Metric
    shown: Sequence[Any] = field(repr=False)
    points: float
    samples: int = 0
    """Of the split; with several processes more than were seen here."""

    @property
    def parts(self) -> Parts:
        """Of each class."""
        return self.metric.parts(self.shown)

    @property
    def error(self) -> float:
        """Standard error of the points: what other samples of as many would have moved them by."""
        if self.metric.mean:
            return accuracy.standard_error(self.points, self.samples or len(self.shown))
        if not self.metric.redrawn:
            return 0.0
        return accuracy.redrawn_error(self.metric.total, self.shown)

    def change(self, after: Result) -> Interval | None:
        """Points that ``after`` gains on this, on the same samples, and their 95 % interval; None where what the
        figure is made of is not known."""
        if self.metric.mean:
            return accuracy.change(np.asarray(self.shown), np.asarray(after.shown))
        if not self.metric.redrawn:
            return None
        return accuracy.redrawn(self.metric.total, self.shown, after.shown)


def of_samples(measured: str, points: Callable[[object, Any], Tensor]) -> Metric:
    """A mean of the points of each sample, 0 to 100."""
    return Metric(
        measured, lambda outputs, target: points(outputs, target).double().tolist(), mean_of, mean=True
    )


def mean_of(shown: Sequence[float]) -> float:
    """Of numbers, in double precision."""
    return float(np.mean(np.asarray(shown, np.float64)))


def of_state(measured: str, state: Any) -> Metric:
    """A state of the user's own: ``update(outputs, target)`` for each batch, then ``compute()``."""

    def shown(outputs: object, target: Any) -> Sequence[Any]:
        state.update(outputs, target)
        return [None] * samples_in(target)

    return Metric(measured, shown, lambda _: float(state.compute()), redrawn=False)


def samples_in(target: Any) -> int:
    """How many samples a target is of."""
    return samples_in(next(iter(target.values()))) if isinstance(target, Mapping) else len(target)
