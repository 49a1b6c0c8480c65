"""Device memory, streams and events, through what the board has: pycuda, cuda-python, or libcudart itself.

`connect()` gives the first that works. All answer to the same few methods, and nothing else is needed:

    alloc(bytes) -> pointer             pinned(shape, dtype) -> numpy array
    stream(), handle(stream) -> int     upload(pointer, array, stream), download(array, pointer, stream)
    event(spin), record(event, stream), wait(event), elapsed(event, event) -> ms
    follow(stream, event)               what comes on the stream waits for the event
    attach(), detach()                  around the work of another thread
    graph(stream, enqueue)              a CUDA graph of what `enqueue` puts on the stream; calling it launches it
    facts() -> name, capability, memory
"""

# ruff: noqa: D102, N815 - the methods are told above; the mixed case is CUDA's

import ctypes
import ctypes.util
import glob
import importlib
import os
import sys
from typing import Any, Callable, Dict, List, Tuple

from . import graphs
from .failures import DeviceError, NoGpu, ToolMissing

BLOCKING_SYNC, SPINNING = 1, 0  # cudaEventBlockingSync, cudaEventDefault
TO_DEVICE, TO_HOST = "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"


class Runtime:
    """The CUDA runtime; `lib` has cuda-python's functions, real or ours: each returns (error, *results)."""

    def __init__(self, lib: Any, name: str) -> None:
        self.lib, self.name = lib, name
        self.to_device = getattr(lib.cudaMemcpyKind, TO_DEVICE)
        self.to_host = getattr(lib.cudaMemcpyKind, TO_HOST)
        if self._call("cudaGetDeviceCount") < 1:
            raise DeviceError("the CUDA runtime sees no GPU")
        self._call("cudaFree", 0)  # makes the primary context, which TensorRT then shares

    def _call(self, function: str, *arguments: Any) -> Any:
        answer = getattr(self.lib, function)(*arguments)
        if int(answer[0]) != 0:
            raise DeviceError(
                "%s failed with CUDA error %d" % (function, int(answer[0])),
                "run `dmesg | tail` on the board; a full GPU memory is error 2",
            )
        return answer[1] if len(answer) > 1 else None

    def attach(self) -> None:
        """The runtime's context belongs to every thread."""

    def detach(self) -> None:
        """There is nothing to give back."""

    def alloc(self, size: int) -> int:
        return int(self._call("cudaMalloc", max(size, 1)))

    def pinned(self, shape: Tuple[int, ...], dtype: Any) -> Any:
        import numpy as np

        count = int(np.prod(shape, dtype=np.int64))
        size = max(count * np.dtype(dtype).itemsize, 1)
        pointer = int(self._call("cudaMallocHost", size))
        memory = (ctypes.c_byte * size).from_address(pointer)
        return np.frombuffer(memory, dtype=dtype, count=count).reshape(shape)

    def stream(self) -> Any:
        return self._call("cudaStreamCreate")

    def handle(self, stream: Any) -> int:
        return int(stream)

    def upload(self, pointer: int, array: Any, stream: Any) -> None:
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, self.to_device, stream)

    def download(self, array: Any, pointer: int, stream: Any) -> None:
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, self.to_host, stream)

    def event(self, spin: bool = False) -> Any:
        return self._call("cudaEventCreateWithFlags", SPINNING if spin else BLOCKING_SYNC)

    def record(self, event: Any, stream: Any) -> None:
        self.lib.cudaEventRecord(event, stream)  # in the timed loop; an error stays and is seen in wait()

    def follow(self, stream: Any, event: Any) -> None:
        self.lib.cudaStreamWaitEvent(stream, event, 0)

    def graph(self, stream: Any, enqueue: Callable[[], Any]) -> Callable[[], Any]:
        return graphs.capture(graphs.load(cudart_paths()), self.handle(stream), enqueue)

    def wait(self, event: Any) -> None:
        self._call("cudaEventSynchronize", event)

    def elapsed(self, start: Any, stop: Any) -> float:
        return float(self._call("cudaEventElapsedTime", start, stop))

    def facts(self) -> Dict[str, Any]:
        attribute = self.lib.cudaDeviceAttr
        major = int(self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, 0))
        minor = int(self._call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, 0))
        name = self._call("cudaGetDeviceProperties", 0).name
        version = int(self._call("cudaRuntimeGetVersion"))
        _, free, total = self.lib.cudaMemGetInfo()
        return {
            "name": name.decode("utf-8", "replace"),
            "compute_capability": [major, minor],
            "cuda": "%d.%d" % (version // 1000, version % 1000 // 10),
            "memory_through": self.name,
            "free_mb": int(free) >> 20,
            "total_mb": int(total) >> 20,
        }


class PyCuda:
    """The same through pycuda's driver API; its context must be the current one before TensorRT starts."""

    name = "pycuda"

    def __init__(self) -> None:
        self.driver = importlib.import_module("pycuda.driver")
        try:
            module = importlib.import_module(
                "pycuda.autoprimaryctx"
            )  # shares the runtime's context, pycuda >= 2021.1
        except ImportError:
            module = importlib.import_module("pycuda.autoinit")
        self.device: Any = module.device
        self.context: Any = module.context
        self.held: List[Any] = []  # pycuda frees what nobody holds

    def attach(self) -> None:
        self.context.push()

    def detach(self) -> None:
        self.context.pop()

    def alloc(self, size: int) -> int:
        self.held.append(self.driver.mem_alloc(max(size, 1)))
        return int(self.held[-1])

    def pinned(self, shape: Tuple[int, ...], dtype: Any) -> Any:
        return self.driver.pagelocked_empty(shape, dtype)

    def stream(self) -> Any:
        return self.driver.Stream()

    def handle(self, stream: Any) -> int:
        return int(stream.handle)

    def upload(self, pointer: int, array: Any, stream: Any) -> None:
        self.driver.memcpy_htod_async(pointer, array, stream)

    def download(self, array: Any, pointer: int, stream: Any) -> None:
        self.driver.memcpy_dtoh_async(array, pointer, stream)

    def event(self, spin: bool = False) -> Any:
        flags = self.driver.event_flags
        return self.driver.Event(flags.DEFAULT if spin else flags.BLOCKING_SYNC)

    def record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def follow(self, stream: Any, event: Any) -> None:
        stream.wait_for_event(event)

    def graph(self, stream: Any, enqueue: Callable[[], Any]) -> Callable[[], Any]:
        return graphs.capture(graphs.load(cudart_paths()), self.handle(stream), enqueue)

    def wait(self, event: Any) -> None:
        event.synchronize()

    def elapsed(self, start: Any, stop: Any) -> float:
        return float(start.time_till(stop))

    def facts(self) -> Dict[str, Any]:
        free, total = self.driver.mem_get_info()
        return {
            "name": self.device.name(),
            "compute_capability": list(self.device.compute_capability()),
            "cuda": "%d.%d" % self.driver.get_version()[:2],
            "memory_through": self.name,
            "free_mb": free >> 20,
            "total_mb": total >> 20,
        }


class _MemcpyKind:
    cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost = 1, 2


class _DeviceAttr:
    cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor = 75, 76


class _Properties(ctypes.Structure):
    """cudaDeviceProp begins with the name in every CUDA; the rest grew from 10.2 to 13 and is room here."""

    _fields_ = [("name", ctypes.c_char * 256), ("rest", ctypes.c_char * 8192)]


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
# C function -> (what it returns through its first pointers, what it takes after them)
SIGNATURES: Dict[str, Tuple[Tuple[Any, ...], Tuple[Any, ...]]] = {
    "cudaGetDeviceCount": ((_INT,), ()),
    "cudaDeviceGetAttribute": ((_INT,), (_INT, _INT)),
    "cudaGetDeviceProperties": ((_Properties,), (_INT,)),
    "cudaRuntimeGetVersion": ((_INT,), ()),
    "cudaMemGetInfo": ((_SIZE, _SIZE), ()),
    "cudaMalloc": ((_POINTER,), (_SIZE,)),
    "cudaFree": ((), (_POINTER,)),
    "cudaMallocHost": ((_POINTER,), (_SIZE,)),
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

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        for name, (results, takes) in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = tuple(ctypes.POINTER(kind) for kind in results) + takes
            function.restype = _INT
            setattr(self, name, _caller(function, results))


def _caller(function: Any, results: Tuple[Any, ...]) -> Callable[..., Tuple[Any, ...]]:
    if not results:
        return lambda *arguments: (function(*arguments),)

    def call(*arguments: Any) -> Tuple[Any, ...]:
        boxes = [kind() for kind in results]
        error = function(*([ctypes.byref(box) for box in boxes] + list(arguments)))
        return (error,) + tuple(getattr(box, "value", box) for box in boxes)

    return call


def cudart_paths() -> List[str]:
    """Where libcudart may be: the linker's path, CUDA's own folders, and the wheels that pip installs."""
    found = ctypes.util.find_library("cudart")
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
    return ([found] if found else []) + files


def _by_ctypes() -> Any:
    reasons = []
    for path in cudart_paths():
        try:
            return Runtime(Cudart(path), "ctypes")
        except (OSError, AttributeError) as error:
            reasons.append("%s: %s" % (path, error))
    raise ToolMissing("; ".join(reasons) or "no libcudart.so found")


def _by_cuda_python() -> Any:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return Runtime(importlib.import_module(name), "cuda-python")
        except ImportError:
            continue
    raise ToolMissing("not installed")


def connect() -> Any:
    """The first way to the GPU that works, or one error that says why none did."""
    reasons = []
    for name, way in (("pycuda", PyCuda), ("cuda-python", _by_cuda_python), ("libcudart", _by_ctypes)):
        try:
            return way()
        except Exception as error:  # noqa: BLE001 - each library has its own way to say that there is no driver
            reasons.append("%s: %s" % (name, error))
    raise NoGpu(
        "no CUDA device can be used here (%s)" % "; ".join(reasons),
        "run this on the board or where an NVIDIA GPU is; start a container with --runtime nvidia",
    )
