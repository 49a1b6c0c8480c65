"""Stage: 2:4 sparsity along the axis that TensorRT reads.

Of every 4 consecutive *input channels* at least 2 weights are zero, for each output channel and each position
of the kernel; for a matrix product along the axis that is summed over (NVIDIA TensorRT developer guide,
"Structured Sparsity"). First the input channels are reordered so that more is kept
(:mod:`jetpress.pipeline.sparse.permute`), then masks are chosen by magnitude or with data
(:mod:`jetpress.pipeline.sparse.reconstruct`). What stays dense is listed with the reason. Fine-tuning holds the
masks, ``fold`` makes them final. Whether a layer really runs sparse, and faster, TensorRT decides on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor

from jetpress.deploy.console import say
from jetpress.deploy.errors import StageError
from jetpress.deploy.preflight.sparse import why_no_gain
from jetpress.pipeline.data.loading import at_once, load
from jetpress.pipeline.network import channels, models
from jetpress.pipeline.network.channels.graph import Trace
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.imagined import imagined
from jetpress.pipeline.recipe.sections.compression import SparsifyConfig
from jetpress.pipeline.sparse import masks, unstructured
from jetpress.pipeline.sparse.masks import best_mask
from jetpress.pipeline.sparse.permute import Permuted, permute
from jetpress.pipeline.sparse.products import Product, products
from jetpress.pipeline.sparse.reconstruct import reconstruct
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import LayerMask, SparseLayer, Sparsity

BATCH = 4
"""Calibration samples that are walked through the network at a time."""

Tensors = Mapping[str, Tensor]
"""By the name of their parameter."""


def sparsify(config: SparsifyConfig, model: Checkpoint, draft: Path) -> Checkpoint:
    """Choose masks for every layer that is eligible; with ``sparsegpt`` the kept weights are changed as well.

    Facts: ``sparsity`` and ``pruned``.

    Raises:
        StageError: the network cannot be traced, or a mask is not what it must be.
    """
    network = models.load(model)
    if config.pattern == "unstructured":
        found = unstructured.mask(network, config.amount, config.ignore)
        say(f"    {unstructured.NO_TIME}")
        facts = replace(model.facts, sparsity=found, pruned=bool(found.masked))
        return models.save(network, draft, facts)
    if config.method == "magnitude":
        inputs = models.example_inputs(network.model.inputs, BATCH)
    else:
        inputs = at_once(load(network.data, network.seed, network.task), network.data.calibration_images)
    found = make_sparse(network, config, inputs)
    return models.save(network, draft, replace(model.facts, sparsity=found, pruned=found.eligible > 0))


def make_sparse(
    network: Network, config: SparsifyConfig, inputs: tuple[Tensor, ...], *, imagines: bool = False
) -> Sparsity:
    """Mask ``network`` in place.

    Args:
        network: on the CPU.
        config: how.
        inputs: what it is traced on and, where data is asked for, judged by.
        imagines: noise is looked at instead, through the statistics of BatchNorm; magnitude decides where those say
            nothing.
    """
    kept, group = masks.pattern(config.pattern)
    example = tuple(x[:BATCH] for x in inputs)
    graph = channels.analyse(network.module, example)
    parameters = dict(network.module.named_parameters())
    uses = products(graph.trace)
    reasons = why_dense(uses, parameters, config)
    layers = [layer for layer, reason in reasons.items() if not reason]

    _apply(network.masks, parameters)
    plain = _clones(parameters, layers)
    permuted = Permuted()
    if config.permute and layers:
        permuted = permute(network.module, example, graph, layers, kept, group, network.masks)
    dense = _clones(parameters, layers)
    noise = imagined(network.module, example, 0) if imagines else None
    if imagines and not noise:
        config = replace(config, method="magnitude")
    seen, masked = noise.samples if noise else inputs, [use for use in uses if use.name in dense]
    size = len(example[0])
    batches = [x[: len(x) // size * size].split(size) for x in seen]  # of the size that was traced
    found, errors = _choose(config, graph.trace, parameters, masked, list(zip(*batches, strict=True)))
    if noise:
        noise.end(network.module, {})
    for layer in layers:
        mask = found[layer.name] & network.masks.get(layer.name, torch.tensor(True))
        if not masks.holds(mask, kept, group, layer.axis):
            raise StageError(f"the mask of {layer.name} is not {config.pattern}", "please report this")
        network.masks[layer.name] = mask
    _apply(network.masks, parameters)

    judged = {}
    for layer in layers:
        name, stayed = layer.name, permuted.reasons if config.permute else {layer.name: "not asked"}
        kept_of, unpermuted, efficacy = _judged(layer, plain, dense, network.masks[name], kept, group)
        no_gain, not_moved = gain(layer, parameters[name]), stayed.get(name, "")
        judged[name] = LayerMask(kept_of, unpermuted, no_gain, not_moved, efficacy, errors.get(name))
    return Sparsity(
        config.method,
        config.pattern,
        tuple(SparseLayer(layer.name, reason, judged.get(layer.name)) for layer, reason in reasons.items()),
        eligible=len(layers),
        kept_magnitude=_share({name: one.kept for name, one in judged.items()}, dense),
        kept_unpermuted=_share({name: one.kept_unpermuted for name, one in judged.items()}, dense),
        permutation_error=permuted.error,
    )


@dataclass(frozen=True)
class Prospect:
    """A layer before anything is done."""

    name: str
    inputs: int | None
    """Input channels; None where it is no layer that can be masked."""
    products: int | None
    """That each of its outputs sums."""
    dense: str
    """Why it would stay dense or be no faster; empty where it may gain."""


def forecast(config: SparsifyConfig, model: Checkpoint) -> list[Prospect]:
    """What masks may do for every layer."""
    network = models.load(model)
    inputs = models.example_inputs(network.model.inputs, BATCH)
    graph = channels.analyse(network.module, inputs)
    parameters = dict(network.module.named_parameters())
    layers = []
    for product, reason in why_dense(products(graph.trace), parameters, config).items():
        weight = parameters.get(product.name)
        if weight is None or product.reason:
            layers.append(Prospect(product.name, None, None, reason))
            continue
        summed, outputs = weight.shape[product.axis], weight.shape[1 - product.axis]
        why = reason or gain(product, weight)
        layers.append(Prospect(product.name, summed, weight.numel() // outputs, why))
    return layers


def why_dense(found: Sequence[Product], parameters: Tensors, config: SparsifyConfig) -> dict[Product, str]:
    """Every weight once, in the order of the network, with why it stays dense; empty where it is masked."""
    reasons: dict[Product, str] = {}
    seen: dict[str, Product] = {}
    for product in found:
        twin = seen.setdefault(product.name, product)
        if twin is product:
            reasons[product] = _why(product, parameters.get(product.name), config, first=not reasons)
        elif twin.axis != product.axis:
            reasons[twin] = "it is multiplied along two of its axes"
    return reasons


def _why(product: Product, weight: Tensor | None, config: SparsifyConfig, *, first: bool) -> str:
    """``weight.shape[axis]`` is the number of input channels that each output sums over: C / groups."""
    if any(fnmatch(product.name, one) for one in config.ignore):
        return "ignored by the recipe"
    if product.reason or weight is None:
        return product.reason or "it is no parameter"
    count, group = weight.shape[product.axis], masks.pattern(config.pattern)[1]
    if first:
        return "the first layer stays dense"
    if product.groups > 1 and count == 1:
        return "depthwise: one input channel for each output"
    if count % group:
        return f"{count} input channels are not a multiple of {group}"
    if count < config.min_channels:
        return f"{count} input channels are fewer than {config.min_channels}: sparse kernels do not pay"
    return gain(product, weight) if config.mode == "auto" else ""


def gain(product: Product, weight: Tensor) -> str:
    """Why TensorRT will hardly run this layer faster with 2:4; empty where it may."""
    return why_no_gain(weight.numel() // weight.shape[1 - product.axis], product.groups)


def _apply(held: Tensors, parameters: Tensors) -> None:
    for name, mask in held.items():
        with torch.no_grad():
            parameters[name].masked_fill_(~mask, 0.0)


def _clones(parameters: Tensors, layers: Sequence[Product]) -> dict[str, Tensor]:
    return {layer.name: parameters[layer.name].detach().clone() for layer in layers}


def _choose(
    config: SparsifyConfig,
    source: Trace,
    parameters: Tensors,
    uses: Sequence[Product],
    batches: Sequence[tuple[Tensor, ...]],
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Masks by parameter, and the error of each layer's output where data tells."""
    kept, group = masks.pattern(config.pattern)
    if config.method == "magnitude":
        return {one.name: best_mask(parameters[one.name], kept, group, one.axis) for one in uses}, {}
    return reconstruct(source, parameters, uses, batches, config.method, kept, group)


def _judged(
    layer: Product, plain: Tensors, dense: Tensors, mask: Tensor, kept: int, group: int
) -> tuple[float, float, float | None]:
    """Shares of a layer's magnitude: kept by its mask, and without permutation; what permuting won back."""
    before, after = (masks.rows(tensors[layer.name], layer.axis) for tensors in (plain, dense))
    default, reached = (masks.magnitude(matrix, kept, group) for matrix in (before, after))
    total = float(after.sum(dtype=torch.float64)) or 1.0
    share = float(dense[layer.name].abs()[mask].sum(dtype=torch.float64)) / total
    return share, default / total, masks.efficacy(reached, default, masks.ideal(after, kept, group))


def _share(shares: Mapping[str, float], dense: Tensors) -> float | None:
    """A share of all layers' magnitude, from the shares of each."""
    totals = {name: float(weight.abs().sum(dtype=torch.float64)) for name, weight in dense.items()}
    whole = sum(totals.values())
    return sum(share * totals[name] for name, share in shares.items()) / whole if whole else None
