"""What pruning a module gives: the smaller module, what became of it, and the same cut for what belongs to it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.functions.given import Shapes, given, trainable, unwrapped
from jetpress.pipeline.functions.optimizer import Fate, cut_state
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import Step, positions
from jetpress.pipeline.network.channels.inside import outside
from jetpress.pipeline.store.facts.network import Pruning

Module = TypeVar("Module", bound=nn.Module)
SHOWN = 12
"""Lines of each kind in a summary."""


@dataclass(frozen=True)
class Size:
    """What a network costs."""

    parameters: int
    """Numbers that train or are frozen; buffers do not count."""
    macs: int
    """Multiply-accumulates of one sample."""


@dataclass(frozen=True)
class Cut:
    """What one call of prune did."""

    steps: tuple[Step, ...]
    shapes: Shapes
    """Of the tensors before, by name."""
    names: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary, repr=False)
    """Parameter before -> its name, as long as somebody holds it; empty where it was loaded from a file."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Names before that are no more -> the plain weight that was computed from them."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network."""

    module: nn.Module
    """An ordinary module: of the same class and with the same names of its parameters where ``pruning.as_graph`` is
    False, in the mode, the types and the place of the one that was given, which is left as it was."""
    pruning: Pruning
    """What was removed, what stayed and why."""
    dense: Size
    """Of the network before anything was pruned."""
    size: Size
    """Of ``module``."""
    notes: tuple[str, ...]
    """What else is not as it was given, in words."""
    history: tuple[Step, ...] = field(repr=False)
    """Every step from the dense network on."""
    original: nn.Module = field(repr=False)
    """The dense network, without its weights."""
    inputs: tuple[Tensor, ...] = field(repr=False)
    """The example inputs, on the CPU."""
    last: Cut = field(repr=False)
    """What this call of prune did."""

    @property
    def removed(self) -> bool:
        """Whether this call of prune removed anything."""
        return bool(self.last.steps)

    def summary(self) -> str:
        """What was removed, what stayed and why, for people to read."""
        done, before, now = self.pruning, self.dense, self.size
        lines = [done.headline if self.removed else "nothing was removed"]
        lines.append(f"multiply-adds {_counted(before.macs)} -> {_counted(now.macs)}, "
                     f"parameters {_counted(before.parameters)} -> {_counted(now.parameters)}")  # fmt: skip
        if (time := done.time) is not None:
            said = "" if time.met else ", not met"
            lines.append(
                f"{time.dense_ms:.3g} ms -> {time.measured_ms:.3g} ms, {time.limit_ms:.3g} ms asked for{said}"
            )
        lines += _listed("removed", {one.name: f"{one.before} -> {one.after}" for one in done.layers})
        lines += _listed("removed block", dict.fromkeys(done.blocks, "bypassed"))
        lines += _listed("stays", {**done.left, **done.fixed})
        lines += _listed("stays", done.refused)
        if done.as_graph:
            lines.append(f"lives on as its traced graph, as its code does not take the widths: {done.why}")
        return "\n".join([*lines, *self.notes])

    __str__ = summary

    @trainable
    def prune_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Go on with an optimizer of the network before: its groups hold the new parameters, its state is cut.

        State is of the parameter's shape (momentum, moments), of one number (steps), or has length 1 where it is
        summed over an axis (Adafactor). Parameters of other modules stay as they are. Learning rate schedulers and
        gradient scalers that know the optimizer go on with it.

        Args:
            optimizer: of the module that was given to prune; any of PyTorch's but LBFGS, or one that keeps such state.

        Raises:
            RecipeError: it knows no parameter of the network before, or keeps state of another form (LBFGS). Nothing
                is changed then.
        """
        cut_state(optimizer, self._fate)

    def _fate(self, parameter: Tensor) -> Fate | None:
        """What became of a parameter of the network before."""
        name = self.last.names.get(parameter)
        if name is None:
            return None
        now = dict(self.module.named_parameters(remove_duplicate=False))
        if self.pruning.as_graph:
            now = {**{outside(held): one for held, one in now.items()}, **now}
        if name in self.last.parts:
            return Fate(name, now.get(self.last.parts[name]), None)
        kept = {
            axis: left.tolist()
            for step in self.last.steps
            for axis, left in positions(step).get(name, {}).items()
        }
        return Fate(name, now.get(name), kept)

    @trainable
    def prune_copy(self, model: Module) -> Module:
        """Another network of the same architecture without the same channels: a running average, a teacher.

        Args:
            model: as the network before this cut, with weights of its own; of a slim that was loaded, as the dense one.
                It is left as it is.

        Returns:
            a copy that is smaller; an ``AveragedModel`` stays one.

        Raises:
            RecipeError: it has other names or shapes.
        """
        wrapper = model if isinstance(model, torch.optim.swa_utils.AveragedModel) else None
        other = given(model)
        check_same(
            other.shapes, self.last.shapes, f"this {type(model).__name__}", "the network that was pruned"
        )
        cut = other.back(models.replayed(other.module, self.inputs, self.last.steps))
        if wrapper is None:
            return cut  # type: ignore[return-value]
        return copy.deepcopy(wrapper, {id(wrapper.module): cut})


def names_of(model: nn.Module) -> WeakTensorKeyDictionary:
    """Parameter -> its name in the network that ``model`` is or holds."""
    names = WeakTensorKeyDictionary()
    for name, parameter in unwrapped(model)[0].named_parameters():
        names[parameter] = name.replace("_orig_mod.", "")
    return names


def check_same(found: Shapes, wanted: Shapes, what: str, other: str) -> None:
    """Two networks have the same tensors.

    Raises:
        RecipeError: they do not; the first differences are named.
    """
    differences = [
        f"{n}: {list(found[n])} and {list(wanted[n])}" for n in found if found[n] != wanted.get(n, found[n])
    ]
    differences += [f"{name}: only in {other}" for name in wanted if name not in found]
    differences += [f"{name}: only in {what}" for name in found if name not in wanted]
    if differences:
        more = f", ... ({len(differences)})" if len(differences) > 3 else ""
        raise RecipeError(
            f"{what} is another network than {other}: {', '.join(differences[:3])}{more}",
            "it must be of the same architecture and widths",
        )


def _listed(what: str, lines: Mapping[str, str]) -> list[str]:
    shown = [f"  {what}: {name}: {why}" for name, why in list(lines.items())[:SHOWN]]
    return [*shown, f"  {what}: ... {len(lines) - SHOWN} more"] if len(lines) > SHOWN else shown


def _counted(number: int) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)
