"""Zeros anywhere: the smallest weights of the whole network, as in ``torch.nn.utils.prune``.

For quick studies of how much a network can lose. No engine of our targets runs faster for it: the zeros are
multiplied like any other number. The weights behind the masks stay in the checkpoint, until training or ``fold``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

import torch
from torch.nn.utils.prune import L1Unstructured

from jetpress.pipeline.network.models import Network

NO_TIME = "unstructured zeros: no engine of these targets is faster for them"


def mask(network: Network, amount: float, ignore: Sequence[str] = ()) -> dict[str, Any]:
    """Mask the share ``amount`` of all weights by magnitude (L1), in place; returns the facts of the stage."""
    weights = {
        name: parameter.detach()
        for name, parameter in network.module.named_parameters()
        if parameter.ndim > 1 and not any(fnmatch(name, one) for one in ignore)
    }
    if not weights:
        return {"method": "magnitude", "pattern": "unstructured", "layers": [], "eligible": 0, "masked": 0}
    every = torch.cat([weight.flatten() for weight in weights.values()])
    chosen = L1Unstructured(amount).compute_mask(every, torch.ones_like(every)).bool()
    parts = torch.split(chosen, [weight.numel() for weight in weights.values()])
    layers = []
    for (name, weight), part in zip(weights.items(), parts, strict=True):
        network.masks[name] = part.reshape(weight.shape)
        kept = float(weight.abs()[network.masks[name]].sum() / weight.abs().sum().clamp_min(1e-30))
        zeros = 1 - float(part.float().mean())
        reason = f"{100 * zeros:.1f} % zeros, {100 * kept:.1f} % of the magnitude kept; {NO_TIME}"
        layers.append({"name": name, "sparse": False, "reason": reason})
    magnitude = float(every.abs()[chosen].sum() / every.abs().sum().clamp_min(1e-30))
    return {
        "method": "magnitude",
        "pattern": "unstructured",
        "layers": layers,
        "eligible": 0,
        "masked": len(layers),
        "kept_magnitude": magnitude,
    }
