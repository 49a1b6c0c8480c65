"""Stage: masks into weights, exactly, and the masks are gone.

What a mask holds at zero becomes zero in the weight itself; every other weight keeps its bits. From here on
the network is a plain one. BatchNorm goes into the layer before it at export
(:mod:`jetpress.pipeline.graph.batchnorm`), because a checkpoint must stay what its builder and its pruning history
rebuild.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.store.artifact import Checkpoint


def fold(config: None, model: Checkpoint, draft: Path) -> Checkpoint:
    """Fold the masks of ``model``; there is nothing to configure. Facts: ``masked``.

    Raises:
        StageError: a mask fits no parameter, or the folded network is not the masked one.
    """
    network = models.load(model)
    folded = fold_masks(network, models.example_inputs(network.model.inputs))
    return models.save(network, draft, replace(model.facts, masked=folded))


def fold_masks(network: Network, inputs: tuple[Tensor, ...]) -> tuple[str, ...]:
    """Masks into weights, in place, held against weight times mask on ``inputs``; the names of those that had one.

    Raises:
        StageError: a mask fits no parameter, or the folded network is not the masked one.
    """
    masks = network.masks
    before = {name: weight.detach().clone() for name, weight in network.module.named_parameters()}
    apply_masks(network)
    _promise(network, before, masks, inputs)
    return tuple(sorted(masks))


def apply_masks(network: Network) -> None:
    """Masks into weights, in place; ``network.masks`` is empty afterwards."""
    parameters = dict(network.module.named_parameters())
    for name, mask in network.masks.items():
        if name not in parameters or parameters[name].shape != mask.shape or mask.dtype != torch.bool:
            raise StageError(
                f"the mask of {name!r} fits no parameter of the network", "run the stage that masks again"
            )
        with torch.no_grad():
            # Not a product: that would keep the sign of zero, and NaN where a masked weight is infinite.
            parameters[name].masked_fill_(~mask, 0.0)
    network.masks = {}


def _promise(
    folded: Network, before: dict[str, Tensor], masks: dict[str, Tensor], inputs: tuple[Tensor, ...]
) -> None:
    """Masked weights are zero, all others have their bits, and the function is that of weight times mask."""
    for name, weight in folded.module.named_parameters():
        mask = masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        if weight[~mask].count_nonzero() or not torch.equal(weight[mask], before[name][mask]):
            raise StageError(f"folding changed {name} elsewhere than under its mask", "please report this")
    masked = {name: weight * masks[name] if name in masks else weight for name, weight in before.items()}
    with torch.no_grad():
        found = models.outputs_of(folded.module.eval()(*inputs))
        expected = models.outputs_of(functional_call(folded.module, masked, inputs))
    for one, other in zip(expected, found, strict=True):
        if one.is_floating_point() and (one - other).abs().max() > 1e-5 * one.abs().max():
            raise StageError("folding changed the outputs of the network", "please report this")
