"""Inputs and outputs of an engine, and arrays that fit them exactly."""

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Tuple

import numpy as np

from ..system.failures import BundleError

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:
    Array = np.ndarray  # the numpy of a JetPack takes no parameters
Feeds = Dict[str, Array]


PAGE = 4096


def plain_array(path: str) -> Array:
    """An array of numbers from a .npy file. Raises ValueError: it is none, whatever NumPy makes of its header."""
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # noqa: BLE001  a header may end in TokenError, SyntaxError, EOFError, MemoryError, ...
        raise ValueError("%s is not a plain .npy array: %s" % (path, error or type(error).__name__))
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ValueError("%s is not a plain .npy array of numbers" % path)
    return array


def on_a_page(array: Array) -> Array:
    """A copy that begins at a page of its own.

    Where an array begins within a page is worth 2 % of a small network's latency (an allocator aligns to 16 bytes,
    a vector has 64). The same program places its arrays the same way every time, so without this one of two equal
    engines is always the faster one. After Mytkowicz et al., Producing wrong data without doing anything obviously
    wrong (ASPLOS 2009).
    """
    room = np.empty(array.nbytes + PAGE, np.uint8)
    start = -room.ctypes.data % PAGE
    placed: Array = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed


class Tensor(NamedTuple):
    """One input or output as the engine wants it."""

    name: str
    shape: Tuple[int, ...]
    dtype: str


def fit(array: Array, tensor: Tensor) -> Array:
    """`array` in the engine's dtype. Integers may change width, floats too; numbers never change meaning."""
    wanted = np.dtype(tensor.dtype)
    same_kind = {array.dtype.kind, wanted.kind} in ({"f"}, {"i"}, {"u"}, {"i", "u"}, {"b"})
    if not same_kind:
        raise BundleError(
            "the samples of input %s are %s, the engine wants %s" % (tensor.name, array.dtype, wanted),
            "put samples of the right type into the bundle",
        )
    fitted = np.ascontiguousarray(array, dtype=wanted)
    if wanted.kind in "iu" and not np.array_equal(fitted, array):
        raise BundleError("samples of input %s do not fit into %s" % (tensor.name, wanted))
    return fitted


def noise(tensors: List[Tensor], seed: int = 0) -> Feeds:
    """Seeded inputs for bundles without samples: timing must not depend on what an allocation left behind."""
    draw = np.random.RandomState(seed)
    return {
        tensor.name: (draw.rand(*tensor.shape) * (2 if np.dtype(tensor.dtype).kind in "iub" else 1)).astype(
            tensor.dtype
        )
        for tensor in tensors
    }
