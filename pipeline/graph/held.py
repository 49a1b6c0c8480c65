"""A file held against what it became: both in ONNX Runtime, on the same inputs, by the limits of its precision.

Nothing is supposed of the outputs but their names: which axis is the batch or the class nobody says. Where an output
has two axes the larger entry of a row counts as well (classes); elsewhere the numbers alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from jetpress.deploy.console import progress
from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.channelwise import Channels
from jetpress.pipeline.graph.divergence import first_of
from jetpress.pipeline.graph.session import Array, Feed
from jetpress.pipeline.graph.tolerance import Limits, judged_by_channel, score, worst
from jetpress.pipeline.store.facts.onnx_file import Score

SQUASHING = ("Sigmoid", "Softmax", "HardSigmoid")


@dataclass(frozen=True)
class Pair:
    """One case: what the file as given is fed, and what the other one is."""

    case: str
    given: Feed
    made: Feed


def rows(output: Array) -> Array:
    """An output of one sample as ``[rows, classes]`` where it has two axes, else as ``[1, 1, numbers]``."""
    return output if output.ndim == 2 else output.reshape(1, 1, -1)


def hold(
    given: Path,
    made: Path,
    pairs: Iterable[Pair],
    limits: Limits,
    end: str = "",
    by_channel: bool = True,
    raw: Sequence[str] = (),
) -> list[Score]:
    """The worst score of each output and case.

    Args:
        given: the file.
        made: what it became.
        pairs: inputs of both.
        limits: of the precision.
        end: what was put behind the first output (:mod:`jetpress.pipeline.graph.ends`).
        by_channel: whether each channel is judged by itself, too: on real inputs.
        raw: tensors of ``made`` that are the first outputs of ``given``; empty: all of its outputs are.

    Raises:
        StageError: they are not the same function; names the output, the figures and the first node.
    """
    old, new = (onnx.load(one, load_external_data=False) for one in (given, made))
    outputs, before = ([one.name for one in proto.graph.output] for proto in (new, old))
    logits = {} if end else squashed(old, new)
    if raw:
        outputs, before = list(raw), before[: len(raw)]
    first, second = (
        session.load(one, shown=[*logits.values(), *also]) for one, also in ((given, ()), (made, raw))
    )
    found: dict[tuple[str, str], list[Score]] = {}
    suspects: dict[tuple[str, str], Pair] = {}
    channels = defaultdict[str, Channels](Channels)
    with progress("the file against what it became") as line:
        for pair in pairs:
            line.step(pair.case)
            wanted, got = first(pair.given), second(pair.made)
            for place, (name, was) in enumerate(zip(outputs, before, strict=True)):
                key = (name, pair.case)
                sides = wanted[logits.get(name, was)], got[logits.get(name, name)]
                one = _scored(key, *sides, found.get(key, []), limits, "" if place else end)
                if pair.case == IMAGES and not end and by_channel:
                    channels[name].add(*sides)
                found.setdefault(key, []).append(one)
                if not limits.allow(one):
                    suspects.setdefault(key, pair)
    scores = {key: worst(some) for key, some in found.items()}
    for name, seen in channels.items():
        scores[name, IMAGES] = judged_by_channel(scores[name, IMAGES], seen, limits)
    for key, one in scores.items():
        if not limits.allow(one):
            where = _where(given, made, suspects.get(key), limits)
            raise StageError(
                f"what the file became is not the same function: {words(one, limits)}{where}",
                "--precision fp32 tells whether the precision is the cause; if it is not, please report this",
            )
    return list(scores.values())


def squashed(old: onnx.ModelProto, new: onnx.ModelProto) -> dict[str, str]:
    """Output -> the tensor before its sigmoid or softmax, where both files have that: it is what is compared.

    A probability of 1e-6 says more in its logit: behind the sigmoid the largest value may be tiny, and what rounding
    does to a logit of -20 is then many percent of it.
    """
    made = set(session.tensors(old))
    by_output = {name: node for node in new.graph.node for name in node.output}

    def uncast(name: str) -> str:
        node = by_output.get(name)
        return uncast(node.input[0]) if node is not None and node.op_type == "Cast" else name

    found = {}
    for one in new.graph.output:
        node = by_output.get(uncast(one.name))
        if node is not None and node.op_type in SQUASHING and (before := uncast(node.input[0])) in made:
            found[one.name] = before
    return found


def _scored(
    key: tuple[str, str], wanted: Array, got: Array, before: Sequence[Score], limits: Limits, end: str
) -> Score:
    name, case = key
    if wanted.dtype.kind in "iub" and got.dtype.kind in "iub" and not end:  # whole numbers have no distance
        if wanted.shape != got.shape:
            raise StageError(f"output {name!r} was {wanted.shape} and is {got.shape}", "please report this")
        equal = float((wanted == got).mean()) if wanted.size else 1.0
        return Score(name, case, 1, True, 0.0, 0.0, 0.0, 1.0, equal)
    shaped = end and wanted.ndim != 2
    one, other = (wanted, got) if shaped or end else (rows(wanted), rows(got))
    if not end and wanted.shape != got.shape:
        raise StageError(f"output {name!r} was {wanted.shape} and is {got.shape}", "please report this")
    same = _both_finite(one, other)
    return score(name, case, *same, worst(list(before)) if before else None, limits, end)


def _both_finite(one: Array, other: Array) -> tuple[Array, Array]:
    """Where the file itself gives NaN or Inf, the other may, too: it is compared elsewhere."""
    if one.dtype.kind != "f" or one.shape != other.shape or other.dtype.kind != "f":
        return one, other
    odd = ~np.isfinite(one)
    alike = np.array_equal(odd, ~np.isfinite(other))
    return (np.where(odd, 0, one), np.where(odd, 0, other)) if alike and odd.any() else (one, other)


def words(one: Score, limits: Limits) -> str:
    """An output, and how far it is."""
    cosine = one.mean_cosine if limits.noise else one.cosine
    if not one.finite:
        return f"output {one.output!r} on {one.case}: NaN or Inf"
    asked = f"cosine {limits.cosine:g}" if limits.cosine else f"relative error {limits.max_relative:.0e}"
    return (
        f"output {one.output!r} on {one.case}: largest relative error {one.max_relative:.2e}, "
        f"cosine {cosine:.6f}, top-1 equal on {100 * one.top1:.1f} % (limit: {asked})"
        + (
            f"; channel {one.channel_at} is off by {one.channel:.2g} of its own"
            if one.channel > limits.channel
            else ""
        )
    )


def _where(given: Path, made: Path, pair: Pair | None, limits: Limits) -> str:
    """The first tensor of the same name that differs, in words; empty where that cannot be found out."""
    if pair is None:
        return ""
    try:
        before, after = onnx.load(given), onnx.load(made)
        expected, found = every_tensor(before, pair.given), every_tensor(after, pair.made)
    except StageError:
        return ""
    node, last = first_of(after, expected, found, limits.diverged)
    if node is None:
        return "\n    no tensor that both have differs before it"
    return f"\n    the first node that differs is {node.name!r} ({node.op_type})" + (
        f"; all is equal up to {last!r}" if last else ""
    )


def every_tensor(proto: onnx.ModelProto, feed: Feed) -> Mapping[str, Array]:
    """Every tensor of the main graph, by name."""
    return session.load(proto, shown=session.tensors(proto), optimise=False)(feed)
