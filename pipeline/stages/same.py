"""Stage: is what a file became the same function as the file that was given? A gate: where it is not, the run ends.

Both run in ONNX Runtime, on the samples, and on noise at the ends of the profiles
(:mod:`jetpress.pipeline.graph.held`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from jetpress.pipeline.data import feeds
from jetpress.pipeline.graph import refeed
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.ends import SCORES, SEARCHED
from jetpress.pipeline.graph.held import Pair, hold
from jetpress.pipeline.graph.shapes import each
from jetpress.pipeline.graph.suppress import raw
from jetpress.pipeline.graph.tolerance import LIMITS, worst
from jetpress.pipeline.recipe.configs import SameConfig
from jetpress.pipeline.store.artifact import Equivalence, OnnxModel, Samples
from jetpress.pipeline.store.facts.onnx_file import EquivalenceFacts

FILE = "model.onnx"
ON_NOISE = 0.99
"""Cosine that is asked for in FP16 where no real inputs are given."""
MOST = 32
"""Samples that both are run on."""


def same(config: SameConfig, given: OnnxModel, made: OnnxModel, samples: Samples, draft: Path) -> Equivalence:
    """Compare, and write ``equivalence.json``.

    Raises:
        StageError: they are not the same function.
    """
    facts = made.facts
    kind = facts.quantization.numbers.lower() if facts.quantization else "fp16" if facts.fp16 else "fp32"
    limits = LIMITS[kind]
    if limits.max_relative is not None:
        most = config.equivalence.max_relative_error
        limits = replace(limits, max_relative=most, channel=most)
    if not samples.facts.real and limits.cosine:  # what is made for images may do anything on noise
        limits = replace(limits, cosine=min(limits.cosine, ON_NOISE))
    found = facts.ends.output in SEARCHED
    end = "" if found or facts.ends.output == SCORES else facts.ends.output
    read = raw(facts.detection) if found and facts.detection else facts.detection and facts.detection.reads
    pairs = list(_pairs(config, given, made, samples))
    scores = hold(given.path / FILE, made.path / FILE, pairs, limits, end, samples.facts.real, read or ())
    judged = [one for one in scores if limits.edges or one.case == IMAGES]
    outputs = [
        worst([one for one in judged if one.output == name])
        for name in dict.fromkeys(x.output for x in judged)
    ]
    report = {
        "same": True,
        "precision": kind,
        "limits": asdict(limits),
        "samples": len(pairs),
        "outputs": [asdict(one) for one in outputs],
        "cases": [asdict(one) for one in scores],
    }
    (draft / "equivalence.json").write_text(json.dumps(report, indent=1))
    error = max(one.max_relative for one in outputs)
    cosine = min(one.mean_cosine if limits.noise else one.cosine for one in outputs)
    within = f"within {error:.1e}" if kind == "fp32" else f"in {kind.upper()}, cosine {cosine:.6f}"
    what = "samples" if samples.facts.real else "inputs of noise"
    said = f"as given = as it is now, {within}, on {len(pairs)} {what}"
    return Equivalence(draft, EquivalenceFacts(tuple(outputs), kind, len(pairs), 0, said))


def _pairs(config: SameConfig, given: OnnxModel, made: OnnxModel, samples: Samples) -> Iterator[Pair]:
    images, before, after = refeed.normalised(config.pixels), given.facts.inputs, made.facts.inputs
    for number, feed in enumerate(refeed.stored(samples.path, before)):
        if number == MOST:
            break
        now = refeed.taken(feed, after, images)
        yield Pair(IMAGES, refeed.seen(now, before, images), now)
    for case, shapes in each(before):
        if case != "usual":
            now = refeed.taken(feeds.noise(0, before, shapes), after, images)
            yield Pair(f"noise at the {case} shapes", refeed.seen(now, before, images), now)
