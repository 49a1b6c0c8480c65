"""Files of weights, read as plain values: nothing that a file names is imported or called.

A file of ``torch.save`` is a pickle. ``weights_only=True`` reads tensors, numbers, texts and containers; files that
people have hold more (the command line as an ``argparse.Namespace``, scores as NumPy scalars, paths). What a pickle
names beside the values that PyTorch allows is replaced here before it is read: NumPy's numbers by a reader of our
own for plain element types, paths and dates by nothing, an instance of any other class by an empty dictionary that
takes its state. A function that the pickle wants called is refused by name.
"""

from __future__ import annotations

import collections
import io
import json
import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # Python 2's names, which protocol 2 writes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from jetpress.deploy.errors import RecipeError

CLASS = "the class of this object"
"""Key in ``vars()`` of what stands for an instance: the name of its class."""
NUMBERS = re.compile(r"b1|[iu][1248]|f[248]|\?")
"""NumPy's plain element types; others may hold pointers."""
NOTHING = ("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "datetime.datetime",
           "datetime.date", "datetime.timedelta", "pathlib._local.PosixPath", "pathlib._local.WindowsPath")  # fmt: skip
"""Values of these say nothing of weights."""
BLOCKED = ("os", "posix", "nt", "sys")
"""Modules of which PyTorch reads nothing."""
NO_WEIGHTS = {
    b"version https://": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    b"<": ("a web page", "download the file itself: the address gave a page about it"),
}
"""How files begin that are taken for weights, what they are, and what to do."""
PICKLES = 4
"""Of the format before PyTorch 1.6: a magic number, a version, the machine, the object."""


def read(path: Path) -> object:
    """What a file of weights holds: tensors, NumPy arrays and plain values in dictionaries and lists.

    An instance of a class that is not imported is an ``OrderedDict`` with its state in ``vars()``, and the name of
    its class there under :data:`CLASS`.

    Raises:
        RecipeError: there is no such file, it is of another kind, is damaged, or reading it would run code.
    """
    if not path.is_file():
        raise RecipeError(f"there are no weights {path}", "model.weights is relative to the recipe")
    with path.open("rb") as file:
        start = file.read(16)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise RecipeError(
                f"{path} is not a safetensors file: {error}", "download or save it again"
            ) from None
    if start[:1] == b"{":
        raise _index(path)
    if kind := next((kind for first, kind in NO_WEIGHTS.items() if start.lstrip().startswith(first)), None):
        raise RecipeError(f"{path} is {kind[0]} and holds no weights", kind[1])
    members = _members(path)
    if members and all(name.endswith(".npy") for name in members):
        return _arrays(path)
    if any("/code/" in name or name.endswith("/constants.pkl") for name in members):
        raise _torch_script(path, members)
    return _pickled(path, members)


def converted(path: Path, expression: str, where: str = "where its code can be imported") -> str:
    """The line that writes plain weights, to be run where the file is trusted.

    Args:
        path: of the file.
        expression: of the state_dict, ``{file}`` being what was loaded.
        where: it runs.
    """
    loaded = f"torch.load('{path.name}', map_location='cpu', weights_only={False})"
    line = f"import torch; torch.save({expression.format(file=loaded)}, 'plain.pt')"
    return f'{where}, and where you trust the file, run: python -c "{line}"; then take plain.pt'


def _members(path: Path) -> list[str]:
    """Names in a zip archive; none where it is no such archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def _arrays(path: Path) -> dict[str, object]:
    """The arrays of ``numpy.savez``."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # noqa: BLE001  TokenError, SyntaxError, RecursionError, ...: a header is Python's text
        raise RecipeError(
            f"{path} does not read as NumPy's arrays: {error!s:.200}", "save it again"
        ) from None


def _pickled(path: Path, members: list[str]) -> object:
    """A file of ``torch.save``, in either of its formats."""
    try:
        named = _named_in(path, members)
        if refused := next((name for name in named.values() if name.partition(".")[0] in BLOCKED), None):
            raise _Called(refused)
        allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (_in_place_of(now), name) for name, now in named.items() if name not in _known()
        ]
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals([*allowed, (_Array, f"{__name__}._Array")]),
        ):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _Called as called:
        raise RecipeError(
            f"{path} holds what only running code makes: {called} would be called to read it",
            converted(path, "{file}['state_dict']") + " (state_dict: the key that holds the weights)",
        ) from None
    except Exception as error:  # noqa: BLE001  torch.load raises UnpicklingError, RuntimeError, EOFError, KeyError, ...
        raise RecipeError(
            f"{path} does not load as plain weights ({type(error).__name__})",
            "save it with torch.save(model.state_dict(), ...) or as safetensors: jetpress never unpickles code",
        ) from None


def _named_in(path: Path, members: list[str]) -> dict[str, str]:
    """All that the pickle names, read without unpickling: as it writes it -> ``module.name`` as of Python 3."""
    if members:
        with zipfile.ZipFile(path) as archive:
            record = next(name for name in members if name.endswith("data.pkl"))
            return _globals(io.BytesIO(archive.read(record)), 1)
    with path.open("rb") as file:
        return _globals(file, PICKLES)


def _globals(file: Any, pickles: int) -> dict[str, str]:
    named = {}
    for _ in range(pickles):
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                module, name = str(argument).split(" ", 1)
                now = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                named[f"{module}.{name}"] = named[".".join(now)] = ".".join(now)
    return named


def _known() -> Mapping[str, object]:
    """What PyTorch allows by itself."""
    from torch import _weights_only_unpickler

    known: Mapping[str, object] = _weights_only_unpickler._get_allowed_globals()  # noqa: SLF001  (no public list)
    return known


class _Called(Exception):
    """The pickle wants a function called, or a class; its name."""


class _Unknown(type):
    """Makes classes that stand for what a pickle names: instances are made, calls are refused."""

    def __call__(cls, *arguments: object, **keywords: object) -> Any:
        raise _Called(cls.__name__)


def _in_place_of(name: str) -> Callable[..., Any]:
    """What is read where the pickle says ``name``."""
    last = name.rpartition(".")[2]
    if re.fullmatch(r"numpy\.(_?core\.multiarray\.\w+|dtype|ndarray)", name) and last in NUMPY:
        return NUMPY[last]
    if name in NOTHING:
        return _nothing
    if name in ("collections.defaultdict", "types.SimpleNamespace"):
        return _empty

    def instance(cls: type, *arguments: object) -> collections.OrderedDict[str, object]:
        made: collections.OrderedDict[str, object] = collections.OrderedDict()
        vars(made)[CLASS] = name
        return made

    return _Unknown(name, (), {"__new__": instance})


def _nothing(*arguments: object) -> None:
    return None


def _empty(*arguments: object) -> collections.OrderedDict[object, object]:
    return collections.OrderedDict()


class _Dtype:
    """A plain element type of NumPy, or None for any other."""

    def __init__(self, name: object, *_: object) -> None:
        self.dtype = np.dtype(str(name)) if NUMBERS.fullmatch(str(name)) else None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.dtype is not None and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array of NumPy; ``values`` is None where its elements are not plain."""

    values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.dtype is not None and isinstance(raw, bytes):
            flat = np.frombuffer(raw, dtype.dtype)
            self.values = flat.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: _Dtype, raw: object = b"") -> object:
    if dtype.dtype is None or not isinstance(raw, bytes) or len(raw) != dtype.dtype.itemsize:
        return None
    return np.frombuffer(raw, dtype.dtype)[0].item()


def _array(*_: object) -> _Array:
    return _Array()


NUMPY: Mapping[str, Callable[..., Any]] = {
    "scalar": _scalar,
    "_reconstruct": _array,
    "dtype": _Dtype,
    "ndarray": _nothing,
}


def tensor_of(value: object) -> Tensor | None:
    """A tensor, or an array of NumPy as one; None for all else."""
    if isinstance(value, Tensor):
        if value.is_meta:
            return None
        plain = value.detach().dequantize() if value.is_quantized else value.detach()
        return plain if plain.layout == torch.strided else plain.to_dense()
    array = value.values if isinstance(value, _Array) else value
    if not isinstance(array, np.ndarray) or not NUMBERS.fullmatch(array.dtype.str[1:]):
        return None
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def class_of(value: object) -> str:
    """Name of the class of an instance that was not made; empty for plain values."""
    return str(vars(value).get(CLASS, "")) if isinstance(value, collections.OrderedDict) else ""


def is_module(value: object) -> bool:
    """Whether an instance that was not made is a network."""
    return bool(class_of(value)) and {"_modules", "_parameters"} <= set(vars(value))


def _torch_script(path: Path, members: list[str]) -> RecipeError:
    code = next((name for name in members if "/code/__torch__/" in name), "")
    named = code.partition("/code/")[2].removesuffix(".py").replace("/", ".")
    line = f"import torch; torch.save(torch.jit.load('{path.name}', map_location='cpu').state_dict(), 'plain.pt')"
    return RecipeError(
        f"{path} is a TorchScript archive{f' ({named})' if named else ''}: a program, and not its weights alone",
        f'where you trust the file, run: python -c "{line}"; then take plain.pt',
    )


def _index(path: Path) -> RecipeError:
    """For a JSON file: as transformers and timm write it beside weights in several files."""
    try:
        parts = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return RecipeError(f"{path} is text and holds no weights", "give the file of the weights")
    line = (
        "import safetensors.torch as s; "
        f"s.save_file({{k: v for f in {parts} for k, v in s.load_file(f).items()}}, 'all.safetensors')"
    )
    return RecipeError(
        f"{path} is an index of {len(parts)} files of weights",
        f'make them one file: python -c "{line}"; then take all.safetensors',
    )
