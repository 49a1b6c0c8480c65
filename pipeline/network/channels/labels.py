"""Labels on channels: which indices of which axes stand or fall together.

Every index along every axis of every tensor carries a label, an integer. Two indices that can only be removed
together are united; what cannot be removed at all is fixed, with the reason. Label 0 (``OUTSIDE``) marks
indices that are no channels: batch, space, the network's inputs. The classes of the union-find structure are
the units of pruning.

All operations work on whole arrays: a network has some 10^5 labels and Python loops over them would cost
seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import fx

Indices = NDArray[np.int64]
Axes = list[Indices]
"""One array of labels per axis of a tensor; its length is the size of the axis."""
Value = Axes | list[Axes] | None
"""Labels of a tensor, of several tensors, or of something that is no tensor."""
Count = Callable[[Indices], int]
"""How many of these channels survive."""

OUTSIDE = 0


class Labels:
    """A union-find structure over labels, some of whose classes are fixed for a stated reason."""

    def __init__(self) -> None:
        self.reasons = ["", "not a channel"]
        """Texts; index 0 means that a class is free."""
        self._parent = np.zeros(1024, dtype=np.int64)
        self._reason = np.zeros(1024, dtype=np.int64)
        self._reason[OUTSIDE] = 1
        self.size = 1
        """Labels so far."""

    def fresh(self, count: int) -> Indices:
        """``count`` new labels; an axis of size 1 is no channel axis: it broadcasts."""
        if count == 1:
            return outside(1)
        while self.size + count > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros_like(self._parent)])
            self._reason = np.concatenate([self._reason, np.zeros_like(self._reason)])
        new = np.arange(self.size, self.size + count, dtype=np.int64)
        self._parent[new] = new
        self.size += count
        return new

    def find(self, labels: Indices) -> Indices:
        """The representative of each label's class."""
        roots = self._parent[labels]
        if (roots == (higher := self._parent[roots])).all():
            return roots
        while (roots != higher).any():
            roots, higher = higher, self._parent[higher]
        self._parent[labels] = roots
        return roots

    def unite(self, first: Indices, second: Indices, reason: str) -> None:
        """Element by element, both go together. What meets ``OUTSIDE`` is fixed for ``reason``."""
        if first is second or not (first.any() or second.any()):
            return
        first, second = np.broadcast_arrays(first, second)
        first, second = first.ravel(), second.ravel()
        self.fix(first[second == OUTSIDE], reason)
        self.fix(second[first == OUTSIDE], reason)
        both = (first != OUTSIDE) & (second != OUTSIDE)
        first, second = first[both], second[both]
        involved = np.concatenate([first, second])
        reasons = self.reason(involved)
        while (differ := (a := self.find(first)) != (b := self.find(second))).any():
            low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
            self._parent[high] = low  # the last of several wins; the loop unites the others
        held = reasons > 0
        self._reason[self.find(involved[held])] = reasons[held]

    def fix(self, labels: Indices, reason: str) -> None:
        """These channels stay, for ``reason``; the first reason given to a class is kept."""
        if not labels.any():
            return
        roots = self.find(labels)
        roots = roots[self._reason[roots] == 0]
        if len(roots):
            self._reason[roots] = self._number(reason)

    def fix_axes(self, axes: Axes, reason: str) -> None:
        """Fix every label of every axis."""
        for axis in axes:
            self.fix(axis, reason)

    def _number(self, reason: str) -> int:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason)

    def reason(self, labels: Indices) -> Indices:
        """Per label the index into ``reasons``; 0 is free."""
        return self._reason[self.find(labels)]

    def is_free(self, axis: Indices) -> bool:
        """Is there anything on this axis that can still be removed?"""
        return bool((self.reason(axis) == 0).any())

    def classes(self, axis: Indices) -> int:
        """How many free classes this axis has."""
        roots = self.find(axis)
        return len(np.unique(roots[self._reason[roots] == 0]))

    def reshape(self, axes: Axes, new: Sequence[int], reason: str) -> Axes:
        """Labels through a row-major reshape to sizes ``new``.

        Old and new axes fall into blocks of equal products; within a block the old axes are merged into one
        and split again. Axes of size 1 carry nothing and are set aside.
        """
        old = [axis for axis in axes if len(axis) != 1]
        sizes = [size for size in new if size != 1]
        result: Axes = []
        i = j = 0
        while i < len(old) or j < len(sizes):
            first, first_new = i, j
            left, right = len(old[i]), sizes[j]
            i, j = i + 1, j + 1
            while left != right:
                if left < right:
                    left, i = left * len(old[i]), i + 1
                else:
                    right, j = right * sizes[j], j + 1
            result += self._split(self._merge(old[first:i], reason), sizes[first_new:j], reason)
        carried = iter(result)
        return [outside(1) if size == 1 else next(carried) for size in new]

    def _merge(self, axes: Axes, reason: str) -> Indices:
        """One axis out of several. Only one of them can stay prunable: the one with most classes."""
        if len(axes) == 1:
            return axes[0]
        free = [k for k, axis in enumerate(axes) if self.is_free(axis)]
        keep = max(free, key=lambda k: (self.classes(axes[k]), k), default=None)
        for k in free:
            if k != keep:
                self.fix(axes[k], f"{reason}: merged with another axis of channels")
        shape = [len(axis) for axis in axes]
        if keep is None:
            return outside(math.prod(shape))
        column = axes[keep].reshape([-1 if k == keep else 1 for k in range(len(axes))])
        return np.broadcast_to(column, shape).ravel()

    def _split(self, axis: Indices, sizes: Sequence[int], reason: str) -> Axes:
        """Several axes out of one. One of them carries the labels: the one that keeps most of the freedom."""
        if len(sizes) == 1:
            return [axis]
        if not self.is_free(axis):
            return [outside(size) for size in sizes]
        grid = axis.reshape(list(sizes))
        roots = self.find(grid)

        def freedom(k: int) -> tuple[bool, int, int]:
            rows = np.moveaxis(roots, k, 0).reshape(sizes[k], -1)
            return bool((rows == rows[:, :1]).all()), sizes[k], k

        carrier = max((k for k in range(len(sizes)) if sizes[k] > 1), key=freedom)
        rows = np.moveaxis(grid, carrier, 0).reshape(sizes[carrier], -1)
        self.unite(rows, rows[:, :1], reason)
        result = [outside(size) for size in sizes]
        result[carrier] = rows[:, 0].copy()
        return result


def outside(count: int) -> Indices:
    """An axis without channels."""
    return np.zeros(count, dtype=np.int64)


def outsides(shape: Sequence[int]) -> Axes:
    """A tensor without channels."""
    return [outside(size) for size in shape]


class NoRuleError(Exception):
    """This form of the operator is beyond its rule."""


@dataclass
class Call:
    """One operator at work: its arguments by name, the labels of its tensors, the shapes of its results."""

    name: str
    arguments: dict[str, Any]
    values: Mapping[fx.Node, Value]
    labels: Labels
    shapes: list[tuple[int, ...]]
    where: str = ""
    """Path of the module that called it."""
    produced: list[Indices] = field(default_factory=list)
    """The axes of parameters whose channels come into being here."""
    whole: bool = False
    """Of grouped operators: whole groups go, rather than the same channels of every group."""
    result: Value = None

    def axes(self, name: str) -> Axes:
        """Labels of a tensor argument."""
        found = self.optional(name)
        if found is None:
            raise NoRuleError(f"{self.name} without {name}")
        return found

    def optional(self, name: str) -> Axes | None:
        """Labels of a tensor argument that may be missing."""
        value = self.arguments.get(name)
        return cast("Axes | None", self.values.get(value)) if isinstance(value, fx.Node) else None

    def tensors(self, name: str) -> list[Axes]:
        """Labels of an argument that is a list of tensors."""
        return [cast("Axes", self.values[node]) for node in self.arguments[name]]

    def dimension(self, name: str, rank: int) -> int:
        """An argument that counts axes, from 0."""
        return int(self.arguments[name]) % rank

    def planes(self, spatial: int) -> Axes:
        """Labels of the input, whose last ``spatial`` axes are no channels."""
        axes = self.axes("self" if "self" in self.arguments else "input")
        self.fix(*axes[-spatial:])
        return axes

    @property
    def reason(self) -> str:
        """The operator and the place, as the report shows them."""
        return f"{self.name} in {self.where}" if self.where else self.name

    def unite(self, first: Indices, second: Indices) -> None:
        """These go together."""
        self.labels.unite(first, second, self.reason)

    def fix(self, *axes: Indices) -> None:
        """These stay."""
        self.labels.fix_axes(list(axes), self.reason)
