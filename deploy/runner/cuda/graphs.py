"""A CUDA graph of what an engine puts on a stream, through libcudart itself: wrappers differ, its C calls do not.

Streams of pycuda and of cuda-python are CUDA's own handles, so this works beside either of them.
"""

import ctypes
from typing import Callable, Sequence

from ..system.failures import DeviceError

THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal, as trtexec has it
_POINTER = ctypes.c_void_p


def load(paths: Sequence[str]) -> ctypes.CDLL:
    """The first libcudart that can be loaded."""
    for path in paths:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise DeviceError("CUDA graphs need libcudart, and none was found", "set cuda_graph to false")


def capture(library: ctypes.CDLL, stream: int, enqueue: Callable[[], object]) -> Callable[[], bool]:
    """Capture one `enqueue` on a stream; what is returned launches it again.

    TensorRT must have run once on the stream before, so that nothing is allocated while it is captured.
    """
    graph, runnable = _POINTER(), _POINTER()
    _call(library, "cudaStreamBeginCapture", _POINTER(stream), ctypes.c_int(THREAD_LOCAL))
    enqueued = enqueue()
    _call(library, "cudaStreamEndCapture", _POINTER(stream), ctypes.byref(graph))
    if enqueued is False:
        raise DeviceError("TensorRT could not enqueue the engine into a CUDA graph", HINT)
    if hasattr(library, "cudaGraphInstantiateWithFlags"):  # CUDA 11.4 and newer
        _call(library, "cudaGraphInstantiateWithFlags", ctypes.byref(runnable), graph, ctypes.c_ulonglong(0))
    else:
        _call(library, "cudaGraphInstantiate", ctypes.byref(runnable), graph, None, None, ctypes.c_size_t(0))
    launch, made, where = library.cudaGraphLaunch, runnable, _POINTER(stream)
    launch.argtypes, launch.restype = (_POINTER, _POINTER), ctypes.c_int
    return lambda: bool(launch(made, where) == 0)


HINT = "set cuda_graph to false: engines with loops, or with shapes that depend on data, cannot be captured"


def _call(library: ctypes.CDLL, name: str, *arguments: object) -> None:
    function = getattr(library, name)
    function.restype = ctypes.c_int
    error = function(*arguments)
    if error != 0:
        raise DeviceError("%s failed with CUDA error %d" % (name, error), HINT)
