"""Prune a module in hand: by the functions that the stages of a recipe call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.data.loading import fit_in_memory
from jetpress.pipeline.data.splits import Batch
from jetpress.pipeline.functions.arguments import Cutting, Loss, configured, spelled
from jetpress.pipeline.functions.given import Given, given, inputs_of, trainable
from jetpress.pipeline.functions.outline import outline
from jetpress.pipeline.functions.pruned import Cut, Pruned, Size, names_of
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import ChannelGraph, Step, analyse, copied
from jetpress.pipeline.network.channels.modes import batched, evaluating
from jetpress.pipeline.pruning.apply import cut_out, fitted, kept_by, proposed, recorded
from jetpress.pipeline.pruning.criteria import CRITERIA, Scores, scores
from jetpress.pipeline.pruning.curves import Curves
from jetpress.pipeline.pruning.imagined import Imagined, imagined
from jetpress.pipeline.pruning.judged import judged
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.pruning.statistics import BATCHES
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.facts.network import Pruning

if TYPE_CHECKING:
    from jetpress.pipeline.functions.latency import Clock

NOISE = "no batches were given: noise stood in, through the statistics of BatchNorm; some hundred images are better"


@dataclass(frozen=True)
class Shown:
    """What criteria may look at, beside the weights."""

    batches: tuple[Batch, ...]
    loss: Loss | None
    seed: int
    must_fit: bool = False
    """Weights are to be fitted, not only where that can be done."""
    needed: str = ""
    """What cannot be done without batches, in words."""


@spelled
def prune(
    model: nn.Module | Pruned, example_inputs: Tensor | Sequence[Tensor], **how: Unpack[Cutting]
) -> Pruned:
    """Remove channels from a network, once. What has a name of the recipe's ``[prune]`` means the same as there.

    Args:
        model: any network, also wrapped (``torch.compile``, DDP, EMA), left as it is; or a result of ``prune``.
        example_inputs: the arguments of ``forward``: tensors ``[batch, ...]``, values do not matter.
        ratio: share of the dense network's channels that goes, where none of the next three is given.
        macs: share of the multiply-adds that goes.
        params: share of the parameters that goes.
        latency: share of what the dense network's engine takes that goes, measured: it takes minutes.
        target: ``latency`` only: what the engine is for, a name of ``jetpress targets`` or its record.
        device: ``latency`` only: ``user@host`` where it is built and timed (or a DeviceError says why not); None: here.
        criterion: how much a channel matters. By weights: ``l1`` (Li et al., 2017), ``l2`` (group norm: Fang et al.,
            2023), ``fpgm`` (He et al., 2019), ``bn_scale`` (Liu et al., 2017), ``lamp`` (Lee et al., 2021), ``random``;
            with ``batches`` ``obs`` (Hassibi et al., 1993), ``activation`` (Molchanov et al., 2017) and ``apoz`` (Hu
            et al., 2016); with ``loss`` too ``taylor`` (Molchanov et al., 2019) and ``fisher`` (Theis et al., 2018).
        scope: how much each layer gives up: ``uniform``, the same share; ``global``, by one ranking; ``isomorphic``, by
            one of each kind of layer (Fang et al., 2024); ``measured``, by what it loses and saves on ``batches``.
        blocks: ``measured`` only: whole residual blocks may go.
        channel_multiple: surviving channel counts are multiples of this: 8 fills tensor cores in FP16, 32 in INT8.
        ignore: shell patterns of parameters whose layers keep all their channels.
        limits: shell patterns of parameters -> largest share of their layers' channels that may go.
        batches: of training data, the first 8 of them: inputs (a tensor or several), or pairs of inputs and target.
        loss: what the network returned and the target -> a scalar.
        sensitivity_images: ``measured`` only: samples that are looked at.
        reconstruct: layers are fitted by least squares to what they gave before on ``batches``. None: where that can be
            done. Without batches noise stands in, through the statistics of BatchNorm, where those were trained (Nagel
            et al., 2019); criteria and scopes that look at inputs look at that, too.
        seed: of ``random``.

    Returns:
        the smaller network, and what became of it. Where nothing can go, ``removed`` is False and the summary says why.

    Raises:
        RecipeError: an impossible value or pattern, inputs that do not fit, FSDP; a latency without its device.
        StageError: the network cannot be traced, or no cut leaves the same function.
    """
    config = configured(how)
    data = shown(config, how)
    return pruned(model, example_inputs, config, data, clock_of(config, how))


def clock_of(config: PruneConfig, how: Cutting) -> Clock | None:
    """What measures a latency, if one is asked for.

    Raises:
        RecipeError: there is no such target, or it is not here and no device is given.
        DeviceError: the device is another one, or cannot be reached.
    """
    if config.latency is None:
        return None
    from jetpress.pipeline.functions.latency import Clock, bench_of  # with all that a device needs

    return Clock(bench_of(config, how.get("target", "host"), how.get("device")))


def shown(config: PruneConfig, how: Cutting) -> Shown:
    """The batches that are looked at, where any are needed.

    Raises:
        RecipeError: there is none, or no loss.
    """
    batches, loss, seed = how.get("batches"), how.get("loss"), how.get("seed", 0)
    wanted, must_fit = CRITERIA[config.criterion].data, how.get("reconstruct") is True
    need = "reconstruct=True" * must_fit
    if wanted or config.scope == "measured":
        need = f"criterion={config.criterion!r}" if wanted else "scope='measured'"
    if batches is None and wanted != "gradients":  # noise stands in, where it can
        return Shown((), loss, seed, must_fit, need)
    if not need and not config.reconstruct:
        return Shown((), loss, seed)
    if wanted == "gradients" and loss is None:
        raise RecipeError(
            f"{need} looks at the gradients of a loss", "give loss=..., for example F.cross_entropy"
        )
    taken = tuple(_batch(one) for one in islice(batches, BATCHES)) if batches is not None else ()
    if not taken:
        raise _no_data(need or "reconstruct=True")
    if wanted == "gradients" and any(target is None for _, target in taken):
        raise RecipeError(f"{need} needs targets", "give batches of pairs (inputs, target)")
    return Shown(taken, loss, seed, must_fit)


def _no_data(need: str, why: str = "") -> RecipeError:
    return RecipeError(
        f"{need} looks at data", f"give batches=..., for example the loader of the training data{why}"
    )


def _batch(one: object) -> Batch:
    inputs, *rest = (one[0], *one[1:]) if isinstance(one, tuple | list) and one else (one,)
    inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    if not all(isinstance(tensor, Tensor) for tensor in inputs):
        raise RecipeError(
            f"a batch is a {type(one).__name__} that does not begin with tensors",
            "give tensors, or pairs (inputs, target) where inputs is a tensor or a tuple of tensors",
        )
    return inputs, (rest[0] if len(rest) == 1 else tuple(rest) or None)


@trainable
def pruned(
    model: nn.Module | Pruned,
    example_inputs: Tensor | Sequence[Tensor],
    config: PruneConfig,
    data: Shown,
    clock: Clock | None = None,
) -> Pruned:
    """The same with everything checked; ``clock`` measures the latency."""
    earlier = model if isinstance(model, Pruned) else None
    module = earlier.module if earlier else model
    assert isinstance(module, nn.Module) or not earlier
    network = given(module)  # type: ignore[arg-type]
    inputs = inputs_of(example_inputs, network.module)
    _refuse_idle_patterns(config, network.module)
    _refuse_other_inputs(data, inputs)
    graph = analyse(network.module, inputs)
    noise = _noise(config, network.module, inputs, data)
    time, found, notes = None, None, (*network.notes, *_apart(data))
    data = replace(data, batches=tuple((one, None) for one in noise.batches)) if noise else data
    ranked, curves = _judged(config, network, graph, data)
    history = earlier.history if earlier else ()
    reduction = Reduction.over(graph, config, ranked, curves, history)
    whole = earlier.pruning.whole if earlier else reduction.costs()
    original = earlier.original if earlier else outline(network.module)
    if clock is not None:
        before_now = earlier.pruning.time if earlier else None
        time, found = clock.chosen(original, network.module, inputs, reduction, whole, before_now)
    found = found or proposed(reduction, whole)
    shapes, before = network.shapes, _size(network.module, inputs)
    smaller, steps, cut_now = network.module, list[Step](), Pruning()
    if found.removal or found.blocks:
        dense = copied(network.module) if config.reconstruct and data.batches else None
        smaller, steps, cut_now = cut_out(network.module, inputs, graph, found)
        if dense is not None:
            notes += _fitted(dense, smaller, steps[-1], data, settles=noise is None)
    if noise:
        noise.end(smaller, kept_by(steps[-1]) if steps else {})
        notes += (NOISE,) * bool(steps)
    return Pruned(
        module=network.back(smaller),
        pruning=replace(recorded(reduction, found, cut_now, whole), time=time),
        dense=earlier.dense if earlier else before,
        size=_size(smaller, inputs) if steps else before,
        notes=notes,
        history=(*history, *steps),
        original=original,
        inputs=inputs,
        last=Cut(tuple(steps), shapes, names_of(module), network.parts),  # type: ignore[arg-type]
    )


def _noise(
    config: PruneConfig, module: nn.Module, inputs: tuple[Tensor, ...], data: Shown
) -> Imagined | None:
    """What stands in for batches where there are none.

    Raises:
        RecipeError: they are needed, and nothing can.
    """
    if data.batches or not (config.reconstruct or data.needed):
        return None
    found = imagined(module, inputs, data.seed)
    if data.needed and not found:
        raise _no_data(data.needed, "; noise stands in only for a network with trained BatchNorm")
    return found


def _apart(data: Shown) -> Iterator[str]:
    """Weights are the same in all processes of a group; what each of them is shown is not."""
    group = torch.distributed
    if data.batches and group.is_available() and group.is_initialized() and group.get_world_size() > 1:
        yield "chosen on this process's batches: let one process prune and jetpress.save, and all jetpress.load"


def _size(module: nn.Module, inputs: tuple[Tensor, ...]) -> Size:
    with evaluating(module):
        parameters, macs = models.size_of(module, inputs)
    return Size(parameters, macs // len(inputs[0]) if batched(inputs) else macs)


def _judged(
    config: PruneConfig, network: Given, graph: ChannelGraph, data: Shown
) -> tuple[dict[str, Scores], Curves]:
    """What each channel is worth, and each width where that is asked for."""
    if not data.batches:
        return scores(config.criterion, network.module, graph, seed=data.seed), Curves()
    looked_at = network.back(copied(network.module)).eval().requires_grad_()
    place = next((tensor.device for tensor in looked_at.state_dict().values()), torch.device("cpu"))
    batches = pytree.tree_map_only(Tensor, lambda tensor: _there(tensor, place), data.batches)
    return judged(config, looked_at, graph, batches, data.loss or _no_loss, data.seed)


def _there(tensor: Tensor, place: torch.device) -> Tensor:
    return (tensor.clone() if tensor.is_inference() else tensor).to(
        place
    )  # of the former no gradient is kept


def _fitted(
    dense: nn.Module, smaller: nn.Module, step: Step, data: Shown, *, settles: bool
) -> tuple[str, ...]:
    """The weights take over; else why they do not.

    Raises:
        StageError: they must, and one of the networks cannot be traced.
    """
    try:
        fitted(dense, smaller, step, _images(data), settles=settles)
    except StageError as error:
        if data.must_fit:
            raise
        return (f"the weights that stay were not fitted: {error}",)
    return ()


def _images(data: Shown) -> tuple[Tensor, ...]:
    """All that is shown, as one batch on the CPU; no more than fits into memory with its feature maps.

    Raises:
        StageError: its inputs have no batch axis in common.
    """
    inputs = [one for one, _ in data.batches]
    if not all(batched(one) for one in inputs):
        raise StageError("its inputs have no batch axis in common", "give reconstruct=False")
    images = tuple(torch.cat(parts).cpu() for parts in zip(*inputs, strict=True))
    most = fit_in_memory(tuple(x[:1] for x in images))
    return tuple(x[:most] for x in images)


def _no_loss(outputs: object, target: object) -> Tensor:
    raise AssertionError("a criterion that looks at gradients has a loss")


def _refuse_other_inputs(data: Shown, inputs: tuple[Tensor, ...]) -> None:
    """Of two tensors the second is the target; a data set gives samples, its loader gives batches."""
    wanted = [one.ndim for one in inputs]
    for tensors, _ in data.batches:
        if [one.ndim for one in tensors] != wanted:
            given, example = (
                " and ".join(str(list(x.shape)) for x in found) or "nothing" for found in (tensors, inputs)
            )
            raise RecipeError(
                f"a batch has {given} for the network, the example inputs are {example}",
                "batches are inputs, or pairs (inputs, target): all that forward takes is the first, as a tensor, or "
                "as a tuple of tensors where it takes several: ((x, y), target)",
            )


def _refuse_idle_patterns(config: PruneConfig, module: nn.Module) -> None:
    """A pattern that names no parameter protects nothing."""
    names = [name for name, _ in module.named_parameters()]
    parts = {name for name, _ in module.named_modules()}
    for pattern in (*config.ignore, *config.limits):
        if not any(fnmatchcase(name, pattern) for name in names):
            inside = f"did you mean {pattern + '.*'!r}?" if pattern in parts else did_you_mean(pattern, names)
            raise RecipeError(
                f"jetpress.prune: no parameter is called {pattern!r}",
                inside or f"they are called {names[0]!r}, ...",
            )
