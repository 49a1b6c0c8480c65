"""Stage: channels removed from a file that was given, without training: the others are fitted to what it gave before.

onnx2torch makes a PyTorch network of the file (:mod:`jetpress.pipeline.graph.converted`). Nothing is believed of it:
on the samples it must give what ONNX Runtime makes of the file, and what is written must give what the pruned network
does. Between the two no label says what is right, so how near the outputs stay is told, and judged by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from jetpress.deploy import console
from jetpress.deploy.console import progress
from jetpress.deploy.errors import StageError
from jetpress.pipeline.data.loading import fit_in_memory
from jetpress.pipeline.graph import exporting, refeed, session
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.converted import INSTEAD, READ, network_of
from jetpress.pipeline.graph.exporting import described, opset_of
from jetpress.pipeline.graph.foreign import as_taken
from jetpress.pipeline.graph.held import rows, squashed, words
from jetpress.pipeline.graph.session import Array, Feed
from jetpress.pipeline.graph.tolerance import LIMITS, Limits, score
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse, copied
from jetpress.pipeline.pruning.apply import cut_out, fitted, proposed, recorded
from jetpress.pipeline.pruning.judged import judged
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.recipe.configs import PruneFileConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.artifact import OnnxModel, Samples
from jetpress.pipeline.store.facts.network import Pruning
from jetpress.pipeline.store.facts.onnx_file import CutFile, OnnxModelFacts, Score, TensorSpec

FILE = "model.onnx"
COMPARED = 16
"""Samples that networks and files are compared on."""
KINDS = ("float32", "int32", "int64", "uint8")


def prune_file(config: PruneFileConfig, given: OnnxModel, samples: Samples, draft: Path) -> OnnxModel:
    """Write ``model.onnx``: the file without what was removed, in FP32.

    Raises:
        ToolMissing: onnx2torch is not installed.
        StageError: it does not give back an equal network, or nothing can be removed.
    """
    specs = given.facts.inputs
    _refuse_shapes(specs)
    feeds = list(islice(refeed.stored(samples.path, specs), samples.facts.count))
    inputs = [tuple(torch.from_numpy(feed[one.name]) for one in specs) for feed in feeds]
    most = config.equivalence.max_relative_error
    limits = replace(LIMITS["fp32"], max_relative=most, channel=most)

    proto, shown = _lowered(given)
    network = network_of(proto, inputs[0])
    whole = session.load(given.path / FILE, shown=list(shown.values()))
    before = [whole(feed) for feed in feeds[:COMPARED]]
    names = [one.name for one in proto.graph.output]
    compared = [shown.get(name, name) for name in names[: len(given.facts.outputs)]]
    with progress("the file against the network made of it"):
        theirs = [dict(zip(names, _run(network, one), strict=True)) for one in inputs[:COMPARED]]
    _hold(before, theirs, compared, limits, "onnx2torch does not give back an equal network")
    _refuse_one_at_a_time(network, inputs)

    smaller, pruning = _pruned(config, network, inputs)
    made = exporting.to_onnx(smaller, _configs(specs), tuple(names), ExportConfig(batch=len(inputs[0][0])))
    ours = [dict(zip(names, _run(smaller, one), strict=True)) for one in inputs[:COMPARED]]
    run = session.load(made)
    after = [run(feed) for feed in feeds[:COMPARED]]
    _hold(ours, after, compared, limits, "the pruned network and its file are not the same")

    del made.graph.output[len(given.facts.outputs) :]
    (draft / FILE).write_bytes(made.SerializeToString(deterministic=True))
    sizes = [models.size_of(one, inputs[0]) for one in (network, smaller)]
    cut = CutFile(
        pruning.layers,
        (sizes[0][0], sizes[1][0]),
        (sizes[0][1], sizes[1][1]),
        tuple(_score(before, after, name, limits) for name in names[: len(given.facts.outputs)]),
    )
    return OnnxModel(draft, _facts(given, made, draft, cut, pruning))


def _refuse_shapes(specs: Sequence[TensorSpec]) -> None:
    firsts = {one.shape[0] if one.shape else None for one in specs}
    why = ""
    if any(one.profile for one in specs):
        why = "it is to take several sizes"
    elif len(firsts) != 1 or None in firsts:
        why = "its inputs do not begin with one batch"
    elif strange := [one for one in specs if one.dtype not in KINDS]:
        why = f"input {strange[0].name!r} is {strange[0].dtype}"
    if why:
        takes = ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in specs)
        raise StageError(
            f"--prune cannot cut the file: {why}", f"it takes {takes}; without --prune it goes on whole"
        )


def _lowered(given: OnnxModel) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The file at the opset that onnx2torch reads; and output -> what is before its sigmoid, a further output."""
    proto = onnx.load(given.path / FILE)
    model, _ = as_taken(proto, given.facts.inputs, ExportConfig(opset=READ), DataConfig())
    lowered = exporting.checked(model)
    shown = squashed(proto, lowered)
    values = {one.name: one for one in lowered.graph.value_info}
    lowered.graph.output.extend(values[name] for name in dict.fromkeys(shown.values()))
    return lowered, shown


def _run(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Array]:
    with torch.no_grad():
        return [one.numpy() for one in models.outputs_of(network(*inputs))]


def _hold(
    wanted: Sequence[Feed], found: Sequence[Feed], names: Sequence[str], limits: Limits, what: str
) -> None:
    for name in names:
        one = _score(wanted, found, name, limits)
        if not limits.allow(one):
            raise StageError(f"--prune: {what}: {words(one, limits)}", INSTEAD)


def _score(wanted: Sequence[Feed], found: Sequence[Feed], name: str, limits: Limits) -> Score:
    sides = (
        np.concatenate([rows(np.atleast_1d(one[name]).astype(np.float32)) for one in some])
        for some in (wanted, found)
    )
    return score(name, IMAGES, *sides, None, limits)


def _refuse_one_at_a_time(network: nn.Module, inputs: Sequence[tuple[Tensor, ...]]) -> None:
    """Channels are judged on many samples at once; a file may have fixed how many it takes."""
    some = inputs[:2] if len(inputs) > 1 else inputs * 2
    alone = [np.concatenate(parts) for parts in zip(*(_run(network, one) for one in some), strict=True)]
    try:
        joined = _run(network, _joined(some))
        equal = all(a.shape == b.shape and np.allclose(a, b, 1e-3, 1e-3 * float(np.abs(a).max(initial=0)))
                    for a, b in zip(alone, joined, strict=True))  # fmt: skip
    except RuntimeError:
        equal = False
    if not equal:
        raise StageError(
            "--prune cannot cut the file: it fixes how many samples it takes, somewhere inside",
            "export it with an open batch; without --prune it goes on whole",
        )


def _joined(inputs: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*inputs, strict=True))


def _pruned(
    config: PruneFileConfig, network: nn.Module, inputs: Sequence[tuple[Tensor, ...]]
) -> tuple[nn.Module, Pruning]:
    """Without the channels that go, the others fitted."""
    prune, example = config.prune, _joined((inputs * 2)[:2])
    images = tuple(x[: fit_in_memory(tuple(one[:1] for one in inputs[0]))] for x in _joined(inputs))
    graph = analyse(network, example)
    batches = [(one, None) for one in inputs]
    ranked, curves = judged(prune, network, graph, batches, _no_loss, 0)
    reduction = Reduction.over(graph, prune, ranked, curves, ())
    found, whole = proposed(reduction, reduction.costs()), reduction.costs()
    dense = copied(network)
    smaller, steps, cut = cut_out(copied(network), example, graph, found)
    told = recorded(reduction, found, cut, whole)
    if not told.layers and not told.blocks:
        left = next(iter({**told.left, **told.fixed, **told.refused}.items()), None)
        raise StageError(
            "--prune: nothing could be removed" + (f": {left[0]}: {left[1]}" if left else ""),
            "ask for more, or leave --prune out",
        )
    console.say(f"    {told.headline}")
    if prune.reconstruct:
        fitted(dense, smaller, steps[-1], images)
    return smaller.eval(), told


def _no_loss(outputs: object, target: object) -> Tensor:
    raise AssertionError("criteria that look at gradients were refused")


def _configs(specs: Sequence[TensorSpec]) -> tuple[InputConfig, ...]:
    return tuple(
        InputConfig(tuple(size for size in one.shape[1:] if isinstance(size, int)), one.name, one.dtype)  # type: ignore[arg-type]
        for one in specs
    )


def _facts(
    given: OnnxModel, made: onnx.ModelProto, draft: Path, cut: CutFile, pruning: Pruning
) -> OnnxModelFacts:
    worst = min(cut.agreement, key=lambda one: one.mean_cosine)
    near = f"outputs agree with the given file's to a cosine of {worst.mean_cosine:.4f}; no labels, so no accuracy"
    console.say(f"    {near}")
    return replace(
        given.facts,
        opset=opset_of(made),
        ir_version=made.ir_version,
        nodes=len(made.graph.node),
        bytes=(draft / FILE).stat().st_size,
        inputs=tuple(described(one) for one in made.graph.input),
        outputs=tuple(described(one) for one in made.graph.output),
        cut=cut,
        headline=f"{pruning.headline}; {near}",
    )
