"""What the preflight says of a model: for programs a frozen record, for people a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

NAMED = 100
"""Nodes that a problem names; it counts the others."""
SHOWN = 3
LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """One thing to say, with all the nodes that it is true of."""

    level: str
    """``error``: it will not run. ``warning``: it may not, or not as meant. ``note``: good to know."""
    about: str
    """``operator``, ``condition``, ``type``, ``opset``, ``io``, ``quantization``, ``memory``, ``trial`` ..."""
    what: str
    remedy: str = ""
    op: str = ""
    count: int = 1
    nodes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    """The PyTorch modules of these nodes, where their names tell."""


@dataclass(frozen=True)
class Verdict:
    """Will this model run on that target?"""

    model: str
    target: str
    backend: str
    tensorrt: str
    table: str
    """Version of the operator table held against the model; empty where the runtime itself was asked."""
    derived: bool
    """That table was made from an older one and the changelog."""
    precision: str
    opset: int
    ir_version: int
    nodes: dict[str, int]
    """How many are ``supported``, ``restricted`` (a condition is broken or doubtful), ``not supported``."""
    problems: tuple[Problem, ...]
    memory: dict[str, int]
    """Estimated bytes: weights, activations, building, running."""
    sparsity: dict[str, Any]
    """2:4: layers with weights, how many could be, are, and may be faster for it."""
    dla: dict[str, Any] | None
    """How many nodes the deep learning accelerator could take; None where the target has none."""
    trial: dict[str, Any] | None
    """What a real parser on this machine made of the model; None where none was asked."""

    @property
    def ok(self) -> bool:
        """Whether nothing is known that keeps it from running."""
        return not any(one.level == "error" for one in self.problems)


@dataclass
class Collector:
    """Gathers what is said of single nodes into problems."""

    found: dict[tuple[str, str, str, str, str], Problem] = field(default_factory=dict)

    def add(
        self,
        level: str,
        about: str,
        what: str,
        remedy: str = "",
        op: str = "",
        node: str = "",
        module: str = "",
    ) -> None:
        """Say something, of one node or of the whole model."""
        key = (level, about, what, remedy, op)
        one = self.found.get(key, Problem(*key, count=0))
        nodes = (*one.nodes, node) if node and len(one.nodes) < NAMED else one.nodes
        new = module and module not in one.modules and len(one.modules) < NAMED
        modules = (*one.modules, module) if new else one.modules
        self.found[key] = replace(one, count=one.count + 1, nodes=nodes, modules=modules)

    def problems(self) -> tuple[Problem, ...]:
        """Worst first, otherwise in the order found."""
        return tuple(sorted(self.found.values(), key=lambda one: LEVELS.index(one.level)))


def explain(verdict: Verdict) -> list[str]:
    """The verdict first, then what speaks against the model, then what is good to know."""
    errors, warnings, notes = ([one for one in verdict.problems if one.level == level] for level in LEVELS)
    counted = ", ".join(f"{count} {name}" for name, count in verdict.nodes.items() if count)
    if errors:
        lines = [f"NO   {verdict.model} will not run on {verdict.target}: {_plural(len(errors), 'reason')}"]
    elif warnings:
        lines = [
            f"ok   {verdict.model} should run on {verdict.target}, with {_plural(len(warnings), 'warning')}"
        ]
    else:
        lines = [f"ok   {verdict.model} should run on {verdict.target}"]
    lines.append(
        f"     opset {verdict.opset}, {sum(verdict.nodes.values())} nodes: {counted} ({_ground(verdict)})"
    )
    for title, problems in (("error", errors), ("warning", warnings), ("note", notes)):
        for one in problems:
            lines += _told(title, one)
    return lines


def _ground(verdict: Verdict) -> str:
    if not verdict.table:
        return f"asked {verdict.trial['by']}" if verdict.trial else "schema only"
    how = "derived from an older one and the changelog" if verdict.derived else "NVIDIA's"
    return f"by the operator table of TensorRT {verdict.table}, {how}; the board has {verdict.tensorrt}"


def _told(title: str, one: Problem) -> Iterable[str]:
    times = f" ({one.count} times)" if one.count > 1 else ""
    yield f"{title + ':':<9}{one.op + ': ' if one.op else ''}{one.what}{times}"
    where = one.modules or one.nodes
    if where and one.op:
        more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
        yield f"         in {', '.join(where[:SHOWN])}{more}"
    if one.remedy:
        yield f"         hint: {one.remedy}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
