"""Stage: quantization-aware training, where quantizing after training loses too much.

The folded network is trained a little more while it computes with the values that INT8 or FP8 would give it
(:mod:`jetpress.pipeline.quantization.fake`): the ranges and places of the post-training file, so it starts where that
one ended. What comes out is a plain network, without quantizers: export and quantization follow as before, and lose
less.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
from torch import Tensor

from jetpress.deploy.console import say
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.quantization import fake
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.subject import KEPT, NO_KERNEL, Subject, masked
from jetpress.pipeline.recipe.retraining import Retraining
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.facts.network import Rounding
from jetpress.pipeline.training.distill import taught_by
from jetpress.pipeline.training.evaluate import evaluate
from jetpress.pipeline.training.fit import Fit, finish, fit
from jetpress.pipeline.training.slower import at_a_rate_it_bears
from jetpress.pipeline.training.torchrun import joint


@joint
def qat(
    config: Retraining,
    folded: Checkpoint,
    teacher: Checkpoint,
    exported: OnnxModel,
    quantized: OnnxModel,
    draft: Path,
) -> Checkpoint:
    """Train ``folded`` with rounded weights and activations; zeros that pruning made stay zeros.

    Args:
        folded: what is trained; its masks are in its weights already.
        teacher: a network with the same outputs, in FP32.
        exported: ``folded`` as FP32 graph.
        quantized: the same with Q/DQ, after training. Layers that the recipe keeps in higher precision are not rounded;
            those that were left out as too sensitive are: they are what training is for.

    Facts: ``validation`` (points with rounded weights and activations), ``dense_validation``, ``rounding`` and
    ``training``.
    """
    network = models.load(folded)
    data = load(network.data, network.seed, network.task)
    grids = grids_of(network, folded, exported, quantized)
    say(
        f"    {len(grids.weights)} weights and {len(set(grids.activations.values()))} activations are rounded"
        + (f"; not: {', '.join(grids.unknown[:5])}" if grids.unknown else "")
    )
    network.masks = _held(network, folded)
    with fake.quantized(network.module, grids):
        before = evaluate(network, data.validation, f"{grids.numbers.title}, before training")
        say(f"    validation {before:.2f} in {grids.numbers.title} before training")
        taught = taught_by(teacher, config.distillation)

        def train(how: TrainConfig, name: str) -> Fit:
            state = draft / "state" / name
            return fit(network, data, how, state=state, what="QAT", teacher=taught, start=before)

        fitted, rate = at_a_rate_it_bears(network, config.training, train)
    network.masks = {}
    rounded = len(grids.weights), len(grids.activations)
    facts = replace(
        folded.facts,
        dense_validation=folded.facts.dense,
        rounding=Rounding(before, rate, *rounded, tuple(grids.unknown)),
    )
    return finish(network, fitted, draft, facts)


def grids_of(network: Network, folded: Checkpoint, exported: OnnxModel, quantized: OnnxModel) -> fake.Grids:
    """What the post-training file is quantized with, layers that were left out as too sensitive included."""
    told = quantized.facts.quantization
    assert told is not None
    tensors = json.loads((quantized.path / "quantization.json").read_text())["tensors"]
    ranges = {one["name"]: (one["range"][0], one["range"][1]) for one in tensors}
    keep = tuple(one.name for one in told.layers if one.why in (KEPT, NO_KERNEL))
    subject = Subject(
        onnx.load(exported.path / "model.onnx"), DIALECTS[told.dialect], masked=masked(folded.facts)
    )
    return fake.grids(subject.proto, network.module, subject.dialect, ranges, keep, subject.sparse)


def _held(network: Network, folded: Checkpoint) -> dict[str, Tensor]:
    """What was masked before folding: its zeros are all that is left of the masks."""
    return {name: network.module.get_parameter(name).detach() != 0 for name in folded.facts.masked}
