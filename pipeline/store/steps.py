"""How a step is taken: done (``Doing``), or only looked up (``Looking``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple

from jetpress.deploy import console
from jetpress.pipeline.store.artifact import Artifact
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.lazy import kind_of
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.store import Memo, Store

Config = TypeVar("Config")
Inputs = TypeVarTuple("Inputs")
Made = TypeVar("Made", bound=Artifact[object])


@dataclass(frozen=True)
class Step:
    """One line of a plan or of a run."""

    name: str
    state: str
    """``ran``, ``cached``, ``will run`` or ``skipped``."""
    seconds: float | None = None
    """How long it took when it ran; for ``will run`` the last time that this stage ran."""
    digest: str | None = None
    why: str = ""


class Walk(Protocol):
    """What the pipeline asks of its surroundings."""

    steps: list[Step]

    def step(
        self, name: str, stage: Callable[[Config, *Inputs, Path], Made], config: Config, *inputs: *Inputs
    ) -> Made:
        """The artifact that ``stage`` makes of ``inputs``."""

    def skip(self, name: str, why: str) -> None:
        """Say that a step is not taken, and why."""


class Doing:
    """Takes every step, and says what it does; ``needs`` is told of each before it is begun."""

    def __init__(self, store: Store, needs: Needs | None = None) -> None:
        self.store, self.needs = store, needs
        self.steps: list[Step] = []

    def step(
        self, name: str, stage: Callable[[Config, *Inputs, Path], Made], config: Config, *inputs: *Inputs
    ) -> Made:
        """Make the artifact, or find it."""
        key = self.store.key(stage, config, inputs)  # type: ignore[arg-type]
        if self.needs is not None:
            self.needs.note(key)
        if self.store.find(kind_of(stage), key) is None:
            console.say(f"  {name} ...")
        made, memo, cached = self.store.make(stage, config, *inputs)
        self._done(name, made, memo, "cached" if cached else "ran")
        return made

    def _done(self, name: str, made: Artifact[object], memo: Memo, state: str) -> None:
        self.steps.append(Step(name, state, memo.seconds, memo.digest))
        took = "cached" if state == "cached" else console.duration(memo.seconds)
        console.say(f"  {name:<14} {took:<12} {headline(made)}")

    def skip(self, name: str, why: str) -> None:
        """Say why a step is not taken."""
        self.steps.append(Step(name, "skipped", why=why))
        console.say(f"  {name:<14} {'skipped':<12} {why}")


class Looking:
    """Takes no step: says of each whether it is cached or will run. Behind a miss everything will run."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.steps: list[Step] = []

    def step(
        self, name: str, stage: Callable[[Config, *Inputs, Path], Made], config: Config, *inputs: *Inputs
    ) -> Made:
        """The artifact, if it is there; otherwise one of which nothing is known."""
        kind: type[Made] = kind_of(stage)
        found = self.store.find(kind, self.store.key(stage, config, inputs))  # type: ignore[arg-type]
        if found is None:
            last = self.store.last_duration(stage)
            self.steps.append(Step(name, "will run", last))
            return kind(self.store.root / f"unknown-{name}")
        made, memo = found
        self.steps.append(Step(name, "cached", memo.seconds, memo.digest))
        return made

    def skip(self, name: str, why: str) -> None:
        """Say why a step would not be taken."""
        self.steps.append(Step(name, "skipped", why=why))


def headline(made: Artifact[object]) -> str:
    """The one or two facts of a step that a person wants to see go by."""
    facts = made.facts
    if not isinstance(facts, CheckpointFacts):
        return getattr(facts, "headline", "")
    parts: list[str] = []
    if facts.validation is not None:
        parts.append(f"validation {facts.validation:.2f} %")
    if facts.pruning is not None:
        just_cut = facts.validation is None
        parts.append(
            facts.pruning.headline if just_cut else f"{facts.pruning.removed_channels} channels removed"
        )
    parts.append(f"{facts.parameters / 1e6:.2f} M parameters, {facts.macs / 1e6:.1f} M MACs")
    return ", ".join(parts)
