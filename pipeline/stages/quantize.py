"""Stage: INT8 or FP8 by explicit Q/DQ, calibrated on real images, with as few layers left out as the budget asks for.

It works on the exported FP32 graph, where BatchNorm is in the convolutions already. Ranges come from training images
(:mod:`jetpress.pipeline.quantization.calibrate`), places from the dialect of the target
(:mod:`jetpress.pipeline.quantization.placement`). Every layer is quantized alone once, to see what it costs. If
validation accuracy misses the budget, or the cosine of the scores is below what equivalence asks for (0.99), the most
sensitive layers stay in higher precision, as few as will do (:mod:`jetpress.pipeline.quantization.mixed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx
import torch
from torch import Tensor

from jetpress.deploy import console
from jetpress.deploy.errors import StageError
from jetpress.pipeline.data import loading
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.graph import fp16_layers
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.graph.tolerance import LIMITS
from jetpress.pipeline.network import models
from jetpress.pipeline.quantization import THROUGHOUT, bias, calibrate, dynamic, qdq
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.judge import Judge, looks_random
from jetpress.pipeline.quantization.mixed import Search, fewest
from jetpress.pipeline.quantization.probe import Probe
from jetpress.pipeline.quantization.result import checked, layers, rest_in_fp16, tell, tensors
from jetpress.pipeline.quantization.subject import Subject, masked
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.facts.onnx_file import (
    Quantization,
    QuantizedPoints,
)

FILE = "model.onnx"
FEW_IMAGES = 16


def learnt_rounded(facts: CheckpointFacts) -> bool:
    """Whether the weights come out of training with rounding: then the biases are right as they are. Where no epoch was
    better than none, the network is what it was."""
    return facts.rounding is not None and facts.training is not None and facts.training.best_epoch > 0


def quantize(config: QuantizeConfig, model: Checkpoint, onnx_model: OnnxModel, draft: Path) -> OnnxModel:
    """Write ``model.onnx`` with Q/DQ, and ``quantization.json``: ranges, histograms, what was tried.

    Facts: ``quantization``. Where layers were left out, ``throughout.onnx`` is the file with all of them.

    Raises:
        StageError: there is no layer to quantize, or the weights do not fit into one file.
    """
    network = models.load(model)
    loaded = loading.load(network.data, network.seed, network.task)
    dialect = config.dialect or "tensorrt"
    subject = Subject(_read(onnx_model), DIALECTS[dialect], config.keep, masked(model.facts))
    judge = Judge(network, Ends.of(onnx_model.facts, network.data), onnx_model.facts.max_batch)
    trial = _Trial(config, subject, judge, _judged(loaded.validation, config, network.seed))
    # On other images than the ranges are found on.
    unseen = loading.calibration(loaded, config.sensitivity_images, config.seed + 1)
    if config.method == "dynamic":
        least = _least(config, model, trial.floating)
        return _dynamic(trial, trial.probe(unseen), least, onnx_model, draft)
    names, images = subject.names, loading.calibration(loaded, config.images, config.seed)
    warnings = _warnings(images)
    seen = calibrate.look(subject.proto, subject.tensors(), _feeds(judge, subject, images))
    if corrected := config.bias_correction and not learnt_rounded(model.facts):
        subject = replace(subject, shifts=bias.shifts(subject.layers, seen, subject.dialect.numbers))
    trial = replace(trial, subject=subject)
    probe = trial.probe(unseen)
    errors, ranges = probe.methods(seen)
    method = min(errors, key=errors.__getitem__)
    alone = probe.sensitivity(names, ranges[method])
    least = _least(config, model, trial.floating)
    search = trial.search(list(alone), ranges[method], least, probe.close)

    def graph(without: tuple[str, ...]) -> onnx.ModelProto:
        made = subject.graph(ranges[method], without)
        if config.rest == "fp16":
            shown = cases(judge.ends.to_file(images), judge.batch, edges=True)
            return rest_in_fp16(made, fp16_layers.feeds(made, shown))
        return made

    made = graph(search.without)
    if search.without:  # to be timed beside what was chosen
        checked(graph(()), draft / THROUGHOUT)
    facts = Quantization(
        dialect=dialect,
        numbers=subject.dialect.numbers.title,
        method=method,
        errors=errors,
        error=probe.error(made),
        cosine=probe.cosine(made),
        least_cosine=LIMITS["int8"].cosine,
        bias_correction=corrected,
        images=len(images[0]),
        warnings=tuple(warnings),
        layers=tuple(layers(subject, alone, search)),
        validation=QuantizedPoints(trial.floating, search.points, least, len(trial.split)),
        met=search.met,
        stored=subject.dialect.stored,
    )
    tell(draft, facts, search.tries, tensors(seen, ranges[method]))
    return _write(made, onnx_model, facts, draft)


def _dynamic(trial: _Trial, probe: Probe, least: float, before: OnnxModel, draft: Path) -> OnnxModel:
    """Recurrent and linear layers in INT8, ranges found while the file runs: nothing to calibrate or to search for."""
    proto = trial.subject.proto
    found = dynamic.layers(proto, trial.config.keep)
    made = dynamic.quantized(proto, found)
    points = trial.judge.points(made, trial.split, "validation, INT8")
    off = probe.error(made)
    facts = Quantization(
        dialect="onnxruntime",
        numbers=trial.subject.dialect.numbers.title,
        method=trial.config.method,
        errors={trial.config.method: off},
        error=off,
        cosine=probe.cosine(made),
        least_cosine=LIMITS["int8"].cosine,
        bias_correction=False,
        images=0,
        warnings=(),
        layers=tuple(found),
        validation=QuantizedPoints(trial.floating, points, least, len(trial.split)),
        met=points >= least and probe.close(made),
        stored=True,
    )
    tell(draft, facts, [], [])
    return _write(made, before, facts, draft)


@dataclass(frozen=True)
class _Trial:
    """Graphs judged on validation images."""

    config: QuantizeConfig
    subject: Subject
    judge: Judge
    split: Split

    @cached_property
    def floating(self) -> float:
        """Points in FP32."""
        return self.judge.points(self.subject.proto, self.split, "validation, FP32")

    def probe(self, images: tuple[Tensor, ...]) -> Probe:
        """By training images that nothing was calibrated on."""
        feeds = _feeds(self.judge, self.subject, images)
        return Probe(self.config, self.subject, self.judge.scores, feeds)

    def search(
        self, order: Sequence[str], ranges: qdq.Ranges, least: float, close: Callable[[onnx.ModelProto], bool]
    ) -> Search:
        """All layers where that meets ``least`` or nothing may be left out; otherwise the fewest left out."""

        def points(without: tuple[str, ...]) -> float:
            numbers = self.subject.dialect.numbers.title
            what = f"validation, {len(without)} layers not {numbers}" if without else f"validation, {numbers}"
            return self.judge.points(self.subject.graph(ranges, without), self.split, what)

        if self.config.mixed and self.floating >= least:
            return fewest(order, points, least, lambda without: close(self.subject.graph(ranges, without)))
        found = points(())
        met = found >= least and close(self.subject.graph(ranges))
        return Search((), found, met, [((), found)])


def _read(onnx_model: OnnxModel) -> onnx.ModelProto:
    if len(list(onnx_model.path.glob(f"{FILE}*"))) > 1:
        raise StageError(
            "the network has more than 2 GiB of weights", 'set build.precision = "fp16" or "fp32"'
        )
    return onnx.load(onnx_model.path / FILE)


def _judged(validation: Split, config: QuantizeConfig, seed: int) -> Split:
    """The validation images that every try is judged on."""
    if len(validation) <= config.judged_images:
        return validation
    return validation.subset(torch.tensor(loading.pick(validation, config.judged_images, seed)))


def _warnings(images: tuple[Tensor, ...]) -> list[str]:
    found = []
    if looks_random(images):
        found.append(
            "the calibration images look like random noise: ranges found on noise are wrong for real images, and "
            "accuracy is lost then. Give real images in [data]"
        )
    if (count := len(images[0])) < FEW_IMAGES:
        found.append(f"only {count} calibration images: ranges found on so few may be wrong for the others")
    for line in found:
        console.say(f"    WARNING: {line}")
    return found


def _feeds(judge: Judge, subject: Subject, images: tuple[Tensor, ...]) -> list[Feed]:
    return [feed for _, feed in judge.feeds(subject.proto, images)]


def _least(config: QuantizeConfig, model: Checkpoint, floating: float) -> float:
    """Validation points that the budget leaves: of the dense network's, where they are known."""
    dense = model.facts.dense
    return (floating if dense is None else dense) - (config.accuracy_drop or 0.0)


def _write(made: onnx.ModelProto, before: OnnxModel, found: Quantization, draft: Path) -> OnnxModel:
    size, points = checked(made, draft / FILE), found.points
    smaller = f", {before.facts.bytes / size:.2f} times smaller" if found.stored else ""
    said = f"{found.headline}{smaller}; validation {points.fp32:.2f} in FP32, {points.int8:.2f} so"
    nodes = len(made.graph.node)
    facts = replace(before.facts, nodes=nodes, bytes=size, headline=said, quantization=found)
    return OnnxModel(draft, facts)
