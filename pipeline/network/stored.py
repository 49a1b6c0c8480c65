"""What a file of weights holds, and where in it the weights of a network are.

Every tensor of the file gets one dotted name: the keys that lead to it, joined. Then a wrapping (``state_dict``), a
prefix (``module.``, ``_orig_mod.``, Lightning's ``model.``) and any order of both are the same thing, a text before
the network's own names, and the text that gives the most of them, with their shapes, is the right one. Nothing is
known of names that tools give, but for the few that say that weights are an average.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from jetpress.pipeline.network import weight_files

AVERAGES = {"ema", "swa", "averaged", "shadow"}
"""Words in a key that say that its weights are a running average of those trained."""
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Modules that PyTorch lays around parts of a network, too; they are no part of a name."""
OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"((?:inner|layer)_blocks\.\d+|_head\.conv\.\d+)\.(weight|bias)"), r"\1.0.\2"),
)
"""What torchvision's files of DenseNet, RetinaNet and their like called a layer before, and what it is called now."""


@dataclass
class Stored:
    """What a file holds, by dotted names."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    """Of each tensor, the dictionary that it lies in."""
    networks: dict[str, str] = field(default_factory=dict)
    """Whole networks, which are not read: name -> class."""
    empty: list[str] = field(default_factory=list)
    """Tensors without values, of the meta device."""
    top: tuple[str, ...] = ()
    """The keys on the outside."""


@dataclass(frozen=True)
class Fit:
    """Where in a file the network's weights may be."""

    prefix: str
    names: Mapping[str, str]
    """Name in the network -> in the file."""
    same: int
    """How many have the shape that they should."""

    @property
    def averaged(self) -> bool:
        """Whether these are a running average."""
        return bool(AVERAGES & set(re.split(r"[^a-z]+", self.prefix.lower())))


def flattened(content: object) -> Stored:
    """Every tensor in dictionaries, lists and objects that were not made, however deep, by its dotted name."""
    stored, seen = Stored(), set[int]()
    if isinstance(content, Mapping):
        stored.top = tuple(map(str, content))
    todo: list[tuple[str, str, object]] = [("", "", content)]
    while todo:
        name, folder, value = todo.pop()
        if weight_files.is_module(value):
            stored.networks[name] = weight_files.class_of(value)
        elif isinstance(value, Mapping | list | tuple):
            if id(value) in seen:
                continue
            seen.add(id(value))
            inner = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo += [(f"{name}.{key}" if name else str(key), name, one) for key, one in reversed([*inner])]
        elif (tensor := weight_files.tensor_of(value)) is not None:
            stored.tensors[name], stored.folders[name] = tensor, folder
        elif isinstance(value, Tensor):
            stored.empty.append(name)
    return stored


def fits_of(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[Fit]:
    """The places where weights of a network may be, best first.

    Args:
        tensors: of a file, by dotted names.
        wanted: the network's own.
    """
    return sorted(_fits(tensors, wanted), key=lambda fit: -fit.same)


def _fits(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[Fit]:
    """Every text that makes names of the network into names of the file, with what it gives."""
    own = {part for name in wanted for part in name.split(".")}
    renamed: tuple[Callable[[str], str], ...] = (
        lambda name: name,
        lambda name: ".".join(part for part in name.split(".") if part not in WRAPPERS - own),
        _renamed,
    )
    taken = set[tuple[tuple[str, str], ...]]()
    for rename in renamed:
        table = {rename(name): name for name in tensors}
        for outer in _outer(wanted):
            inner = {name.removeprefix(outer): name for name in wanted}
            at: dict[str, dict[str, str]] = collections.defaultdict(dict)
            for name, there in table.items():
                for cut in [0, *(found.end() for found in re.finditer(r"\.", name))]:
                    if name[cut:] in inner:
                        at[name[:cut]][inner[name[cut:]]] = there
            for prefix, names in at.items():
                if (key := tuple(sorted(names.items()))) not in taken:
                    taken.add(key)
                    same = sum(tensors[there].shape == wanted[name].shape for name, there in names.items())
                    yield Fit(prefix, names, same)


def _renamed(name: str) -> str:
    for old, new in OLD_NAMES:
        name = old.sub(new, name)
    return name


def _outer(wanted: Mapping[str, Tensor]) -> list[str]:
    """What all names of the network begin with, and the file's need not: the network may be a wrapper itself."""
    first, *rest = ([name.split(".") for name in wanted]) or [[]]
    depth = 0
    while depth < len(first) - 1 and all(other[: depth + 1] == first[: depth + 1] for other in rest):
        depth += 1
    return ["".join(f"{part}." for part in first[:count]) for count in range(depth + 1)]
