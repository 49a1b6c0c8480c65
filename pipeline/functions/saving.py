"""A pruned network in a folder: its weights as safetensors, all else as JSON. No pickle, and nothing is believed.

It is what the dense network lost, and the weights that are left: whoever loads it brings the code that builds the
dense network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from jetpress.deploy.errors import TrustError, from_os_error
from jetpress.pipeline.functions.given import (
    Shapes,
    plain,
    refuse_shards,
    shapes_of,
    trainable,
    uncompiled,
    unwrapped,
)
from jetpress.pipeline.functions.outline import outline
from jetpress.pipeline.functions.pruned import Cut, Pruned, Size, check_same
from jetpress.pipeline.network import models, weight_files
from jetpress.pipeline.network.channels import Step
from jetpress.pipeline.network.checkpoints import fill, load_stored
from jetpress.pipeline.network.models import WEIGHTS
from jetpress.pipeline.network.stored import flattened
from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Count, Section
from jetpress.pipeline.store.facts.network import Pruning

DESCRIPTION = "pruned.json"
WIDEST, LARGEST = 2**24, 2**27
"""No axis of a tensor that is not saved is longer, and all example inputs together have no more bytes: a picture of 4K
in three channels has 100 million."""
AGAIN = "save it again: jetpress.save(slim, folder)"
Range = tuple[Count, AtLeastOne]


@dataclass(frozen=True)
class CutStep(Section):
    """Channels that went, as :func:`jetpress.pipeline.network.channels.replay` reads it."""

    kept: dict[str, dict[Annotated[str, Field(pattern=r"^[0-9]$")], tuple[Range, ...]]]
    attributes: dict[str, dict[str, int | list[int]]]
    graph: bool
    units: dict[str, tuple[int, int]]
    refused: dict[str, str]
    error: float
    precision: str
    why: str = ""


@dataclass(frozen=True)
class BlockStep(Section):
    """Blocks that were bypassed."""

    blocks: tuple[str, ...]


@dataclass(frozen=True)
class Given(Section):
    """One of the example inputs."""

    shape: tuple[AtLeastOne, ...]
    dtype: Annotated[str, Field(pattern=r"^(float|bfloat|complex|int|uint)[0-9]+$|^bool$")]


@dataclass(frozen=True)
class Saved(Section):
    """What is saved beside the weights."""

    format: Literal[1]
    history: tuple[CutStep | BlockStep, ...]
    dense_shapes: dict[str, tuple[Count, ...]]
    inputs: tuple[Given, ...]
    frozen: tuple[str, ...]
    """Parameters that do not train."""
    dense: Size
    size: Size
    notes: tuple[str, ...]
    pruning: Pruning


def save(slim: Pruned, folder: str | Path) -> None:
    """Write ``slim`` into a folder, with the weights that its module has now.

    Args:
        slim: what :func:`prune` or :func:`load` gave, its module trained or not.
        folder: is made; what is in it under the same two names is replaced.

    Raises:
        RecipeError: FSDP has sharded the module.
        StageError: a weight is NaN or infinite.
        DeviceError: the disk is full, or the folder may not be written.
    """
    folder = Path(folder)
    refuse_shards(slim.module)
    saved = {
        "format": 1,
        "history": slim.history,
        "dense_shapes": shapes_of(slim.original),
        "inputs": [
            {"shape": one.shape, "dtype": str(one.dtype).removeprefix("torch.")} for one in slim.inputs
        ],
        "frozen": [name for name, one in slim.module.named_parameters() if not one.requires_grad],
        "dense": asdict(slim.dense),
        "size": asdict(slim.size),
        "notes": slim.notes,
        "pruning": asdict(slim.pruning),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts = {name: folder / f".{name}" for name in (WEIGHTS, DESCRIPTION)}
        models.write_weights(slim.module, drafts[WEIGHTS])
        drafts[DESCRIPTION].write_text(json.dumps(saved, indent=1))
        for name, draft in drafts.items():
            draft.replace(folder / name)
    except OSError as error:
        raise from_os_error(error) from error


@trainable
def load(
    folder: str | Path,
    build: Callable[[], nn.Module],
    weights: Mapping[str, Any] | str | Path | None = None,
) -> Pruned:
    """What :func:`save` wrote, on the CPU.

    Args:
        folder: where it is.
        build: makes the dense network; its weights do not matter. The mode of what it gives stays.
        weights: others than those that were saved: a ``state_dict`` after further training, or a file of one
            (``.safetensors``, or a checkpoint that loads with ``weights_only=True``), also of a wrapped module.

    Raises:
        RecipeError: ``build`` makes another network, or ``weights`` are of another one.
        TrustError: a file is missing, damaged, or says what no pruning says.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    saved, history = _described(path)
    module, notes = unwrapped(build())
    notes += uncompiled(module)
    plain(module)
    check_same(shapes_of(module), saved.dense_shapes, "what build() makes", f"the one in {path}")
    inputs = _inputs(path, saved.inputs)
    _refuse_impossible(path, history, saved.dense_shapes, module)
    original = outline(module)
    try:
        module = models.replayed(module, inputs, history)
    except Exception as error:  # what the file says is checked, but not whether it belongs together
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if weights is None:
        _fill(module, folder / WEIGHTS)
    else:
        given = weights if isinstance(weights, Mapping) else weight_files.read(Path(weights))
        stored = flattened(given)
        load_stored(module, stored, Path("the weights given" if isinstance(weights, Mapping) else weights))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in saved.frozen and parameter.is_floating_point())
    return Pruned(
        module, saved.pruning, saved.dense, saved.size, saved.notes, tuple(history), original, inputs,
        Cut(tuple(history), saved.dense_shapes),
    )  # fmt: skip


def _described(path: Path) -> tuple[Saved, list[Step]]:
    """What is saved, and its history as it is written there."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise TrustError(
            f"{path} cannot be read: {error.strerror}", "give the folder of jetpress.save"
        ) from None
    try:
        return _reader().validate_json(text, strict=True), json.loads(text)["history"]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from None


@cache
def _reader() -> TypeAdapter[Saved]:
    """Making one takes 40 ms; reading takes less than one."""
    return TypeAdapter(Saved)


def _damaged(path: Path, why: str) -> TrustError:
    return TrustError(f"{path} is damaged, or not of jetpress.save: {why[:300]}", AGAIN)


def _inputs(path: Path, told: Sequence[Given]) -> tuple[Tensor, ...]:
    kinds = list[torch.dtype]()
    for one in told:
        kind = getattr(torch, one.dtype, None)
        if not isinstance(kind, torch.dtype):
            raise _damaged(path, f"there are no inputs of {one.dtype}")
        kinds.append(kind)
    if sum(math.prod(one.shape) * kind.itemsize for one, kind in zip(told, kinds, strict=True)) > LARGEST:
        raise _damaged(path, f"its example inputs have more than {LARGEST} bytes")
    return tuple(torch.zeros(one.shape, dtype=kind) for one, kind in zip(told, kinds, strict=True))


def _refuse_impossible(path: Path, history: Sequence[Step], dense: Shapes, module: nn.Module) -> None:
    """Positions that no tensor has, and attributes that hold no width."""
    modules = dict(module.named_modules())
    widths = {(name, axis): width for name, shape in dense.items() for axis, width in enumerate(shape)}
    for step in history:
        if unknown := [name for name in step.get("blocks", ()) if not name or name not in modules]:
            raise _damaged(path, f"there is no block {unknown[0]!r}")
        for name, axes in step.get("kept", {}).items():
            for axis, ranges in axes.items():
                place, edges = (name, int(axis)), [edge for one in ranges for edge in one]
                whole = widths.get(place, WIDEST if name not in dense else 0)
                if not edges or any(a >= b for a, b in ranges) or edges != sorted(edges) or edges[-1] > whole:
                    raise _damaged(path, f"{name} has no such positions along axis {axis}")
                widths[place] = sum(b - a for a, b in ranges)
        for name, values in step.get("attributes", {}).items():
            for attribute in values:
                old = vars(modules.get(name, module)).get(attribute)
                whole_numbers = (
                    [old] if isinstance(old, int) else old if isinstance(old, list | tuple) else [None]
                )
                if name not in modules or any(type(one) is not int for one in whole_numbers):
                    raise _damaged(path, f"{name or 'the network'} has no width {attribute!r}")


def _fill(module: nn.Module, path: Path) -> None:
    """The weights that were saved, in their types."""
    try:
        tensors = load_file(path)
    except OSError as error:
        raise TrustError(f"{path} cannot be read: {error.strerror or error}", AGAIN) from None
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None
    for name, own in module.state_dict(keep_vars=True).items():
        if name in tensors and own.is_floating_point() and tensors[name].is_floating_point():
            own.data = own.data.to(tensors[name].dtype)
    try:
        fill(module, tensors)
    except RuntimeError as error:
        raise _damaged(path, str(error).replace("\n", " ")) from None
