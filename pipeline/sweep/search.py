"""A search: Optuna proposes trials, each is a cell; what it learnt is in a journal that survives a kill.

Optuna has no pruning of trials with several objectives, so which trial is hopeless is judged here: by validation
accuracy at the same epoch, among trials that take away at least as much of the network.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError, ToolMissing
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store.artifact import canonical
from jetpress.pipeline.sweep import records
from jetpress.pipeline.sweep.cells import Cell, cells
from jetpress.pipeline.sweep.pareto import OBJECTIVES
from jetpress.pipeline.sweep.reading import Asked, SearchConfig, Span, Sweep, asked, setting
from jetpress.pipeline.sweep.records import Record

if TYPE_CHECKING:
    import optuna

JOURNAL = "search.journal"
COMPRESSES = ("prune.ratio", "prune.macs", "prune.params")
FEWEST = 4
"""Trials that a median is taken of."""


@dataclass
class Search:
    """The trials of one search.

    Args:
        sweep: has a ``[search]``.
        folder: of the sweep.
        place: that paths of the sweep are relative to.
    """

    sweep: Sweep
    folder: Path
    place: Path
    heard: dict[str, list[float]] = field(default_factory=dict)
    """Trial -> validation accuracy of each epoch after its pruning began."""
    running: dict[str, optuna.Trial] = field(default_factory=dict)
    unmeasured: str = ""
    """Objectives that the first trial to end has no figure for: no other one will."""

    @property
    def config(self) -> SearchConfig:
        """What is searched."""
        assert self.sweep.search is not None
        return self.sweep.search

    @cached_property
    def base(self) -> Asked:
        """A cell without any value of the space."""
        return next(asked(self.sweep, self.place))

    @cached_property
    def study(self) -> optuna.Study:
        """As it was left.

        Raises:
            ToolMissing: Optuna is not installed.
        """
        library = _optuna()
        backend = library.storages.journal.JournalFileBackend(str(self.folder / JOURNAL))
        directions = [OBJECTIVES[name][1] for name in self.config.objectives]
        study: optuna.Study = library.create_study(
            study_name=canonical([sorted(self.config.space), self.config.objectives]),
            storage=library.storages.JournalStorage(backend),
            directions=directions,
            load_if_exists=True,
        )
        # A sampler that began anew with the same seed would propose its first trials again.
        seed = self.config.seed + len(study.trials)
        study.sampler = library.samplers.TPESampler(seed=seed)
        return study

    @cached_property
    def space(self) -> dict[str, Any]:
        """Optuna's distributions.

        Raises:
            RecipeError: Optuna does not take them.
        """
        from optuna import distributions as kinds

        space: dict[str, Any] = {}
        for key, one in self.config.space.items():
            try:
                if not isinstance(one, Span):
                    space[key] = kinds.CategoricalDistribution([canonical(choice) for choice in one])
                elif one.whole:
                    space[key] = kinds.IntDistribution(int(one.start), int(one.end), log=one.log)
                else:
                    space[key] = kinds.FloatDistribution(one.start, one.end, log=one.log)
            except ValueError as error:
                raise RecipeError(
                    f"search.space.{key}: {error}", "give choices, or { from = ..., to = ... }"
                ) from None
        return space

    def take_up(self) -> None:
        """Trials that a kill interrupted are proposed again; earlier runs that fit are learnt from."""
        import optuna

        for trial in self.study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            self.study.enqueue_trial(trial.params, skip_if_exists=False)
            self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        known = {
            canonical(trial.params)
            for trial in self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        }
        for params, values in self.earlier():
            if canonical(params) not in known:
                known.add(canonical(params))
                made = optuna.trial.create_trial(params=params, distributions=self.space, values=values)
                self.study.add_trial(made)
                console.say(f"  earlier  {_worded(params)}")

    def left(self) -> int:
        """Trials that are still to be begun. One that failed counts; one that a kill interrupted does not."""
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.user_attrs.get("ended")]
        return 0 if self.unmeasured else max(self.config.trials - len(ended) - len(self.running), 0)

    def propose(self) -> Cell | None:
        """The next trial's cell; one that the recipe or the target refuses is told so, and another is asked for."""
        refused = ""
        for _ in range(self.config.trials):
            trial = self.study.ask(self.space)
            values = self.values(trial.params)
            sets = (*self.base.sets, *(setting(key, value) for key, value in values.items()))
            try:
                (cell,), _ = cells([replace(self.base, values=values, sets=sets)])
            except RecipeError as error:
                refused = f"{error}"
                self.study.tell(trial, state=_optuna().trial.TrialState.FAIL)
                continue
            if cell.id in self.running:
                self.study.tell(trial, state=_optuna().trial.TrialState.FAIL)
                continue
            self.running[cell.id] = trial
            return cell
        if refused and not self.running:
            raise RecipeError(f"no trial of the search can be run: {refused}", "see its space")
        return None

    def values(self, params: Mapping[str, Any]) -> dict[str, JsonValue]:
        """The recipe's values of a trial."""
        return {
            key: value if isinstance(self.config.space[key], Span) else json.loads(value)
            for key, value in params.items()
        }

    def tell(self, identity: str, record: Record) -> Record:
        """How a trial ended; gives its record back, with ``pruned`` where it was hopeless."""
        states = _optuna().trial.TrialState
        trial = self.running.pop(identity)
        trial.set_user_attr("ended", value=True)
        missing = self._missing(record.figures)
        if record.state == "done" and not missing:
            self.study.tell(trial, self._costs(record.figures))
            return record
        hopeless = record.why.startswith("hopeless")
        self.study.tell(trial, state=states.PRUNED if hopeless else states.FAIL)
        if hopeless:
            return replace(record, state="pruned", hint="", exit_code=0)
        if record.state == "done":
            if not self.study.get_trials(states=(states.COMPLETE,)):
                self.unmeasured = " and ".join(missing)
            why = f"not measured: {' and '.join(missing)}"
            hint = "leave it out of search.objectives, or name a device that tells it"
            return replace(record, state="failed", why=why, hint=hint, exit_code=RecipeError.exit_code)
        return record

    def _missing(self, figures: Mapping[str, JsonValue]) -> list[str]:
        """The objectives that were not measured."""
        return [name for name in self.config.objectives if figures.get(OBJECTIVES[name][0]) is None]

    def _costs(self, figures: Mapping[str, JsonValue]) -> list[float]:
        """The objectives, which all were measured."""
        return [float(str(figures[OBJECTIVES[name][0]])) for name in self.config.objectives]

    def hopeless(self, identity: str, training: str, validation: float) -> str:
        """Why a trial is ended at this epoch; empty: it is not."""
        if training.startswith("training-") or not self.config.hopeless or identity not in self.running:
            return ""
        curve = self.heard.setdefault(identity, [])
        curve.append(validation)
        params = self.running[identity].params
        self.running[identity].set_user_attr("curve", curve)
        peers = [
            trial.user_attrs["curve"][len(curve) - 1]
            for trial in self.study.get_trials(deepcopy=False)
            if trial.number != self.running[identity].number
            and len(trial.user_attrs.get("curve", ())) >= len(curve)
            and all(trial.params.get(key, 0) >= params[key] for key in COMPRESSES if key in params)
        ]
        if len(peers) < FEWEST or validation >= (median := statistics.median(peers)):
            return ""
        return (
            f"hopeless: {validation:.2f} points after {len(curve)} epochs, "
            f"the median of {len(peers)} that remove as much is {median:.2f}"
        )

    def earlier(self) -> list[tuple[dict[str, Any], list[float]]]:
        """Parameters and objectives of cells of all sweeps here that differ from this search's by its keys alone."""
        found = []
        mine = self._apart(Recipe.load(self.base.recipe, self.base.sets))
        for file in sorted(self.folder.parent.glob(f"*-sweep-*/cells/*/{records.FILE}")):
            record = records.read(file.parents[2], file.parent.name)
            if record is None or record.state != "done" or record.target != self.base.target:
                continue
            try:
                recipe = Recipe.load(file.parent / "recipe.toml")
            except RecipeError:
                continue
            params = self._params(recipe)
            if params is None or self._missing(record.figures):
                continue
            if self._apart(recipe) == mine:
                found.append((params, self._costs(record.figures)))
        return found

    def _apart(self, recipe: Recipe) -> str:
        """A recipe without the keys that are searched."""
        table = as_table(recipe)
        for key in self.config.space:
            section, _, name = key.partition(".")
            table[section].pop(name, None)
        return canonical({**table, "name": ""})

    def _params(self, recipe: Recipe) -> dict[str, Any] | None:
        """A recipe's place in the space; None: it lies outside."""
        table, params = as_table(recipe), dict[str, Any]()
        for key, one in self.config.space.items():
            section, _, name = key.partition(".")
            value = table[section][name]
            params[key] = value if isinstance(one, Span) else canonical(value)
            inside = _between(one, value) if isinstance(one, Span) else value in one
            if not inside:
                return None
        return params


def _between(span: Span, value: object) -> bool:
    return isinstance(value, int | float) and span.start <= value <= span.end


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ToolMissing("Optuna is not installed", "pip install 'jetpress[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _worded(params: Mapping[str, object]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in params.items())
