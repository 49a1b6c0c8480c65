"""BatchNorm's statistics become those of what it sees after a cut, while the network computes what it did.

Layers that were fitted give other means and variances than those that BatchNorm holds, and it needs the old ones: with
statistics of the batch, as in training, or measured anew, what was fitted is lost again. So scale and shift take over
the difference: for ``y = s x + t`` with ``s = weight / sqrt(var + eps)`` and new statistics ``weight = s sqrt(var' +
eps)``, ``bias = bias + s (mean' - mean)``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from jetpress.pipeline.network.channels.graph import Trace, bound, operator_name
from jetpress.pipeline.sparse.walking import walk

TENSORS = ("weight", "bias", "running_mean", "running_var")


def settle(source: Trace, batches: Sequence[tuple[Tensor, ...]]) -> None:
    """Every BatchNorm of a network, in place; one without a scale, or that runs more than once, stays.

    Args:
        source: the network in eval mode, :func:`traced <jetpress.pipeline.sparse.walking.traced>`.
        batches: inputs ``[n, ...]``; where feature maps are large the first of them are looked at.
    """
    norms = [node for node in source.module.graph.nodes if operator_name(node) == "batch_norm"]
    owners = [str(weight.target) for node in norms if isinstance(weight := bound(node)["weight"], fx.Node)]
    wanted = {node: [bound(node)[name] for name in TENSORS] for node in norms}
    with torch.no_grad():
        for node, known in walk(source, batches, wanted):
            held = wanted[node]
            if any(not isinstance(one, fx.Node) or one.op != "get_attr" for one in held):
                continue
            if owners.count(str(held[0].target)) == 1:
                tensors = [operator.attrgetter(str(one.target))(source.module).data for one in held]
                seen: fx.Node = bound(node)["input"]
                _settle(tensors, [values[seen] for values in known], bound(node)["eps"])


def _settle(tensors: Sequence[Tensor], inputs: Sequence[Tensor], eps: float) -> None:
    weight, bias, mean, variance = (one.double() for one in tensors)
    rows = [x.movedim(1, 0).flatten(1).double() for x in inputs]
    count = sum(one.shape[1] for one in rows)
    new_mean = torch.stack([one.sum(1) for one in rows]).sum(0) / count
    new_variance = torch.stack([(one - new_mean[:, None]).square().sum(1) for one in rows]).sum(0) / count
    scale = weight / (variance + eps).sqrt()
    found = (scale * (new_variance + eps).sqrt(), bias + scale * (new_mean - mean), new_mean, new_variance)
    for tensor, value in zip(tensors, found, strict=True):
        tensor.copy_(value)
