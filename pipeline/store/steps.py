"""How a step is taken: done (``Doing``), or only looked up (``Looking``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple

from jetpress.deploy import console
from jetpress.deploy.console import Overall
from jetpress.pipeline.store.artifact import Artifact
from jetpress.pipeline.store.durations import Durations
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.lazy import kind_of
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.store import STATE, Memo, Store

SHORT_S = 2.0
"""A step that takes less is over before its estimate is read."""
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
    """How long it took when it ran; for ``will run`` what it takes by what is known of runs like this one."""
    digest: str | None = None
    why: str = ""


class Walk(Protocol):
    """What the pipeline asks of its surroundings."""

    store: Store
    steps: list[Step]

    def step(
        self,
        name: str,
        stage: Callable[[Config, *Inputs, Path], Made],
        config: Config,
        *inputs: *Inputs,
        early: bool = False,
    ) -> Made:
        """The artifact that ``stage`` makes of ``inputs``; one that is ``early`` is cheap, and a plan takes it, too."""

    def skip(self, name: str, why: str) -> None:
        """Say that a step is not taken, and why."""

    def warn(self, line: str) -> None:
        """Say what may not end well."""


class Doing:
    """Takes every step, and says what it does.

    Args:
        store: of what was made before.
        needs: is told of each step before it is begun.
        durations: how long steps like these took; these are noted, too.
        overall: is filled in before each step that is not cached.
        outlook: all steps as they are known now, for ``overall``.
    """

    def __init__(
        self,
        store: Store,
        needs: Needs | None = None,
        durations: Durations | None = None,
        overall: Overall | None = None,
        outlook: Callable[[], Sequence[Step]] = tuple,
    ) -> None:
        self.store, self.needs, self.durations = store, needs, durations
        self._overall, self._outlook = overall or Overall(), outlook
        self.steps: list[Step] = []

    def step(
        self,
        name: str,
        stage: Callable[[Config, *Inputs, Path], Made],
        config: Config,
        *inputs: *Inputs,
        early: bool = False,
    ) -> Made:
        """Make the artifact, or find it."""
        del early
        key = self.store.key(stage, config, inputs)  # type: ignore[arg-type]
        if self.needs is not None:
            self.needs.note(key)
        if (found := self.store.find(kind_of(stage), key)) is not None:
            self._done(name, *found, "cached")
            made: Made = found[0]
            return made
        expected = self.durations.expected(name, stage.__name__, config) if self.durations else None
        self._begin(name, expected, key)
        whole = not (self.store.drafts / key / STATE).exists()  # one that goes on takes less
        with console.progress(name, expected=expected):
            made, memo, cached = self.store.make(stage, config, *inputs)
        if self.durations is not None and whole and not cached:
            self.durations.note(name, stage.__name__, config, made, memo.seconds)
        self._done(name, made, memo, "cached" if cached else "ran")
        return made

    def _begin(self, name: str, expected: float | None, key: str) -> None:
        """Say which step of how many is begun, and how long it may take."""
        ahead = self._outlook()
        others = [step for step in ahead if step.state == "will run" and step.name != name]
        known = [step.seconds for step in others if step.seconds is not None]
        number = sum(step.state == "ran" for step in self.steps) + 1
        self._overall.number, self._overall.count = number, number + len(others) if ahead else 0
        self._overall.rest = sum(known) if known or not others else None
        self._overall.complete = len(known) == len(others)
        about = [f"{number} of {self._overall.count}"] if self._overall.count else []
        about += [f"about {console.duration(expected)}"] if expected and expected > SHORT_S else []
        console.milestone(f"  {name} ..." + (f" ({', '.join(about)})" if about else ""))
        console.detail(f"    {name}: not in {self.store.root} yet, key {key[:12]}")

    def _done(self, name: str, made: Artifact[object], memo: Memo, state: str) -> None:
        self.steps.append(Step(name, state, memo.seconds, memo.digest))
        took = "cached" if state == "cached" else console.duration(memo.seconds)
        console.say(f"  {name:<14} {took:<12} {headline(made)}")

    def warn(self, line: str) -> None:
        """Say what may not end well."""
        console.say(f"  WARNING: {line}")

    def skip(self, name: str, why: str) -> None:
        """Say why a step is not taken."""
        self.steps.append(Step(name, "skipped", why=why))
        console.say(f"  {name:<14} {'skipped':<12} {why}")


class Looking:
    """Says of each step whether it is cached or will run. Behind a miss everything will run.

    Args:
        store: of what was made before.
        durations: how long steps like these took.
        doing: takes those that are early; None: nothing is done, and nothing said.
    """

    def __init__(self, store: Store, durations: Durations | None = None, doing: Doing | None = None) -> None:
        self.store, self.durations, self._doing = store, durations, doing
        self.steps: list[Step] = []

    def step(
        self,
        name: str,
        stage: Callable[[Config, *Inputs, Path], Made],
        config: Config,
        *inputs: *Inputs,
        early: bool = False,
    ) -> Made:
        """The artifact, if it is there or early; otherwise one of which nothing is known."""
        if early and self._doing is not None:
            done = self._doing.step(name, stage, config, *inputs)
            self.steps.append(self._doing.steps[-1])
            return done
        kind: type[Made] = kind_of(stage)
        found = self.store.find(kind, self.store.key(stage, config, inputs))  # type: ignore[arg-type]
        if found is None:
            expected = self.durations.expected(name, stage.__name__, config) if self.durations else None
            self.steps.append(Step(name, "will run", expected))
            return kind(self.store.root / f"unknown-{name}")
        made, memo = found
        self.steps.append(Step(name, "cached", memo.seconds, memo.digest))
        return made

    def warn(self, line: str) -> None:
        """Say what may not end well."""
        if self._doing is not None:
            self._doing.warn(line)

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
        unit = facts.unit if facts.mean else ""  # an mAP of 40.7 is no share of anything
        measured = "" if facts.measured == "accuracy" else f"{facts.measured} "
        parts.append(f"validation {measured}{facts.validation:.2f} {unit}".rstrip())
    if facts.pruning is not None:
        just_cut = facts.validation is None
        parts.append(
            facts.pruning.headline if just_cut else f"{facts.pruning.removed_channels} channels removed"
        )
    parts.append(f"{facts.parameters / 1e6:.2f} M parameters, {facts.macs / 1e6:.1f} M MACs")
    return ", ".join(parts)
