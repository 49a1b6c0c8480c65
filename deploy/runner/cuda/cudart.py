"""libcudart by ctypes: for a board that has TensorRT and no Python package for CUDA."""

# ruff: noqa: N815 - the mixed case is CUDA's

import ctypes
import ctypes.util
import glob
import os
import sys
from typing import Callable, Dict, List, Tuple


class _MemcpyKind:
    cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost = 1, 2


class _DeviceAttr:
    cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor = 75, 76
    cudaDevAttrMultiProcessorCount, cudaDevAttrIntegrated = 16, 18


class _Properties(ctypes.Structure):
    """cudaDeviceProp begins with the name in every CUDA; the rest grew from 10.2 to 13 and is room here."""

    _fields_ = [("name", ctypes.c_char * 256), ("rest", ctypes.c_char * 8192)]


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
# C function -> (what it returns through its first pointers, what it takes after them)
SIGNATURES: Dict[str, Tuple[Tuple[type, ...], Tuple[type, ...]]] = {
    "cudaGetDeviceCount": ((_INT,), ()),
    "cudaDeviceGetAttribute": ((_INT,), (_INT, _INT)),
    "cudaGetDeviceProperties": ((_Properties,), (_INT,)),
    "cudaRuntimeGetVersion": ((_INT,), ()),
    "cudaMemGetInfo": ((_SIZE, _SIZE), ()),
    "cudaMalloc": ((_POINTER,), (_SIZE,)),
    "cudaFree": ((), (_POINTER,)),
    "cudaMallocHost": ((_POINTER,), (_SIZE,)),
    "cudaHostAlloc": ((_POINTER,), (_SIZE, ctypes.c_uint)),
    "cudaHostGetDevicePointer": ((_POINTER,), (_POINTER, ctypes.c_uint)),
    "cudaMemcpyAsync": ((), (_POINTER, _POINTER, _SIZE, _INT, _POINTER)),
    "cudaStreamCreate": ((_POINTER,), ()),
    "cudaEventCreateWithFlags": ((_POINTER,), (ctypes.c_uint,)),
    "cudaEventRecord": ((), (_POINTER, _POINTER)),
    "cudaStreamWaitEvent": ((), (_POINTER, _POINTER, ctypes.c_uint)),
    "cudaEventSynchronize": ((), (_POINTER,)),
    "cudaEventElapsedTime": ((ctypes.c_float,), (_POINTER, _POINTER)),
}


class Cudart:
    """libcudart by ctypes, with cuda-python's calling convention."""

    cudaMemcpyKind, cudaDeviceAttr = _MemcpyKind, _DeviceAttr
    cudaEventRecord: Callable[..., Tuple[int, ...]]
    cudaStreamWaitEvent: Callable[..., Tuple[int, ...]]
    cudaMemGetInfo: Callable[..., Tuple[int, ...]]

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        for name, (results, takes) in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = tuple(ctypes.POINTER(kind) for kind in results) + takes
            function.restype = _INT
            setattr(self, name, _caller(function, results))


def _caller(function: Callable[..., int], results: Tuple[type, ...]) -> Callable[..., Tuple[object, ...]]:
    if not results:
        return lambda *arguments: (function(*arguments),)

    def call(*arguments: object) -> Tuple[object, ...]:
        boxes = [kind() for kind in results]
        error = function(*([ctypes.byref(box) for box in boxes] + list(arguments)))
        return (error,) + tuple(getattr(box, "value", box) for box in boxes)

    return call


def cudart_paths() -> List[str]:
    """Where libcudart may be: the linker's path, CUDA's own folders, and the wheels that pip installs."""
    known = ctypes.util.find_library("cudart")
    places = [
        "/usr/local/cuda/lib64",
        "/usr/local/cuda/targets/*/lib",
        "/usr/local/cuda-*/lib64",
        "/usr/lib/*-linux-gnu",
    ]
    places += [
        os.path.join(folder, "nvidia", "*", "lib") for folder in sys.path if folder.endswith("-packages")
    ]
    files = [
        path
        for place in places
        for path in sorted(glob.glob(os.path.join(place, "libcudart.so*")), reverse=True)
    ]
    return ([known] if known else []) + files
