"""Stage: is the ONNX file the same function as the PyTorch network? A gate: where it is not, the run ends.

PyTorch and ONNX Runtime see the same inputs: real calibration images, and edge cases
(:mod:`jetpress.pipeline.graph.cases`). What is asked depends on the precision of the file
(:data:`jetpress.pipeline.graph.tolerance.LIMITS`); NaN or Inf anywhere fails. A failure names the first node that
differs. Layers that the checkpoint says are 2:4 sparse must be so in the file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from jetpress.deploy.console import progress
from jetpress.deploy.errors import StageError
from jetpress.deploy.onnx_file import guard
from jetpress.pipeline.data import loading
from jetpress.pipeline.graph import divergence, session
from jetpress.pipeline.graph.cases import IMAGES, Case, cases, filled
from jetpress.pipeline.graph.channelwise import Channels
from jetpress.pipeline.graph.ends import SCORES, Ends
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.graph.tolerance import LIMITS, REPORT, Limits, judged_by_channel, worst
from jetpress.pipeline.graph.tolerance import score as score_of
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig
from jetpress.pipeline.sparse.rule import check_sparse
from jetpress.pipeline.store.artifact import Checkpoint, Equivalence, OnnxModel
from jetpress.pipeline.store.facts.onnx_file import EquivalenceFacts, OnnxModelFacts, Score
from jetpress.pipeline.tasks import decoded_as
from jetpress.pipeline.training.evaluate import layout, to_device

AT_ONCE = 16
"""Samples that PyTorch takes at once: one by one it is several times slower."""


def equivalence(
    config: EquivalenceConfig, model: Checkpoint, onnx_model: OnnxModel, draft: Path
) -> Equivalence:
    """Compare, and write ``equivalence.json``.

    Raises:
        StageError: the two are not the same function, or a sparse layer is not 2:4 in the file.
        TrustError: the file is damaged, or names weights outside of its folder.
    """
    network = models.load(model)
    path = onnx_model.path / "model.onnx"
    proto, beside = opened(path)
    loaded = loading.load(network.data, network.seed, network.task)
    images = loading.calibration(loaded, network.data.calibration_images)
    ends, batch = Ends.of(onnx_model.facts, network.data), onnx_model.facts.max_batch
    held = hold(network, proto, images, ends, _kind(onnx_model.facts), batch, config, beside)
    sparse = check_sparse(model.facts.sparsity, proto)
    report = {
        "same": True,
        "precision": held.precision,
        "limits": asdict(held.limits),
        "images": held.images,
        "outputs": [asdict(one) for one in held.outputs],
        "cases": [asdict(one) for one in held.scores],
        "sparse_layers": [asdict(one) for one in sparse],
    }
    (draft / "equivalence.json").write_text(json.dumps(report, indent=1))
    facts = EquivalenceFacts(held.outputs, held.precision, held.images, len(sparse), held.headline)
    return Equivalence(draft, facts)


def opened(path: Path) -> tuple[onnx.ModelProto, Path | None]:
    """The graph of a file that was looked over, and its path if weights lie beside it.

    Raises:
        TrustError: the file is damaged, or names weights outside of its folder.
    """
    beside = guard.check_onnx(path.resolve()).external
    return onnx.load(path), path if beside else None


@dataclass(frozen=True)
class Held:
    """A file that is the same function as its network."""

    precision: str
    """That it was judged in."""
    limits: Limits
    images: int
    """Real inputs that both saw."""
    scores: tuple[Score, ...]
    """One for each output and case."""
    outputs: tuple[Score, ...]
    """The worst score of each output."""

    @property
    def headline(self) -> str:
        """How close they are, in words."""
        error = max(one.max_relative for one in self.outputs)
        cosine = min(one.mean_cosine if self.limits.noise else one.cosine for one in self.outputs)
        floating = self.precision == "fp32"
        within = f"within {error:.1e}" if floating else f"in {self.precision.upper()}, cosine {cosine:.6f}"
        shares = [one.top1 for one in self.scores if one.case == IMAGES]
        agree = "equal" if min(shares) == 1 else f"{100 * min(shares):.1f} % equal"
        what = "detections" if any(one.needed is not None for one in self.scores) else "top-1"
        return f"PyTorch = ONNX Runtime {within}, {what} {agree} on {self.images} images"


def hold(
    network: Network,
    proto: onnx.ModelProto,
    images: tuple[Tensor, ...],
    ends: Ends,
    precision: str,
    batch: int,
    config: EquivalenceConfig,
    beside: Path | None = None,
) -> Held:
    """Hold a file against its network.

    Args:
        network: its masks are part of it.
        proto: the file's graph.
        images: real inputs ``[n, ...]`` as the network takes them.
        ends: of the file.
        precision: that it is judged in.
        batch: samples that it takes at once.
        config: how far the two may differ.
        beside: where the file is, if its weights lie beside it.

    Raises:
        StageError: the two are not the same function.
    """
    limits = LIMITS[precision]
    if limits.max_relative is not None:
        most = config.max_relative_error
        limits = replace(limits, max_relative=most, channel=most)
    given = cases(ends.to_file(images), batch, config.edge_cases)
    scores = compare(network, proto, given, limits, ends, beside)
    names = _names(proto.graph.output)
    if decoded := decoded_as(ends.output):
        names = [*_raw(ends), decoded.name]
    judged = [one for one in scores if limits.edges or one.case == IMAGES]
    outputs = tuple(worst([one for one in judged if one.output == name]) for name in names)
    return Held(precision, limits, len(images[0]), tuple(scores), outputs)


def compare(
    network: Network,
    proto: onnx.ModelProto,
    given: Iterable[Case],
    limits: Limits,
    ends: Ends = Ends(),  # noqa: B008 - frozen
    path: Path | None = None,
) -> list[Score]:
    """One score for each output and case.

    Args:
        given: inputs as the file takes them.
        path: where the file is, if its weights lie beside it.

    Raises:
        StageError: the two differ; names the case, the figures and the first node that differs.
    """
    _mask(network)
    fixed = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value  # 0 where the batch is open
    outputs, decoded = _names(proto.graph.output), decoded_as(ends.output)
    # Classes alone hide much: the scores behind them are compared as well.
    behind = _raw(ends) if decoded else () if ends.output == SCORES else (f"{outputs[0]}_scores",)
    run = session.load(path or proto, shown=behind)
    results, failing = dict[tuple[str, str], Score](), dict[tuple[str, str], dict[str, Array]]()
    suspect, channels = dict[tuple[str, str], dict[str, Array]](), defaultdict[str, Channels](Channels)
    with _channels_last(network.module), progress("PyTorch against ONNX Runtime") as line:
        for group in _grouped(given):
            expected = _pytorch(network, [tensors for _, tensors in group], ends, fixed)
            expected = [ends.taken(one) for one in expected]
            given_by_file = len(outputs) - (len(decoded.outputs) - len(behind) if decoded else 0)
            if len(expected[0]) != given_by_file:
                what = f"PyTorch gives {len(expected[0])} outputs, the ONNX file {given_by_file}"
                raise StageError(what, REPORT)
            for (case, tensors), wanted in zip(group, expected, strict=True):
                line.step(case)
                real, feed = next(session.feeds(proto, tensors, len(tensors[0])))
                found = {name: session.cut(one, real) for name, one in run(feed).items()}
                for score in _scores(case, found, wanted, outputs, results, channels, limits, ends):
                    key = (score.output, case)
                    if not limits.allow(score, so_far=True):
                        failing.setdefault(key, feed)
                    if not limits.allow(score):
                        suspect.setdefault(key, feed)
                    results[key] = worst([score, results[key]]) if key in results else score
                if failing:
                    break
            if failing:
                break
    for name, seen in channels.items():
        results[name, IMAGES] = judged_by_channel(results[name, IMAGES], seen, limits)
    for key, score in results.items():
        if key in failing or not limits.allow(score):
            where = _where(network, proto, suspect.get(key), ends, limits) if path is None else ""
            raise StageError(f"{_words(score, limits)}{where}", REPORT)
    return list(results.values())


def _raw(ends: Ends) -> tuple[str, ...]:
    """What the network's own outputs are called inside of a graph that decodes them."""
    decoded = decoded_as(ends.output)
    return decoded.raw(ends.rules) if decoded and ends.rules else ()


def _kind(facts: OnnxModelFacts) -> str:
    """The precision that a file is judged in."""
    if facts.quantization:
        return facts.quantization.numbers.lower()
    return "fp16" if facts.fp16 else "fp32"


def _scores(
    case: str,
    found: dict[str, Array],
    wanted: list[Array],
    outputs: list[str],
    results: Mapping[tuple[str, str], Score],
    channels: Mapping[str, Channels],
    limits: Limits,
    ends: Ends,
) -> Iterator[Score]:
    """One score for each output of the file on one case."""
    if decoded := decoded_as(ends.output):
        raw = {name: found.pop(name, one) for name, one in zip(_raw(ends), wanted, strict=True)}
        if case == IMAGES and ends.rules:  # where all scores are equal any choice is right
            yield decoded.held(case, ends.rules, raw, found)
        found, outputs, ends = raw, list(raw), Ends()
    for name, got in found.items():
        expected = wanted[outputs.index(name)] if name in outputs else wanted[0]
        end = ends.output if name == outputs[0] else ""
        seen = channels[name] if case == IMAGES else None
        yield score_of(name, case, expected, got, results.get((name, IMAGES)), limits, end, seen)


def _words(score: Score, limits: Limits) -> str:
    cosine = score.mean_cosine if limits.noise else score.cosine
    near = f"cosine {limits.cosine:g}" if limits.cosine else f"relative error {limits.max_relative:.0e}"
    what, least = ("top-1", limits.top1) if score.needed is None else ("detections", score.needed)
    figures = (
        f"largest relative error {score.max_relative:.2e}, cosine {cosine:.6f}, "
        f"{what} equal on {100 * score.top1:.1f} % (limits: {near}, {what} {100 * least:g} %)"
        if score.finite
        else "NaN or Inf"
    )
    if score.channel > limits.channel:
        figures += (
            f"; channel {score.channel_at} is off by {score.channel:.2g} of its own largest value "
            f"(limit {limits.channel:g}), beside larger ones"
        )
    place = f"output {score.output!r} on {score.case}"
    return f"PyTorch and the ONNX file are not the same function: {place}: {figures}"


def _where(
    network: Network, proto: onnx.ModelProto, feed: dict[str, Array] | None, ends: Ends, limits: Limits
) -> str:
    """The first node that differs, in words; empty where that cannot be found out."""
    if feed is None:
        return ""
    given = [
        one.numpy() for one in _network_inputs(network, tuple(map(torch.from_numpy, feed.values())), ends)
    ]
    try:
        return f";\n    {divergence.first_difference(network, proto, feed, given, limits.diverged)}"
    except StageError as error:
        return f"; which node differs first is not known: {error.what}"


def _grouped(given: Iterable[Case]) -> Iterator[list[Case]]:
    """Cases together until they have ``AT_ONCE`` samples."""
    group = list[Case]()
    for case in given:
        group.append(case)
        if sum(len(tensors[0]) for _, tensors in group) >= AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _pytorch(network: Network, group: list[tuple[Tensor, ...]], ends: Ends, fixed: int) -> list[list[Array]]:
    """The network's outputs for each of the inputs, computed in one go where that gives one row a sample."""
    module = network.module.eval()
    sizes = [len(tensors[0]) for tensors in group]

    def run(tensors: tuple[Tensor, ...]) -> list[Tensor]:
        with torch.no_grad():
            seen = to_device(_network_inputs(network, tensors, ends), torch.device("cpu"))
            return list(models.outputs_of(module(*seen)))

    with suppress(RuntimeError):  # a forward that fixes the batch size takes no other
        together = run(tuple(torch.cat(column) for column in zip(*group, strict=True)))
        if all(one.ndim and len(one) == sum(sizes) for one in together):
            parts = zip(*(one.split(sizes) for one in together), strict=True)
            return [[one.numpy() for one in part] for part in parts]
    each = (run(tuple(filled(one, fixed) for one in tensors)) for tensors in group)
    return [[session.cut(one, size) for one in got] for got, size in zip(each, sizes, strict=True)]


def _network_inputs(network: Network, fed: tuple[Tensor, ...], ends: Ends) -> tuple[Tensor, ...]:
    """What the network sees of what the file is fed."""
    seen = ends.to_network(fed)
    return tuple(
        one.to(getattr(torch, as_.dtype)) for one, as_ in zip(seen, network.model.inputs, strict=True)
    )


@contextmanager
def _channels_last(module: nn.Module) -> Iterator[None]:
    """PyTorch's convolutions are a third faster so; the exporter gets the weights back as they were."""
    layout(module, torch.channels_last)
    try:
        yield
    finally:
        layout(module, torch.contiguous_format)


def _mask(network: Network) -> None:
    """Masks that were not folded yet are part of the function."""
    parameters = dict(network.module.named_parameters())
    with torch.no_grad():
        for name, mask in network.masks.items():
            parameters[name].masked_fill_(~mask, 0.0)


def _names(values: Iterable[onnx.ValueInfoProto]) -> list[str]:
    return [value.name for value in values]
