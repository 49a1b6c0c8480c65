"""2:4 sparsity of a module in hand, and what makes it plain again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.functions.given import trainable
from jetpress.pipeline.functions.subjects import (
    Batches,
    HasModule,
    Inputs,
    as_it_was,
    batches_of,
    decided,
    joined,
    module_of,
    network_of,
    tensors,
)
from jetpress.pipeline.pruning.imagined import can_be_imagined
from jetpress.pipeline.stages.fold import fold_masks
from jetpress.pipeline.stages.sparsify import make_sparse
from jetpress.pipeline.store.facts.network import Sparsity
from jetpress.pipeline.training.masks import Masks


@dataclass(frozen=True)
class Sparse:
    """A module with masks."""

    module: nn.Module
    """Of the same class and with the same names as the one given; masked weights are zero."""
    masks: Masks
    """``masks.hold(optimizer)`` keeps them zero in every step; ``with masks.held():`` whatever optimizer is made."""
    report: Sparsity
    """Every layer: its mask and what that keeps, or why the layer stays dense."""

    def __str__(self) -> str:
        found = self.report
        kept = (
            ""
            if found.kept_magnitude is None
            else f"; {100 * found.kept_magnitude:.0f} % of the magnitude is kept"
        )
        stays = [f"stays dense: {one.name}: {one.reason}" for one in found.layers if one.reason]
        total = f"{found.eligible} of {len(found.layers)} layers are {found.pattern} ({found.method}){kept}"
        return "\n".join([total, *stays])


@trainable
def sparsify(
    model: nn.Module | HasModule, example_inputs: Inputs, batches: Batches | None = None, **keys: object
) -> Sparse:
    """2:4 masks along the input channels, the axis that TensorRT reads, in every layer that may gain from it.

    Of every 4 consecutive input channels 2 are kept, for each output and place of the kernel (NVIDIA TensorRT
    developer guide, "Structured Sparsity"). Input channels are reordered first so that more is kept (Pool and Yu,
    NeurIPS 2021). Train afterwards with the masks held, then :func:`fold`.

    Args:
        model: stays as it is.
        example_inputs: what ``forward`` takes, ``[n, ...]`` each.
        batches: real inputs for ``method = "sparsegpt"`` (the default: Frantar and Alistarh, 2023) or ``"wanda"`` (Sun
            et al., 2023); a hundred samples are enough. None: noise stands in, through the statistics of BatchNorm,
            where those were trained; elsewhere ``"magnitude"``.
        keys: those of a recipe's ``[sparsify]``: ``method``, ``permute``, ``pattern``, ``min_channels``, ``ignore``,
            ``mode`` (``"force"``: also layers that can hardly gain), with the same meaning.

    Raises:
        RecipeError: a wrong key, a method that needs batches, or the model does not take the inputs.
        StageError: the model cannot be traced.
    """
    config = decided("host", sparsify={"method": "sparsegpt", **keys}).recipe.sparsify
    if config.pattern == "unstructured":
        raise RecipeError(
            'pattern = "unstructured" is no N:M pattern', "take torch.nn.utils.prune for zeros anywhere"
        )
    network = network_of(model, example_inputs)
    network.masks = masks_of(model)
    example = tensors(example_inputs)
    seen = example if batches is None else joined(batches_of(batches, len(example)))
    imagines = batches is None and config.method != "magnitude"
    if imagines and "method" in keys and not can_be_imagined(network.module, example):
        raise _needs_batches(config.method)
    report = make_sparse(network, config, seen, imagines=imagines)
    if "method" in keys and report.method != config.method:
        raise _needs_batches(config.method)
    made = as_it_was(network.module, module_of(model))
    return Sparse(made, Masks(made, network.masks), report)


def _needs_batches(method: str) -> RecipeError:
    return RecipeError(
        f'method = "{method}" looks at data',
        "give batches, or leave method out; noise stands in only for a network with trained BatchNorm",
    )


def masks_of(model: object) -> dict[str, Tensor]:
    """The masks that a network has, on the CPU."""
    return {name: mask.cpu() for name, mask in model.masks.items()} if isinstance(model, Sparse) else {}


@trainable
def fold(model: nn.Module | HasModule, example_inputs: Inputs) -> nn.Module:
    """A plain module: masks in the weights, weights that are computed from others (weight norm) as they are.

    It is held against what it was on ``example_inputs``. BatchNorm goes into the layer before it at export, because a
    module that is trained on needs it.

    Args:
        model: what :func:`sparsify` gave, trained or not; or a module. It stays as it is.
        example_inputs: what ``forward`` takes, ``[n, ...]`` each.

    Raises:
        StageError: the folded module is not the masked one.
    """
    network = network_of(model, example_inputs)
    network.masks = masks_of(model)
    fold_masks(network, tensors(example_inputs))
    return as_it_was(network.module, module_of(model))
