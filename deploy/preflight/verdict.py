"""What the preflight says of a model: for programs a frozen record, for people a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from jetpress.deploy.preflight.dla import Share
from jetpress.deploy.preflight.memory import Need
from jetpress.deploy.preflight.sparse import Layers
from jetpress.deploy.preflight.trial import Answer

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
    """In words."""
    remedy: str = ""
    """What to do about it."""
    op: str = ""
    """ONNX operator."""
    count: int = 1
    """Of nodes."""
    nodes: tuple[str, ...] = ()
    """Names of some of them."""
    modules: tuple[str, ...] = ()
    """The PyTorch modules of these nodes, where their names tell."""


@dataclass(frozen=True)
class Verdict:
    """Will this model run on that target?"""

    model: str
    """Path of the file."""
    target: str
    """Its name."""
    backend: str
    """What runs engines there."""
    tensorrt: str
    """Version."""
    table: str
    """Version of the operator table held against the model; empty where the runtime itself was asked."""
    derived: bool
    """That table was made from an older one and the changelog."""
    precision: str
    """That the engine will run in."""
    opset: int
    """Of the file."""
    ir_version: int
    """Of the file."""
    nodes: dict[str, int]
    """How many are ``supported``, ``restricted`` (a condition is broken or doubtful), ``not supported``."""
    problems: tuple[Problem, ...]
    """Errors first."""
    memory: Need
    """Estimated, in bytes."""
    sparsity: Layers | None
    """2:4; None where the weights could not be read."""
    dla: Share | None
    """What the deep learning accelerator could take; None where the target has none."""
    trial: Answer | None
    """What a real parser on this machine made of the model; None where none was asked."""

    @property
    def ok(self) -> bool:
        """Whether nothing is known that keeps it from running."""
        return not any(problem.level == "error" for problem in self.problems)

    def __str__(self) -> str:
        return "\n".join(explain(self))


@dataclass
class Collector:
    """Gathers what is said of single nodes into problems."""

    by_key: dict[tuple[str, str, str, str, str], Problem] = field(default_factory=dict)

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
        known = self.by_key.get(key, Problem(*key, count=0))
        nodes = (*known.nodes, node) if node and len(known.nodes) < NAMED else known.nodes
        new = module and module not in known.modules and len(known.modules) < NAMED
        modules = (*known.modules, module) if new else known.modules
        self.by_key[key] = replace(known, count=known.count + 1, nodes=nodes, modules=modules)

    def worst_first(self) -> tuple[Problem, ...]:
        """Worst first, otherwise in the order in which they came."""
        return tuple(sorted(self.by_key.values(), key=lambda problem: LEVELS.index(problem.level)))


def explain(verdict: Verdict) -> list[str]:
    """The verdict first, then what speaks against the model, then what is good to know."""
    errors, warnings, notes = ([p for p in verdict.problems if p.level == level] for level in LEVELS)
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
        for problem in problems:
            lines += _in_words(title, problem)
    return lines


def _ground(verdict: Verdict) -> str:
    if not verdict.table:
        return f"asked {verdict.trial.by}" if verdict.trial else "schema only"
    how = "derived from an older one and the changelog" if verdict.derived else "NVIDIA's"
    return f"by the operator table of TensorRT {verdict.table}, {how}; the board has {verdict.tensorrt}"


def _in_words(title: str, problem: Problem) -> Iterable[str]:
    times = f" ({problem.count} times)" if problem.count > 1 else ""
    yield f"{title + ':':<9}{problem.op + ': ' if problem.op else ''}{problem.what}{times}"
    where = problem.modules or problem.nodes
    if where and problem.op:
        more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
        yield f"         in {', '.join(where[:SHOWN])}{more}"
    if problem.remedy:
        yield f"         hint: {problem.remedy}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
