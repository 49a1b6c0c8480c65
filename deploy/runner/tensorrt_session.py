"""Running one engine with any TensorRT; the rule of names stands in backend_tensorrt.py."""

import functools
import json
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .clock import now_ns
from .errors import BundleError, DeviceError
from .tensors import Feeds, Tensor

# By name, not by trt.nptype: that one breaks TensorRT 8 with numpy 1.24 and newer (it asks for np.bool).
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}


class Session:
    """One engine on the GPU, its inputs and outputs bound to memory that stays where it is."""

    def __init__(self, trt: Any, log: Any, device: Any, path: str, inputs: List[Dict[str, Any]]) -> None:
        self.gpu, self.trt = device, trt
        with open(path, "rb") as source:
            data = source.read()
        self.runtime = runtime = trt.Runtime(log)
        self.engine = engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise DeviceError(
                "TensorRT %s cannot load %s" % (trt.__version__, os.path.basename(path)),
                "build it again here: an engine runs only on the GPU and TensorRT that built it",
            )
        self.context = engine.create_execution_context()
        if self.context is None:
            raise DeviceError(
                "no execution context: the GPU memory is probably full", "stop other programs on the board"
            )
        shapes = {entry["name"]: tuple(entry["shape"]) for entry in inputs}
        self.inputs, self.results = _tensors(trt, engine, self.context, shapes)
        self.output_names = [tensor.name for tensor in self.results]
        self._allocate()

    def _allocate(self) -> None:
        """Pinned host arrays and device memory, one of each for each tensor; made once."""
        self.stream = self.gpu.stream()
        self.host: Feeds = {}
        self.pointers: Dict[str, int] = {}
        for tensor in self.inputs + self.results:
            self.host[tensor.name] = self.gpu.pinned(tensor.shape, np.dtype(tensor.dtype))
            self.pointers[tensor.name] = self.gpu.alloc(self.host[tensor.name].nbytes)
        self.enqueue = _enqueue(self.engine, self.context, self.pointers, self.gpu.handle(self.stream))
        upload, download, stream = self.gpu.upload, self.gpu.download, self.stream
        self.uploads = [
            functools.partial(upload, self.pointers[tensor.name], self.host[tensor.name], stream)
            for tensor in self.inputs
        ]
        self.downloads = [
            functools.partial(download, self.host[tensor.name], self.pointers[tensor.name], stream)
            for tensor in self.results
        ]
        self.marks = [self.gpu.event() for _ in range(4)]

    def infer(self, feeds: Feeds) -> Feeds:
        """One untimed run."""
        self.bind(feeds)
        self.block(0.0, 1)
        return self.outputs()

    def bind(self, feeds: Feeds) -> None:
        """Put the inputs into pinned memory."""
        for tensor in self.inputs:
            self.host[tensor.name][...] = feeds[tensor.name]

    def block(self, milliseconds: float, least: int) -> Dict[str, List[float]]:
        """Timed runs for so long and at least so many; what trtexec measures, in ms.

        Transfers and compute by CUDA events, latency = their sum, enqueue = host time inside TensorRT.
        """
        begun, copied, computed, done = self.marks
        record, wait, elapsed, stream = self.gpu.record, self.gpu.wait, self.gpu.elapsed, self.stream
        enqueue, uploads, downloads, now = self.enqueue, self.uploads, self.downloads, now_ns
        h2d: List[float] = []
        compute: List[float] = []
        d2h: List[float] = []
        host: List[float] = []
        end = now() + int(milliseconds * 1e6)
        while now() < end or len(h2d) < least:
            record(begun, stream)
            for upload in uploads:
                upload()
            record(copied, stream)
            start = now()
            ran = enqueue()
            stop = now()
            record(computed, stream)
            for download in downloads:
                download()
            record(done, stream)
            wait(done)
            if ran is False:
                raise DeviceError("TensorRT could not run the engine", "the lines above are TensorRT's own")
            h2d.append(elapsed(begun, copied))
            compute.append(elapsed(copied, computed))
            d2h.append(elapsed(computed, done))
            host.append((stop - start) / 1e6)
        return {
            "latency": [sum(parts) for parts in zip(h2d, compute, d2h)],  # noqa: B905 - Python 3.6
            "h2d": h2d,
            "compute": compute,
            "d2h": d2h,
            "enqueue": host,
        }

    def outputs(self) -> Feeds:
        """What the last run left in host memory."""
        return {name: self.host[name].copy() for name in self.output_names}

    def layers(self) -> Optional[Dict[str, Any]]:
        """The engine's own account of its layers (TensorRT >= 8.2), and how many of them use 2:4 kernels."""
        engine = self.engine
        if not hasattr(engine, "create_engine_inspector"):
            return None
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        try:
            layers = json.loads(text).get("Layers", [])
        except (ValueError, AttributeError):
            return None
        sparse = sum(
            isinstance(item, dict) and "sparse" in str(item.get("TacticName", "")).lower() for item in layers
        )
        return {"layers": len(layers), "sparse_layers": sparse, "account": layers}


def _tensors(
    trt: Any, engine: Any, context: Any, shapes: Dict[str, Tuple[int, ...]]
) -> Tuple[List[Tensor], List[Tensor]]:
    """Inputs and outputs as the engine has them; its types are the truth (TensorRT 8 makes INT64 INT32)."""
    if hasattr(engine, "num_io_tensors"):
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        is_input = [engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names]
        kinds = [engine.get_tensor_dtype(name) for name in names]
    else:
        names = [engine.get_binding_name(place) for place in range(engine.num_bindings)]
        is_input = [engine.binding_is_input(place) for place in range(engine.num_bindings)]
        kinds = [engine.get_binding_dtype(place) for place in range(engine.num_bindings)]
    for place, name in enumerate(names):
        if not is_input[place]:
            continue
        if name not in shapes:
            raise BundleError("the engine has an input %r that the plan does not name" % name)
        if hasattr(context, "set_input_shape"):
            context.set_input_shape(name, shapes[name])
        else:
            context.set_binding_shape(place, shapes[name])
    inputs: List[Tensor] = []
    outputs: List[Tensor] = []
    for place, name in enumerate(names):
        if hasattr(context, "get_tensor_shape"):
            shape = tuple(int(size) for size in context.get_tensor_shape(name))
        else:
            shape = tuple(int(size) for size in context.get_binding_shape(place))
        tensor = Tensor(name, shape, _dtype(name, kinds[place]))
        if -1 in shape:
            raise DeviceError(
                "the shape of %s is %s: it depends on the data or the plan's shape does not fit"
                % (name, list(shape)),
                "end the graph before the operator that counts (NMS, NonZero)",
            )
        (inputs if is_input[place] else outputs).append(tensor)
    return inputs, outputs


def _dtype(name: str, kind: Any) -> str:
    label = str(getattr(kind, "name", kind))
    if label not in DTYPES:
        raise DeviceError(
            "tensor %s has type %s, which numpy cannot hold" % (name, label),
            "keep inputs and outputs of the graph in float32",
        )
    return DTYPES[label]


def _enqueue(engine: Any, context: Any, pointers: Dict[str, int], stream: int) -> Callable[[], Any]:
    """One call that starts one inference on the stream, everything bound beforehand."""
    if hasattr(context, "execute_async_v3"):
        for name, pointer in pointers.items():
            context.set_tensor_address(name, pointer)
        return functools.partial(context.execute_async_v3, stream)
    order = [pointers[engine.get_binding_name(place)] for place in range(engine.num_bindings)]
    return functools.partial(context.execute_async_v2, order, stream)
