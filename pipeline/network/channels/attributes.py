"""Python attributes that hold a width: found where the graph shows them, set on the cut module.

A ``Conv2d`` knows its channels, an attention its heads, a user's module whatever its author stored. For
torch's own layers the attributes are known. For every other module the graph is the evidence: if each number
64 that the module's code passed to an operator became 32, its attribute 64 becomes 32. A guess that is wrong
is caught when the cut module is run; then the network goes on as its graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from jetpress.pipeline.network.channels.graph import Survivors, Trace, resized_arguments, tensors_of
from jetpress.pipeline.network.channels.labels import Call

CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
BATCH_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip

Attributes = dict[str, dict[str, Any]]
"""Module path -> attribute -> value."""


def known(module: nn.Module, source: Trace, survivors: Survivors) -> Attributes:
    """Attributes of torch's own layers in ``module``, whose parameters are already cut."""
    groups = dict(_new_groups(source, survivors))
    found: Attributes = {}
    for path, part in module.named_modules():
        wanted = _of_layer(part, groups.get(path, {}))
        changed = {
            name: value for name, value in wanted.items() if _plain(getattr(part, name)) != _plain(value)
        }
        if changed:
            found[path] = changed
    return found


def _of_layer(part: nn.Module, groups: Mapping[str, int]) -> dict[str, Any]:
    weight = getattr(part, "weight", None)
    if isinstance(part, nn.MultiheadAttention):
        width = part.out_proj.weight.shape[0]
        return {"embed_dim": width, "kdim": width, "vdim": width, "head_dim": width // part.num_heads}
    if isinstance(part, nn.RNNBase | nn.RNNCellBase):
        return _of_recurrent(part)
    if not isinstance(weight, torch.Tensor):  # a user's own convolution: its groups may have another name
        return {name: count for name, count in groups.items() if hasattr(part, name)}
    if isinstance(part, CONVOLUTIONS):
        count = groups.get("groups", part.groups)
        first, second = weight.shape[0], weight.shape[1] * count
        inward, outward = (first, second) if part.transposed else (second, first)
        return {"in_channels": inward, "out_channels": outward, "groups": count}
    if isinstance(part, nn.Linear):
        return {"out_features": weight.shape[0], "in_features": weight.shape[1]}
    if isinstance(part, BATCH_NORMS):
        return {"num_features": weight.shape[0]}
    if isinstance(part, nn.LayerNorm | nn.RMSNorm):
        return {"normalized_shape": tuple(weight.shape)}
    if isinstance(part, nn.GroupNorm):
        return {"num_channels": weight.shape[0]} | dict(groups)
    return {"embedding_dim": weight.shape[1]} if isinstance(part, nn.Embedding) else {}


def _of_recurrent(part: nn.RNNBase | nn.RNNCellBase) -> dict[str, Any]:
    """Its input weights are ``[gates * hidden, input]``, its state's ``[gates * hidden, what it gives]``."""
    layer = "_l0" if isinstance(part, nn.RNNBase) else ""
    inward = part.get_parameter(f"weight_ih{layer}").shape[1]
    given = part.get_parameter(f"weight_hh{layer}").shape[1]
    if getattr(part, "proj_size", 0):
        hidden = part.get_parameter("weight_hr_l0").shape[1]
        return {"input_size": inward, "hidden_size": hidden, "proj_size": given}
    return {"input_size": inward, "hidden_size": given}


def _new_groups(source: Trace, survivors: Survivors) -> Iterator[tuple[str, dict[str, int]]]:
    """Per module the number of groups that its convolution or GroupNorm has now."""
    for call in source.calls.values():
        new = resized_arguments(call, survivors)
        weight = call.arguments.get("weight")
        if isinstance(weight, torch.fx.Node) and "name" in weight.meta:
            path = weight.meta["name"].rpartition(".")[0]
            yield path, {name: new[name] for name in ("groups", "num_groups") if name in new}


def guesses(module: nn.Module, source: Trace, survivors: Survivors) -> list[Attributes]:
    """Attributes of all other modules, likeliest first.

    With two heads of which one goes, and a batch of two, is an attribute 2 to become 1? First what nothing speaks
    against, then what something speaks for.
    """
    found = [_evidenced(module, source, survivors, bold) for bold in (False, True)]
    found.append({})
    return [guess for k, guess in enumerate(found) if guess not in found[:k]]


Evidence = dict[Any, set[Any]]
"""A width, or several -> what they became."""


def _evidenced(module: nn.Module, source: Trace, survivors: Survivors, bold: bool) -> Attributes:
    """Attributes whose value was a width in that module's own part of the graph; bold: what stayed is no evidence."""
    constants: dict[str, Evidence] = {}
    sizes: dict[str, Evidence] = {}
    for call in source.calls.values():
        here = constants.setdefault(call.where, {}), sizes.setdefault(call.where, {})
        lengths = [(len(axis), survivors.count(axis)) for axes in tensors_of(call) for axis in axes]
        for evidence, pairs in zip(here, (_constants(call, survivors), lengths), strict=True):
            for old, new in pairs:
                if old != new or not bold:
                    evidence.setdefault(old, set()).add(new)
    found: Attributes = {}
    for path, part in module.named_modules():
        if path not in constants or type(part).__module__.startswith("torch.nn."):
            continue
        for name, value in vars(part).items():
            new = _translated(value, constants[path], sizes[path])
            if new is not None and new != _plain(value):
                found.setdefault(path, {})[name] = new
    return found


def _constants(call: Call, survivors: Survivors) -> Iterator[tuple[Any, Any]]:
    """Numbers, and tuples of them, that the code passed to an operator; and what they are now."""
    for name, new in resized_arguments(call, survivors).items():
        old = call.arguments[name]
        if isinstance(old, int):
            yield old, new
            continue
        yield from (pair for pair in zip(old, new, strict=True) if isinstance(pair[0], int))
        if all(isinstance(size, int) for size in (*old, *new)):
            yield tuple(old), tuple(new)


def _translated(value: Any, constants: dict[Any, set[Any]], sizes: dict[Any, set[Any]]) -> Any:
    """The new value of an attribute, None where the evidence is missing or contradicts itself."""
    if isinstance(value, int) and not isinstance(value, bool):
        for evidence in (constants, sizes):
            if value in evidence:
                return next(iter(evidence[value])) if len(evidence[value]) == 1 else None
        return None
    if isinstance(value, tuple | list) and value and all(type(size) is int for size in value):
        if len(constants.get(tuple(value), ())) == 1:
            return list(next(iter(constants[tuple(value)])))
        new = [_translated(size, constants, sizes) for size in value]
        return None if None in new else new
    return None


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def merged(first: Attributes, second: Attributes) -> Attributes:
    """Both, the second winning; JSON values only."""
    result = {path: dict(values) for path, values in first.items()}
    for path, values in second.items():
        result.setdefault(path, {}).update(values)
    return {path: {name: _plain(value) for name, value in values.items()} for path, values in result.items()}


def apply(module: nn.Module, attributes: Attributes) -> None:
    """Set them, in the type that the module holds them in."""
    for path, values in attributes.items():
        part = module.get_submodule(path)
        for name, value in values.items():
            old = getattr(part, name)
            setattr(part, name, type(old)(value) if isinstance(value, list) else value)
