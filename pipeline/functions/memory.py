"""A network and data in memory, as a recipe that names them by what they are.

The recipe's ``model.builder`` and ``data.source`` stand for objects of this process, named by a digest, and the weights
become a file of the store, named by theirs. All else is an ordinary run: what was made of the same network and the same
data is found again, also by another process that gives them again.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.augment import mix, seeded
from jetpress.pipeline.functions.datasets import Held, Source, held
from jetpress.pipeline.functions.subjects import copied
from jetpress.pipeline.network import user_code
from jetpress.pipeline.recipe.reading import Recipe, named
from jetpress.pipeline.store.fingerprint import versions
from jetpress.pipeline.store.store import Store, write_atomically

SPLITS = ("train", "validation", "test")
PLAIN = (int, float, str, bool, type(None))
LIBRARIES = tuple(Path(sysconfig.get_paths()[name]).resolve() for name in ("purelib", "platlib", "stdlib"))


def recipe_of(
    model: nn.Module,
    data: tuple[Source, ...] | Mapping[str, Source],
    table: dict[str, Any],
    told: Collection[str],
    store: Store,
    **functions: Callable[..., Any] | None,
) -> Recipe:
    """The recipe of a network and data in memory.

    Args:
        model: as it is, trained.
        data: training, validation and perhaps test data, in this order or by these names.
        table: of a recipe without ``model`` and ``data.source``; changed in place.
        told: keys of it, with their tables before them (``data.workers``), that are not there by default.
        store: where the weights go.
        functions: ``loss`` and ``metric``.

    Raises:
        RecipeError: no network, no data, or a wrong key.
    """
    made = copied(model)
    table.setdefault("name", named(Path(type(model).__name__.lower())))
    splits = _splits(data, int(table.get("seed", 0)))
    weights = _stored(made, store)
    table["model"] = {
        **table.get("model", {}),
        "builder": user_code.keep(lambda: deepcopy(made), "network", digest_of_module(made)),
        "arguments": {},
        "weights": str(weights),
    }
    source = user_code.keep(lambda: splits, "data", digest_of_data(splits))
    train = splits["train"]
    loader = {"batch_size": train.batch_size, "workers": train.workers}
    loader = {name: value for name, value in loader.items() if f"data.{name}" not in told}
    table["data"] = {**table.get("data", {}), **loader, "source": source, "root": None}
    for name, function in functions.items():
        if function is not None:
            table["data"][name] = user_code.keep(function, name, _digest([*_code(function)]))
    if "train.epochs" not in told:
        table["train"] = {**table.get("train", {}), "epochs": 0}
    return Recipe.parse(table)


def _splits(data: tuple[Source, ...] | Mapping[str, Source], seed: int) -> dict[str, Held]:
    given = dict(data) if isinstance(data, Mapping) else dict(zip(SPLITS, data, strict=False))
    count = len(data) if isinstance(data, Mapping | tuple | list) else 0
    if count > len(SPLITS) or not given or set(given) - set(SPLITS) or "train" not in given:
        raise RecipeError(
            f"data is {type(data).__name__} of {count}",
            "give (train, validation) or (train, validation, test): loaders, data sets or batches",
        )
    return {name: held(one, seed) for name, one in given.items()}


def _stored(module: nn.Module, store: Store) -> Path:
    """The weights as a file that is named by what is in it."""
    parts = [f"{name} {one.dtype} {tuple(one.shape)}".encode() for name, one in module.state_dict().items()]
    content = (_bytes(one) for one in module.state_dict().values())
    path = store.given / f"{_digest([*parts, *content])}.safetensors"
    if not path.is_file():
        store.given.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        save_model(module, str(draft))
        write_atomically(path, draft.read_bytes())
        draft.unlink()
    return path.resolve()


def digest_of_module(module: nn.Module) -> str:
    """SHA-256 of what a network computes beside its weights: the code of its classes, and the plain attributes of all
    its parts. The code of a class in a file of the user's is that file, and those beside it that it imports; of one in
    a library its name and the library's version; of one in a notebook the text of its methods."""
    parts = list[bytes]()
    for kind in sorted({type(one) for one in module.modules()}, key=lambda one: one.__qualname__):
        parts += _code(kind)
    for name, one in module.named_modules():
        parts.append(f"{name} {type(one).__qualname__} {one.extra_repr()}".encode())
        for key, value in sorted(vars(one).items()):
            if not key.startswith("_") and key != "training":
                parts.append(f"{key}={_plain(value)}".encode())
        parts += [_bytes(one.get_buffer(key)) for key in sorted(one._non_persistent_buffers_set)]  # noqa: SLF001
    return _digest(parts)


def digest_of_data(splits: Mapping[str, Held]) -> str:
    """SHA-256 of every sample, in order, inputs and target, as the data set gives it with random draws seeded by its
    number. Costs one pass over the data, without the network."""
    digest = hashlib.sha256()
    with progress("reading the data once, for its digest", sum(map(len, splits.values()))) as line:
        for name, split in splits.items():
            digest.update(f"{name} {len(split)}".encode())
            for number in range(len(split)):
                with seeded(mix(0, number)):
                    sample = split[number]
                for part in _parts(sample):
                    digest.update(part)
                line.step()
    return digest.hexdigest()


def _parts(sample: object) -> Iterator[bytes]:
    for leaf in pytree.tree_leaves(sample):
        if isinstance(leaf, Tensor):
            yield f"{leaf.dtype} {tuple(leaf.shape)}".encode()
            yield _bytes(leaf)
        elif isinstance(leaf, np.ndarray | np.generic):
            yield f"{leaf.dtype} {leaf.shape}".encode()
            yield np.ascontiguousarray(leaf).tobytes()
        else:
            yield repr(leaf).encode()


def _code(thing: type | Callable[..., Any]) -> list[bytes]:
    """What the code of a class or function is; of a module that is called as one, what it computes."""
    if isinstance(thing, nn.Module):
        return [digest_of_module(thing).encode()]
    kind = thing if isinstance(thing, type) or inspect.isfunction(thing) else type(thing)
    name = f"{kind.__module__}.{kind.__qualname__}".encode()
    functions = [
        one for one in (vars(kind).values() if isinstance(kind, type) else [kind]) if inspect.isfunction(one)
    ]
    module = getattr(sys.modules.get(kind.__module__), "__file__", None)
    file = functions[0].__code__.co_filename if functions else module
    if file is None or not Path(file).is_file():
        return [name, *map(_text, functions)]
    path = Path(file).resolve()
    if any(path.is_relative_to(folder) for folder in LIBRARIES):
        return [name, repr(versions({kind.__module__.partition(".")[0]})).encode()]
    return [name, user_code.digest(f"{path}:code").encode()]


def _text(function: Any) -> bytes:
    """Of a function that no file holds: as it was typed, or else as it was compiled."""
    try:
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = function.__code__
        constants = [one for one in code.co_consts if isinstance(one, PLAIN)]
        return repr((code.co_code, code.co_names, constants)).encode()


def _plain(value: object) -> str:
    """An attribute of a module: its value where that is plain, else its kind."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_plain(one)}' for key, one in value.items())}}}"
    if isinstance(value, Tensor):
        return hashlib.sha256(_bytes(value)).hexdigest()
    return getattr(value, "__qualname__", type(value).__qualname__)


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} ".encode())
        digest.update(part)
    return digest.hexdigest()
