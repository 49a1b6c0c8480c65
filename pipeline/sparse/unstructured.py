"""Zeros anywhere: the smallest weights of the whole network, as in ``torch.nn.utils.prune``.

For quick studies of how much a network can lose. No engine of our targets runs faster for it: the zeros are
multiplied like any other number. The weights behind the masks stay in the checkpoint, until training or ``fold``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

import torch
from torch.nn.utils.prune import L1Unstructured

from jetpress.pipeline.network.models import Network
from jetpress.pipeline.store.facts.network import SparseLayer, Sparsity

NO_TIME = "unstructured zeros: no engine of these targets is faster for them"


def mask(network: Network, amount: float, ignore: Sequence[str] = ()) -> Sparsity:
    """Mask the share ``amount`` of all weights by magnitude (L1), in place."""
    weights = {
        name: parameter.detach()
        for name, parameter in network.module.named_parameters()
        if parameter.ndim > 1 and not any(fnmatch(name, one) for one in ignore)
    }
    if not weights:
        return Sparsity("magnitude", "unstructured", (), eligible=0, masked=0)
    every = torch.cat([weight.flatten() for weight in weights.values()])
    chosen = L1Unstructured(amount).compute_mask(every, torch.ones_like(every)).bool()
    parts = torch.split(chosen, [weight.numel() for weight in weights.values()])
    layers = []
    for (name, weight), part in zip(weights.items(), parts, strict=True):
        network.masks[name] = part.reshape(weight.shape)
        kept = float(weight.abs()[network.masks[name]].sum() / weight.abs().sum().clamp_min(1e-30))
        zeros = 1 - float(part.float().mean())
        reason = f"{100 * zeros:.1f} % zeros, {100 * kept:.1f} % of the magnitude kept; {NO_TIME}"
        layers.append(SparseLayer(name, reason))
    magnitude = float(every.abs()[chosen].sum() / every.abs().sum().clamp_min(1e-30))
    return Sparsity("magnitude", "unstructured", tuple(layers), 0, magnitude, masked=len(layers))
