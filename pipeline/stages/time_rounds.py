"""Stage: the dense network and that of every round, timed side by side on the device that the engine is for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import onnx

from jetpress.deploy import console
from jetpress.deploy.errors import JetpressError
from jetpress.deploy.runner.measure.latencies import LEAST_PAIRS, ratio
from jetpress.pipeline.engine import trials
from jetpress.pipeline.graph.exporting import LARGEST_FILE
from jetpress.pipeline.recipe.configs import Bench
from jetpress.pipeline.store.artifact import Bundle, OnnxModel, RoundTimes
from jetpress.pipeline.store.facts.device import RoundTime, RoundTimesFacts

SECONDS = 10.0
"""No turn is begun after so long, where the networks are slow."""


def time_rounds(
    config: Bench, packed: Bundle, dense: OnnxModel, *files_and_draft: *tuple[*tuple[OnnxModel, ...], Path]
) -> RoundTimes:
    """One short session in which all take turns. No run is worse because its rounds are not timed: facts say why.

    Args:
        packed: has the samples that they are run on.
        files_and_draft: the files of the rounds, then the draft.
    """
    *rounds, draft = files_and_draft
    exported = [dense, *rounds]
    if max(one.facts.bytes for one in exported) > LARGEST_FILE:
        return _untimed(draft, "files of more than 2 GiB are not timed for this")
    protos = {f"r{number}": onnx.load(one.path / "model.onnx") for number, one in enumerate(exported)}
    try:
        found = trials.profiles(
            config, protos, lambda _, folder: shutil.copytree(packed.path / "samples", folder), draft, SECONDS
        )
    except JetpressError as error:
        return _untimed(draft, error.what)
    first, *others = (found[name].rounds for name in protos)
    whole = median(first)
    timed = tuple(_beside(first, taken, whole) for taken in others)
    said = f"{whole:.3g} ms dense, " + ", ".join(f"{one.ms:.3g}" for one in timed)
    return RoundTimes(draft, RoundTimesFacts(f"{said} ms by rounds", whole, timed, len(first)))


def _beside(dense: Sequence[float], taken: Sequence[float], whole: float) -> RoundTime:
    """Its share of the dense network's time, turn by turn: what disturbed a turn disturbed both."""
    share = ratio(taken, dense)
    if len(taken) < LEAST_PAIRS:
        return RoundTime(whole * share.ratio)
    return RoundTime(whole * share.ratio, *(whole * end for end in share.interval))


def _untimed(draft: Path, why: str) -> RoundTimes:
    console.say(f"    the rounds are not timed: {why}")
    return RoundTimes(draft, RoundTimesFacts(why, untimed=why))
