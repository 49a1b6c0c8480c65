"""Weights as people have them, into a network: whatever lies around them in the file.

Where in the file they are is found by names and shapes (:mod:`jetpress.pipeline.network.stored`). What is missing,
unknown or of another shape is refused, unless the recipe says that it is new.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from jetpress.deploy.console import say
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import reparametrized, weight_files
from jetpress.pipeline.network.stored import Fit, Stored, fits_of, flattened

COUNTERS = {"num_batches_tracked", "total_ops", "total_params", "n_averaged"}
"""Numbers that BatchNorm, thop and AveragedModel keep beside weights; no output depends on them."""
SHOWN = 10


@dataclass(frozen=True)
class Choice:
    """What is not loaded, by the recipe."""

    skip: tuple[str, ...] = ()
    """Shell patterns of names."""
    head: str = "keep"
    """``new``: the names in ``last``; ``auto``: those where only they have another shape; ``keep``: nothing."""
    last: tuple[str, ...] = ()
    """Names of the parameters whose shape follows from the number of classes."""


def load_weights(module: nn.Module, path: Path, choice: Choice = Choice()) -> Mapping[str, Tensor | None]:
    """Fill ``module`` from a file of weights.

    Returns:
        What was not loaded and is as the network was built: its name, and what the file has in its place.

    Raises:
        RecipeError: not such a file, weights of another network (listed by name and shape), NaN or Inf.
    """
    return load_stored(module, flattened(weight_files.read(path)), path, choice)


def load_stored(
    module: nn.Module, stored: Stored, path: Path, choice: Choice = Choice()
) -> Mapping[str, Tensor | None]:
    """The same from what was read; ``path`` names it in messages."""
    merged = reparametrized.merged(stored.tensors)
    wanted = module.state_dict(keep_vars=True)
    tensors = {**stored.tensors, **{name: one.value for name, one in merged.items()}}
    tensors = {
        name: one for name, one in tensors.items() if name in wanted or not _matches(name, choice.skip)
    }
    fits = fits_of(tensors, wanted)
    if not fits:
        raise _without_values(path, stored) if stored.empty else _no_weights(path, stored)
    fit, notes = _chosen(path, fits, tensors, len(wanted))
    used = set(fit.names.values())
    used |= {part for name in used if name in merged for part in merged[name].parts}
    loaded = {name: tensors[there] for name, there in fit.names.items()}
    new = _left_out(loaded, wanted, choice)
    others = {name for one in fits if one.same == fit.same for name in one.names.values()}
    beside, unknown = _beside(stored, fit, used | others, choice)
    auxiliary = [name for name in unknown if "aux" in name.lower()]
    if unknown and len(auxiliary) == len(unknown):  # a network without such a head computes the same
        notes.append(f"auxiliary heads, which only help to train, are left out: {_listed(auxiliary, 3)}")
        unknown = []
    if beside:
        notes.append(f"not loaded, as no part of the network: {_listed(beside)}")
    state = {name: tensor for name, tensor in loaded.items() if name not in new}
    missing = _missing(wanted, state.keys() | new.keys())
    if missing and stored.empty:
        raise _without_values(path, stored)
    _refuse_misfit(path, stored, state, wanted, missing, unknown, choice.last)
    _refuse_not_finite(path, state)
    for note in notes:
        say(f"    {path.name}: {note}")
    own = module.state_dict()
    fill(module, {**{name: own[name] for name in new}, **state})
    return new


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load weights by name; tied ones may be there once. Some networks ask for the version of their layout: a
    safetensors file holds none, and what is loaded here is always the present one.

    Raises:
        RuntimeError: names or shapes of another network.
    """
    own = module.state_dict(keep_vars=True)
    state = collections.OrderedDict(tensors)
    vars(state)["_metadata"] = vars(own)["_metadata"]
    there = {id(own[name]) for name in state if name in own}
    result = module.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if id(own[name]) not in there]
    if wrong := [n for n in missing if not n.endswith("num_batches_tracked")] + result.unexpected_keys:
        raise RuntimeError(f"the weights are those of another network: {', '.join(wrong[:5])}")


def _chosen(
    path: Path, fits: Sequence[Fit], tensors: Mapping[str, Tensor], count: int
) -> tuple[Fit, list[str]]:
    """The fit that gives most; of several an average, where there is one.

    Raises:
        RecipeError: several give the same, and they differ.
    """
    best = [fit for fit in fits if fit.same == fits[0].same]
    different = [best[0]]
    different += [fit for fit in best[1:] if not _equal(fit, best[0], tensors)]
    averages = [fit for fit in different if fit.averaged]
    chosen = averages or different
    if len(chosen) > 1 and 2 * chosen[0].same > count:
        raise RecipeError(
            f"{path} holds several sets of weights that fit the network: {', '.join(map(_place, chosen))}",
            f'leave out those that are not meant: model.skip = ["{chosen[-1].prefix}*"]',
        )
    notes = []
    if averages and len(different) > 1:
        others = ", ".join(_place(fit) for fit in different if not fit.averaged)
        notes.append(f"the averaged weights {_place(chosen[0])} are taken (EMA), not those of {others}")
    incomplete = next((fit for fit in fits if fit.averaged and 2 * fit.same > count), None)
    if incomplete and not chosen[0].averaged and not _equal(incomplete, chosen[0], tensors):
        notes.append(
            f"the averaged weights {_place(incomplete)} lack {chosen[0].same - incomplete.same} of the network's: "
            f"those of {_place(chosen[0])} are taken"
        )
    return chosen[0], notes


def _place(fit: Fit) -> str:
    return repr(fit.prefix.rstrip(".")) if fit.prefix else "the outside"


def _equal(one: Fit, other: Fit, tensors: Mapping[str, Tensor]) -> bool:
    """Whether two places hold the same weights, as far as both have them."""
    pairs = [(tensors[one.names[n]], tensors[other.names[n]]) for n in one.names.keys() & other.names.keys()]
    return bool(pairs) and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _left_out(
    loaded: Mapping[str, Tensor], wanted: Mapping[str, Tensor], choice: Choice
) -> dict[str, Tensor | None]:
    """Names of the network that keep what it was built with, and what the file has there."""
    out = {name for name in wanted if _matches(name, choice.skip)}
    if choice.head == "new":
        out |= set(choice.last) & wanted.keys()
    elif choice.head == "auto":
        other = {n for n, t in loaded.items() if n not in out and t.shape != wanted[n].shape}
        if other <= set(choice.last):
            out |= other
    return {name: loaded.get(name) for name in wanted if name in out}


def _beside(stored: Stored, fit: Fit, used: set[str], choice: Choice) -> tuple[list[str], list[str]]:
    """What lies in the same dictionaries and is not loaded: what is no part of the network, and what seems to be."""
    folders = {stored.folders[name] for name in fit.names.values() if name in stored.folders}
    if (
        len(folders) > 1
    ):  # a dictionary for each part of the network: others are parts, too, but for an optimizer's
        folders |= {there for there in stored.folders.values() if "optim" not in there}
    heads = {name.rpartition(".")[0] + "." for name in choice.last} if choice.head == "new" else set()
    beside, unknown = list[str](), list[str]()
    for name in stored.tensors:
        if name in used or stored.folders[name] not in folders or name.rpartition(".")[2] in COUNTERS:
            continue
        inside = name.removeprefix(fit.prefix)
        number = not stored.tensors[name].ndim and "." not in inside
        skipped = _matches(inside, choice.skip)
        part = name.startswith(fit.prefix) and not number and not skipped and not _of(heads, inside)
        (unknown if part else beside).append(name)
    return beside, unknown


def _of(heads: Set[str], name: str) -> bool:
    """Whether a name of the file is in a last layer, or in one that the network has in parts."""
    parent = name.rpartition(".")[0] + "."
    return any(name.startswith(head) or (parent != "." and head.startswith(parent)) for head in heads)


def _missing(wanted: Mapping[str, Tensor], there: Set[str]) -> list[str]:
    """Weights that the file does not have; tied ones may be there once."""
    tied = {id(wanted[name]) for name in there}
    return [
        name
        for name, tensor in wanted.items()
        if name not in there and id(tensor) not in tied and name.rpartition(".")[2] not in COUNTERS
    ]


def _refuse_misfit(
    path: Path,
    stored: Stored,
    loaded: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    missing: Sequence[str],
    unknown: Sequence[str],
    last: Sequence[str],
) -> None:
    """The weights are those of the network, all of them and no others."""
    shapes = [name for name in loaded if loaded[name].shape != wanted[name].shape]
    types = [n for n in loaded if wanted[n].is_floating_point() and not loaded[n].is_floating_point()]
    problems = [f"missing: {name} {tuple(wanted[name].shape)}" for name in missing]
    problems += [f"unknown: {name} {tuple(stored.tensors[name].shape)}" for name in unknown]
    problems += [
        f"{name}: {tuple(loaded[name].shape)} in the file, {tuple(wanted[name].shape)} in the network"
        for name in shapes
    ]
    problems += [
        f"{name}: {_type(loaded[name])} in the file, {_type(wanted[name])} in the network" for name in types
    ]
    if not problems:
        return
    shown = "\n    ".join(problems[:SHOWN])
    more = f"\n    ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    fit = len(loaded.keys() - {*shapes, *types})
    raise RecipeError(
        f"{path} holds the weights of another network: {fit} fit, {len(missing)} missing, {len(unknown)} unknown, "
        f"{len(shapes)} of another shape\n    {shown}{more}\n    the file: {_contents(stored)}",
        _remedy(missing, unknown, last),
    )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _remedy(missing: Sequence[str], unknown: Sequence[str], last: Sequence[str]) -> str:
    """For weights that do not fit."""
    if missing and set(missing) <= set(last):
        return (
            f'the last layer is not in the file: model.head = "new" initialises and trains it ({missing[0]})'
        )
    if missing and not unknown and all("aux" in name.lower() for name in missing):
        return "the auxiliary heads are not in the file: leave them out, model.arguments = { aux_logits = false }"
    return (
        "check model.builder and model.arguments (num_classes?) against the network that was trained; names that are "
        'not to be loaded: model.skip = ["classifier.*"]'
    )


def _contents(stored: Stored) -> str:
    """What a file holds, in one line."""
    keys = f"keys {_listed(stored.top)}" if stored.top else "no keys"
    names = (
        f"{len(stored.tensors)} tensors ({_listed(list(stored.tensors), 5)})"
        if stored.tensors
        else "no tensors"
    )
    return f"{keys}; {names}"


def _listed(names: Sequence[str], most: int = SHOWN) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")


def _without_values(path: Path, stored: Stored) -> RecipeError:
    return RecipeError(
        f"{path} holds shapes without values (PyTorch's meta device): {_listed(stored.empty, 5)}",
        "save the network after its weights were loaded or trained",
    )


def _no_weights(path: Path, stored: Stored) -> RecipeError:
    """Nothing of the network is in the file."""
    for name, kind in stored.networks.items():
        keys = "".join(f"[{key if key.isdigit() else repr(key)}]" for key in name.split(".") if key)
        return RecipeError(
            f"{path} holds a whole network, {kind}{f' at {name!r}' if name else ''}, and not its weights by name: "
            "to read it would run code",
            weight_files.converted(path, "{file}" + keys + ".state_dict()"),
        )
    if stored.tensors:
        return RecipeError(
            f"{path} holds the weights of another network: no name is one of the network's\n"
            f"    the file: {_contents(stored)}",
            "check model.builder against the network that was trained",
        )
    return RecipeError(f"{path} holds no tensors: {_contents(stored)}", "save model.state_dict()")


def _refuse_not_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    bad = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise RecipeError(
            f"{path}: NaN or Inf in {', '.join(bad[:5])}", "the training diverged: take an earlier file"
        )
