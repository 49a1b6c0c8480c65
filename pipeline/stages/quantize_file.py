"""Stage: a file that was given in INT8 or FP8 by explicit Q/DQ, with as few layers left out as its outputs ask for.

As :mod:`jetpress.pipeline.stages.quantize`, but without labels: a choice is as good as its outputs are near to FP32's
(:mod:`jetpress.pipeline.quantization.outputs`), on samples that nothing was calibrated on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import onnx

from jetpress.deploy import console
from jetpress.deploy.console import progress
from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import refeed
from jetpress.pipeline.graph.ends import SEARCHED
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.graph.suppress import raw
from jetpress.pipeline.quantization import THROUGHOUT, bias, calibrate, dynamic, qdq
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.mixed import Search, fewest
from jetpress.pipeline.quantization.outputs import balanced, last
from jetpress.pipeline.quantization.probe import Probe
from jetpress.pipeline.quantization.result import checked, layers, rest_in_fp16, tell, tensors
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.configs import QuantizeFileConfig
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.store.artifact import OnnxModel, Samples
from jetpress.pipeline.store.facts.onnx_file import Quantization

FILE = "model.onnx"
FEW = 16
LEAST = 0.99
"""Cosine of the balanced outputs to FP32's."""


def quantize_file(
    config: QuantizeFileConfig, lowered: OnnxModel, given: OnnxModel, samples: Samples, draft: Path
) -> OnnxModel:
    """Write ``model.onnx`` with Q/DQ, and ``quantization.json``: ranges, histograms, what was tried.

    Raises:
        StageError: there is no layer to quantize, or the weights do not fit into one file.
    """
    if len(list(lowered.path.glob(f"{FILE}*"))) > 1:
        raise StageError("the file has more than 2 GiB of weights", "take --precision fp16 or fp32")
    proto = onnx.load(lowered.path / FILE)
    ends, rules = lowered.facts.ends.output, lowered.facts.detection
    counts = raw(rules) if rules and ends in SEARCHED else ()
    facts = rounded(config.quantize, proto, *_feeds(config, lowered, given, samples), draft / FILE, counts)
    size, nodes = (draft / FILE).stat().st_size, len(onnx.load(draft / FILE).graph.node)
    said = _words(facts, lowered.facts.bytes / size)
    return OnnxModel(
        draft, replace(lowered.facts, nodes=nodes, bytes=size, headline=said, quantization=facts)
    )


def rounded(
    knobs: QuantizeConfig,
    proto: onnx.ModelProto,
    feeds: list[Feed],
    others: list[Feed],
    path: Path,
    counts: Sequence[str] = (),
) -> Quantization:
    """Write ``proto`` with Q/DQ to ``path``, and ``quantization.json`` beside it: ranges, histograms, what was tried.

    Args:
        knobs: every value decided.
        proto: an FP32 graph.
        feeds: that ranges are found on.
        others: that a choice is judged by.
        counts: tensors that a choice is judged by; empty: the outputs.
        path: of the file; where layers were left out, ``throughout.onnx`` beside it has all of them.

    Raises:
        StageError: there is no layer to quantize.
    """
    if knobs.method == "dynamic":
        return _dynamic(knobs, proto, others, path, counts)
    dialect, warnings = knobs.dialect or "tensorrt", _warnings(len(feeds))
    subject = _subject(onnx.shape_inference.infer_shapes(proto), knobs, dialect)
    seen = calibrate.look(subject.proto, subject.tensors(), feeds)
    if knobs.bias_correction:
        subject = replace(subject, shifts=bias.shifts(subject.layers, seen, subject.dialect.numbers))
    probe = Probe(knobs, subject, balanced(subject.proto, others, counts), others)
    errors, ranges = probe.methods(seen)
    method = min(errors, key=errors.__getitem__)
    alone = probe.sensitivity(subject.names, ranges[method])
    search = _search(knobs, probe, list(alone), ranges[method])

    def graph(without: tuple[str, ...]) -> onnx.ModelProto:
        made = subject.graph(ranges[method], without)
        return rest_in_fp16(made, feeds) if knobs.rest == "fp16" else made

    if search.without:  # to be timed beside what was chosen
        checked(graph(()), path.parent / THROUGHOUT)
    checked(made := graph(search.without), path)
    facts = Quantization(
        dialect=dialect,
        numbers=subject.dialect.numbers.title,
        method=method,
        errors=errors,
        error=probe.error(made),
        cosine=probe.cosine(made),
        least_cosine=LEAST,
        bias_correction=knobs.bias_correction,
        images=len(feeds),
        warnings=tuple(warnings),
        layers=tuple(layers(subject, alone, search)),
        met=search.met,
        stored=subject.dialect.stored,
    )
    tell(path.parent, facts, search.tries, tensors(seen, ranges[method]))
    if not search.met:
        console.say(f"    WARNING: {LEAST} is asked for: no choice of layers reaches it")
    return facts


def _dynamic(
    knobs: QuantizeConfig, proto: onnx.ModelProto, others: list[Feed], path: Path, counts: Sequence[str]
) -> Quantization:
    """Recurrent and linear layers in INT8, ranges found while the file runs: nothing to calibrate or to search for."""
    found = dynamic.layers(proto, knobs.keep)
    made = dynamic.quantized(proto, found)
    subject = Subject(proto, DIALECTS["onnxruntime"], knobs.keep)
    probe = Probe(knobs, subject, balanced(proto, others, counts), others)
    off, cosine = probe.error(made), probe.cosine(made)
    facts = Quantization(
        dialect="onnxruntime",
        numbers=subject.dialect.numbers.title,
        method=knobs.method,
        errors={knobs.method: off},
        error=off,
        cosine=cosine,
        least_cosine=LEAST,
        bias_correction=False,
        images=0,
        warnings=(),
        layers=tuple(found),
        met=cosine >= LEAST,
        stored=True,
    )
    tell(path.parent, facts, [], [])
    checked(made, path)
    if not facts.met:
        console.say(f"    WARNING: {LEAST} is asked for, and the outputs come to {cosine:.4f}")
    return facts


def _subject(proto: onnx.ModelProto, knobs: QuantizeConfig, dialect: str) -> Subject:
    """Its last layers stay in higher precision, unless there are no others."""
    subject = Subject(proto, DIALECTS[dialect], knobs.keep)
    names = subject.names
    answers = last(proto, names)
    return replace(subject, last=tuple(answers)) if len(answers) < len(names) else subject


def _words(facts: Quantization, smaller: float) -> str:
    size = f", {smaller:.2f} times smaller" if facts.stored else ""
    return f"{facts.headline}{size}; cosine of the outputs to FP32's {facts.cosine:.4f}"


def _search(config: QuantizeConfig, probe: Probe, order: Sequence[str], ranges: qdq.Ranges) -> Search:
    """The fewest layers in higher precision with which the outputs are near enough; points are percent of cosine."""

    def points(without: tuple[str, ...]) -> float:
        with progress(f"outputs, {len(without)} layers in higher precision"):
            return 100 * probe.cosine(probe.subject.graph(ranges, without))

    if config.mixed:
        return fewest(order, points, 100 * LEAST)
    found = points(())
    return Search((), found, found >= 100 * LEAST, [((), found)])


def _feeds(
    config: QuantizeFileConfig, lowered: OnnxModel, given: OnnxModel, samples: Samples
) -> tuple[list[Feed], list[Feed]]:
    """To find ranges on, and to judge by: others, where there are enough."""
    images, inputs = refeed.normalised(config.pixels), lowered.facts.inputs
    count, wanted = samples.facts.count, config.quantize
    judged = min(wanted.sensitivity_images, max(1, count // 4))
    first = min(wanted.images, max(1, count - judged))
    every = (refeed.taken(one, inputs, images) for one in refeed.stored(samples.path, given.facts.inputs))
    feeds: list[Feed] = list(islice(every, first))
    return feeds, list(islice(every, judged)) or feeds


def _warnings(count: int) -> list[str]:
    if count >= FEW:
        return []
    line = f"only {count} samples to calibrate on: ranges found on so few may be wrong for the others"
    console.say(f"    WARNING: {line}")
    return [line]
