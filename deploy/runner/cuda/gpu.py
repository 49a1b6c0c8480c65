"""Device memory, streams and events, through what the board has: pycuda, cuda-python, or libcudart itself.

`connect()` gives the first that works. All answer to the same few methods, and nothing else is needed:

    alloc(bytes) -> pointer             pinned(shape, dtype) -> numpy array
    mapped(shape, dtype) -> numpy array and the GPU's pointer to it, where both have the same memory
    stream(), handle(stream) -> int     upload(pointer, array, stream), download(array, pointer, stream)
    event(spin), record(event, stream), wait(event), elapsed(event, event) -> ms
    follow(stream, event)               what comes on the stream waits for the event
    attach(), detach()                  around the work of another thread
    graph(stream, enqueue)              a CUDA graph of what `enqueue` puts on the stream; calling it launches it
    facts() -> name, capability, multiprocessors, memory and whether it is the host's (`integrated`)
"""

# ruff: noqa: D102 - the methods are told above

import ctypes
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence, Tuple, Union

from ..system.failures import DeviceError, NoGpu, ToolMissing
from . import graphs
from .cudart import Cudart, cudart_paths

if TYPE_CHECKING:  # what each library calls them
    from cuda.bindings.runtime import cudaEvent_t, cudaStream_t
    from pycuda.driver import DeviceAllocation, Event, Stream

    from ..interface.tensors import Array

    Gpu = Union["Runtime", "PyCuda"]

BLOCKING_SYNC, SPINNING = 1, 0  # cudaEventBlockingSync, cudaEventDefault
MAPPED = 2  # cudaHostAllocMapped
TO_DEVICE, TO_HOST = "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"


class Runtime:
    """The CUDA runtime; `lib` has cuda-python's functions, real or ours: each returns (error, *results)."""

    def __init__(self, lib: Union[ModuleType, Cudart], name: str) -> None:
        self.lib, self.name = lib, name
        self.to_device = getattr(lib.cudaMemcpyKind, TO_DEVICE)
        self.to_host = getattr(lib.cudaMemcpyKind, TO_HOST)
        if self._call("cudaGetDeviceCount") < 1:
            raise DeviceError("the CUDA runtime sees no GPU")
        self._call("cudaFree", 0)  # makes the primary context, which TensorRT then shares

    def _call(self, function: str, *arguments: object) -> Any:
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

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> "Array":
        size = _bytes(shape, dtype)
        return _array_at(int(self._call("cudaMallocHost", size)), size, shape, dtype)

    def mapped(self, shape: Tuple[int, ...], dtype: str) -> Tuple["Array", int]:
        size = _bytes(shape, dtype)
        host = int(self._call("cudaHostAlloc", size, MAPPED))
        return _array_at(host, size, shape, dtype), int(self._call("cudaHostGetDevicePointer", host, 0))

    def stream(self) -> "cudaStream_t":
        return self._call("cudaStreamCreate")

    def handle(self, stream: "cudaStream_t") -> int:
        return int(stream)

    def upload(self, pointer: int, array: "Array", stream: "cudaStream_t") -> None:
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, self.to_device, stream)

    def download(self, array: "Array", pointer: int, stream: "cudaStream_t") -> None:
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, self.to_host, stream)

    def event(self, spin: bool = False) -> "cudaEvent_t":
        return self._call("cudaEventCreateWithFlags", SPINNING if spin else BLOCKING_SYNC)

    def record(self, event: "cudaEvent_t", stream: "cudaStream_t") -> None:
        self.lib.cudaEventRecord(event, stream)  # in the timed loop; an error stays and is seen in wait()

    def follow(self, stream: "cudaStream_t", event: "cudaEvent_t") -> None:
        self.lib.cudaStreamWaitEvent(stream, event, 0)

    def graph(self, stream: "cudaStream_t", enqueue: Callable[[], object]) -> Callable[[], bool]:
        return graphs.capture(graphs.load(cudart_paths()), self.handle(stream), enqueue)

    def wait(self, event: "cudaEvent_t") -> None:
        self._call("cudaEventSynchronize", event)

    def elapsed(self, start: "cudaEvent_t", stop: "cudaEvent_t") -> float:
        return float(self._call("cudaEventElapsedTime", start, stop))

    def facts(self) -> Dict[str, object]:
        known = self.lib.cudaDeviceAttr
        major, minor, cores, integrated = (
            int(self._call("cudaDeviceGetAttribute", attribute, 0))
            for attribute in (
                known.cudaDevAttrComputeCapabilityMajor,
                known.cudaDevAttrComputeCapabilityMinor,
                known.cudaDevAttrMultiProcessorCount,
                known.cudaDevAttrIntegrated,
            )
        )
        name = self._call("cudaGetDeviceProperties", 0).name
        version = int(self._call("cudaRuntimeGetVersion"))
        _, free, total = self.lib.cudaMemGetInfo()
        return {
            "name": name.decode("utf-8", "replace"),
            "compute_capability": [major, minor],
            "multiprocessors": cores,
            "integrated": bool(integrated),
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
        self.device, self.context = module.device, module.context
        self.held: List["DeviceAllocation"] = []  # pycuda frees what nobody holds

    def attach(self) -> None:
        self.context.push()

    def detach(self) -> None:
        self.context.pop()

    def alloc(self, size: int) -> int:
        self.held.append(self.driver.mem_alloc(max(size, 1)))
        return int(self.held[-1])

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> "Array":
        array: "Array" = self.driver.pagelocked_empty(shape, dtype)
        return array

    def mapped(self, shape: Tuple[int, ...], dtype: str) -> Tuple["Array", int]:
        flags = self.driver.host_alloc_flags.DEVICEMAP
        array: "Array" = self.driver.pagelocked_empty(shape, dtype, mem_flags=flags)
        return array, int(array.base.get_device_pointer())  # type: ignore[union-attr]

    def stream(self) -> "Stream":
        return self.driver.Stream()

    def handle(self, stream: "Stream") -> int:
        return int(stream.handle)

    def upload(self, pointer: int, array: "Array", stream: "Stream") -> None:
        self.driver.memcpy_htod_async(pointer, array, stream)

    def download(self, array: "Array", pointer: int, stream: "Stream") -> None:
        self.driver.memcpy_dtoh_async(array, pointer, stream)

    def event(self, spin: bool = False) -> "Event":
        flags = self.driver.event_flags
        return self.driver.Event(flags.DEFAULT if spin else flags.BLOCKING_SYNC)

    def record(self, event: "Event", stream: "Stream") -> None:
        event.record(stream)

    def follow(self, stream: "Stream", event: "Event") -> None:
        stream.wait_for_event(event)

    def graph(self, stream: "Stream", enqueue: Callable[[], object]) -> Callable[[], bool]:
        return graphs.capture(graphs.load(cudart_paths()), self.handle(stream), enqueue)

    def wait(self, event: "Event") -> None:
        event.synchronize()

    def elapsed(self, start: "Event", stop: "Event") -> float:
        return float(start.time_till(stop))

    def facts(self) -> Dict[str, object]:
        free, total = self.driver.mem_get_info()
        known = self.driver.device_attribute
        return {
            "name": self.device.name(),
            "compute_capability": list(self.device.compute_capability()),
            "multiprocessors": self.device.get_attribute(known.MULTIPROCESSOR_COUNT),
            "integrated": bool(self.device.get_attribute(known.INTEGRATED)),
            "cuda": "%d.%d" % self.driver.get_version()[:2],
            "memory_through": self.name,
            "free_mb": free >> 20,
            "total_mb": total >> 20,
        }


def _bytes(shape: Tuple[int, ...], dtype: str) -> int:
    import numpy as np

    return max(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize, 1)


def _array_at(pointer: int, size: int, shape: Tuple[int, ...], dtype: str) -> "Array":
    import numpy as np

    memory = (ctypes.c_byte * size).from_address(pointer)
    count = int(np.prod(shape, dtype=np.int64))
    array: "Array" = np.frombuffer(memoryview(memory), dtype=dtype, count=count).reshape(shape)
    return array


def _by_ctypes() -> Runtime:
    reasons = []
    for path in cudart_paths():
        try:
            return Runtime(Cudart(path), "ctypes")
        except (OSError, AttributeError) as error:
            reasons.append("%s: %s" % (path, error))
    raise ToolMissing("; ".join(reasons) or "no libcudart.so found")


def _by_cuda_python() -> Runtime:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return Runtime(importlib.import_module(name), "cuda-python")
        except ImportError:
            continue
    raise ToolMissing("not installed")


def connect() -> "Gpu":
    """The first way to the GPU that works, or one error that says why none did."""
    reasons = []
    ways: Sequence[Tuple[str, Callable[[], "Gpu"]]] = (
        ("pycuda", PyCuda),
        ("cuda-python", _by_cuda_python),
        ("libcudart", _by_ctypes),
    )
    for name, way in ways:
        try:
            return way()
        except Exception as error:  # noqa: BLE001 - each library has its own way to say that there is no driver
            reasons.append("%s: %s" % (name, error))
    raise NoGpu(
        "no CUDA device can be used here (%s)" % "; ".join(reasons),
        "run this on the board or where an NVIDIA GPU is; start a container with --runtime nvidia",
    )
