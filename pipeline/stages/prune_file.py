"""Stage: channels removed from a file that was given, without training: the others are fitted to what it gave before.

onnx2torch makes a PyTorch network of the file (:mod:`jetpress.pipeline.graph.converted`). Nothing is believed of it:
on the samples it must give what ONNX Runtime makes of the file, and what is written must give what the pruned network
does. Between the two no label says what is right. What is told is how near the outputs stay, and how many of the file's
answers (:mod:`jetpress.pipeline.graph.answers`) are still given, on samples that nothing was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from jetpress.pipeline.graph.answers import agreement, answering, likely_head, rules_of
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.converted import INSTEAD, READ, network_of
from jetpress.pipeline.graph.exporting import described, opset_of
from jetpress.pipeline.graph.foreign import as_taken
from jetpress.pipeline.graph.held import rows, squashed, words
from jetpress.pipeline.graph.session import Array, Feed
from jetpress.pipeline.graph.tolerance import LIMITS, Limits, score
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import ChannelGraph, analyse, copied
from jetpress.pipeline.pruning.apply import cut_out, fitted, proposed, recorded
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.pruning.curves import Curves
from jetpress.pipeline.pruning.judged import judged
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.recipe.configs import PruneFileConfig
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.artifact import OnnxModel, Samples
from jetpress.pipeline.store.facts.network import Pruning
from jetpress.pipeline.store.facts.onnx_file import (
    Answers,
    CutFile,
    DetectionRules,
    OnnxModelFacts,
    Score,
    TensorSpec,
)

FILE = "model.onnx"
COMPARED = 16
"""Samples that networks and files are compared on."""
JUDGED = 64
"""Samples that answers are compared on, a quarter of all where there are few: nothing is fitted to them."""
SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Of the multiply-adds, that are tried."""
KINDS = ("float32", "int32", "int64", "uint8")


def prune_file(config: PruneFileConfig, given: OnnxModel, samples: Samples, draft: Path) -> OnnxModel:
    """Write ``model.onnx``: the file without what was removed, in FP32.

    Raises:
        ToolMissing: onnx2torch is not installed.
        StageError: it does not give back an equal network, nothing can be removed, or no cut keeps enough answers.
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
    own = names[: len(given.facts.outputs)]
    compared = [shown.get(name, name) for name in own]
    with progress("the file against the network made of it"):
        theirs = _answers(network, inputs[:COMPARED], names)
    _hold(before, theirs, compared, limits, "onnx2torch does not give back an equal network")
    _refuse_one_at_a_time(network, inputs)

    judging = min(JUDGED, len(inputs) // 4)
    fitting, others = inputs[: len(inputs) - judging], inputs[-judging:] if judging else inputs
    rules, wanted = rules_of(config.task, given.facts), _answers(network, others, names)
    if rules is None and (head := likely_head(given.facts, [wanted[0][name] for name in own])):
        console.say(f"    WARNING: if this is a detector, say so (--head {head}): what it finds decides then")
    subject = _Subject.of(config, network, fitting, own, rules)

    def agreed(one: nn.Module) -> Answers | None:
        return agreement(wanted, _answers(one, others, names), own, rules)

    searched = config.least is not None
    smaller, pruning = _largest(config, subject, agreed) if searched else subject.cut(config.prune)
    made = exporting.to_onnx(smaller, _configs(specs), tuple(names), ExportConfig(batch=len(inputs[0][0])))
    exported = session.load(made)
    after = [exported(feed) for feed in feeds[:COMPARED]]
    ours = _answers(smaller, inputs[:COMPARED], names)
    _hold(ours, after, compared, limits, "the pruned network and its file are not the same")

    del made.graph.output[len(given.facts.outputs) :]
    (draft / FILE).write_bytes(made.SerializeToString(deterministic=True))
    sizes = [models.size_of(one, inputs[0]) for one in (network, smaller)]
    now = _answers(smaller, others, names)
    scores = tuple(_score(wanted, now, name, limits) for name in own)
    parameters, macs = zip(*sizes, strict=True)
    cut = CutFile(pruning.layers, parameters, macs, scores, len(fitting), agreement(wanted, now, own, rules))
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


def _answers(network: nn.Module, inputs: Sequence[tuple[Tensor, ...]], names: Sequence[str]) -> list[Feed]:
    return [dict(zip(names, _run(network, one), strict=True)) for one in inputs]


def _hold(
    wanted: Sequence[Feed], found: Sequence[Feed], names: Sequence[str], limits: Limits, what: str
) -> None:
    for name in names:
        one = _score(wanted, found, name, limits)
        if not limits.allow(one):
            raise StageError(f"--prune: {what}: {words(one, limits)}", INSTEAD)


def _score(wanted: Sequence[Feed], found: Sequence[Feed], name: str, limits: Limits) -> Score:
    before, after = (
        np.concatenate([rows(np.atleast_1d(one[name]).astype(np.float32)) for one in some])
        for some in (wanted, found)
    )
    return score(name, IMAGES, before, after, None, limits)


def _refuse_one_at_a_time(network: nn.Module, inputs: list[tuple[Tensor, ...]]) -> None:
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


def _joined(inputs: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*inputs, strict=True))


@dataclass(frozen=True)
class _Subject:
    """A network of which channels are known, and what each is worth."""

    network: nn.Module
    graph: ChannelGraph
    example: tuple[Tensor, ...]
    images: tuple[Tensor, ...]
    """That layers are fitted to."""
    ranked: Mapping[str, Scores]
    curves: Curves

    @classmethod
    def of(
        cls,
        config: PruneFileConfig,
        network: nn.Module,
        inputs: list[tuple[Tensor, ...]],
        names: Sequence[str],
        rules: DetectionRules | None,
    ) -> _Subject:
        example = _joined((inputs * 2)[:2])
        images = tuple(x[: fit_in_memory(tuple(one[:1] for one in inputs[0]))] for x in _joined(inputs))
        graph = analyse(network, example)
        with answering(network, names, rules):
            batches = [(one, None) for one in inputs]
            ranked, curves = judged(config.prune, network, graph, batches, _no_loss, 0)
        return cls(network, graph, example, images, ranked, curves)

    def cut(self, prune: PruneConfig) -> tuple[nn.Module, Pruning]:
        """Without the channels that go, the others fitted.

        Raises:
            StageError: nothing can be removed.
        """
        reduction = Reduction.over(self.graph, prune, self.ranked, self.curves, ())
        found, whole = proposed(reduction, reduction.costs()), reduction.costs()
        smaller, steps, cut = cut_out(copied(self.network), self.example, self.graph, found)
        told = recorded(reduction, found, cut, whole)
        if not told.layers and not told.blocks:
            left = next(iter({**told.left, **told.fixed, **told.refused}.items()), None)
            raise StageError(
                "--prune: nothing could be removed" + (f": {left[0]}: {left[1]}" if left else ""),
                "ask for more, or leave --prune out",
            )
        console.say(f"    {told.headline}")
        if prune.reconstruct:
            fitted(copied(self.network), smaller, steps[-1], self.images)
        return smaller.eval(), told


def _largest(
    config: PruneFileConfig, subject: _Subject, agreed: Callable[[nn.Module], Answers | None]
) -> tuple[nn.Module, Pruning]:
    """The largest of ``SHARES`` that keeps enough answers, by halves: less is kept with more gone.

    Raises:
        StageError: not even the least does, or what the outputs mean is not known.
    """
    assert config.least is not None
    best, last = None, None
    low, high = -1, len(SHARES)
    while high - low > 1:
        middle = (low + high) // 2
        made = subject.cut(replace(config.prune, macs=SHARES[middle]))
        last = agreed(made[0])
        if last is None:
            raise StageError(
                "--prune auto: what the file answers is not known, or it finds nothing on the samples",
                "--head for a detector (and --colour, --scale, --fit as it was trained), or --prune SHARE",
            )
        console.say(f"    {SHARES[middle]:.0%} of the multiply-adds: {last.words}")
        if last.share >= config.least:
            best, low = made, middle
        else:
            high = middle
    if best is None:
        assert last is not None
        raise StageError(
            f"--prune auto: with {SHARES[0]:.0%} of the multiply-adds gone, {last.words}; "
            f"{config.least:.0%} is asked for",
            "--set budget.agreement=N (percent) asks for less; a network in PyTorch can be trained: jetpress.prune",
        )
    return best


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
    near = f"{cut.answers.words}; {near}" if cut.answers else near
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
