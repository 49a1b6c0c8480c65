"""SURFACES: one frozen record for each reader that is fuzzed: inputs to begin with, and what is done with any other.

What a reader may do with an input is take it, or refuse it by an error of ours (`REFUSALS`). All else is a finding.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.device import derived, events, probe
from jetpress.deploy.errors import JetpressError
from jetpress.deploy.fields import parse
from jetpress.deploy.runner.board import tegrastats
from jetpress.deploy.runner.system.failures import RunnerError
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.recipe.reading import EMBEDDED, Recipe
from jetpress.pipeline.recipe.resolve import resolve
from studies.fuzz import bundles, networks
from studies.fuzz.mutations import (
    Mutation,
    changed_json,
    changed_lines,
    changed_message,
    changed_text,
    changed_weights,
)

REFUSALS = (JetpressError, RunnerError)
PROBES = Path(__file__).parents[2] / "tests/probes"
SET = "#--set "
"""A line of a recipe that begins so is given as an override, too."""


@dataclass(frozen=True)
class Surface:
    """A reader, and how to feed it."""

    what: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    """Takes an input, and a folder of its own."""
    changed: Mutation


def _recipe(data: bytes, folder: Path) -> None:
    file = folder / "recipe.toml"
    file.write_bytes(data)
    lines = data.decode("utf-8", "replace").splitlines()
    sets = [line.removeprefix(SET) for line in lines if line.startswith(SET)]
    recipe = Recipe.load(file, sets)
    if (
        len(data) % 4 == 0 and Recipe.parse(tomllib.loads(recipe.to_toml())) != recipe
    ):  # takes longer than all else
        raise AssertionError("what was read is not what is written down")
    resolve(recipe, TARGETS[("host", "xavier", "thor")[len(data) % 3]])


def _recipes() -> list[bytes]:
    """Whole, and a section each: what is shorter is read more often."""
    whole = [path.read_bytes() for path in sorted(EMBEDDED.glob("*.toml"))]
    sections = {b"[" + part for one in whole for part in one.split(b"\n[")[1:]}
    set_too = b'name = "x"\n#--set train.epochs=3\n#--set model.arguments={a=1}\n[prune]\nratio = 0.5\n'
    return [
        *whole,
        *sorted(sections),
        set_too,
        b"[prune]\nratio = 0.3\n[sparsify]\nmode = 'force'\n[budget]\naccuracy_drop = 0.02\n",
    ]


def _probe(data: bytes, folder: Path) -> None:
    survey = parse(data.decode("utf-8", "replace"))
    if survey is None:
        return
    facts = probe.read("board", survey)
    probe.identity(facts)
    target = TARGETS[("xavier", "orin-nano", "host")[len(data) % 3]]
    for ask in (
        lambda: probe.refuse_unless(facts, target),
        lambda: derived.nearest(facts, target),
        lambda: derived.target_of(facts),
        lambda: probe.refuse_unless_in(facts, "MAXN"),
    ):
        _asked(ask)


def _asked(question: Callable[[], object]) -> None:
    with contextlib.suppress(*REFUSALS):
        question()


def _events() -> list[bytes]:
    return [json.dumps(one).encode() for one in bundles.EVENTS]


def _read_event(data: bytes, folder: Path) -> None:
    events.read(data.decode("utf-8", "replace"))


def _tegrastats(data: bytes, folder: Path) -> None:
    sample = tegrastats.parse(data.decode("utf-8", "replace"))
    if sample is not None:
        float(sample.total_milliwatt or 0)
        [float(number) for number in (*sample.gpu_mhz, *sample.celsius.values(), *sample.milliwatt.values())]


def _lines() -> list[bytes]:
    found = [path.read_bytes().splitlines() for path in sorted(PROBES.glob("tegrastats_*.txt"))]
    return [line for lines in found for line in lines]


SURFACES: dict[str, Surface] = {
    "recipe": Surface("a recipe, with --set, for one of three targets", _recipes, _recipe, changed_lines),
    "manifest": Surface(
        "manifest, plan and claims of a bundle; a signature; allowed signers, revoked keys",
        bundles.seeds, bundles.read, bundles.changed,
    ),
    "history": Surface("pruned.json of jetpress.load", networks.histories, networks.replay, networks.changed_history),
    "probe": Surface(
        "what a device says of itself",
        lambda: [path.read_bytes() for path in sorted(PROBES.glob("survey_*.json"))], _probe, changed_json,
    ),
    "tegrastats": Surface("lines of tegrastats", _lines, _tegrastats, changed_text),
    "events": Surface("events of the runner", _events, _read_event, changed_json),
    "onnx": Surface("the guard of ONNX files", networks.models, networks.guard, changed_message),
    "checkpoint": Surface("files of weights", networks.weights, networks.load, changed_weights),
}  # fmt: skip
