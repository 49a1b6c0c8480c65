"""Inputs and outputs of an engine: by tensor names since TensorRT 8.5, by the numbers of bindings before.

The rule of names stands in backends/tensorrt.py.
"""

import functools
from types import ModuleType
from typing import TYPE_CHECKING, Callable, Dict, List, Tuple

from ..interface.tensors import Tensor
from ..system.failures import BundleError, DeviceError

if TYPE_CHECKING:
    from tensorrt import DataType, ICudaEngine, IExecutionContext

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


def tensors_of(
    trt: ModuleType, engine: "ICudaEngine", context: "IExecutionContext", shapes: Dict[str, Tuple[int, ...]]
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


def _dtype(name: str, kind: "DataType") -> str:
    label = str(getattr(kind, "name", kind))
    if label not in DTYPES:
        raise DeviceError(
            "tensor %s has type %s, which numpy cannot hold" % (name, label),
            "keep inputs and outputs of the graph in float32",
        )
    return DTYPES[label]


def enqueue_of(
    engine: "ICudaEngine", context: "IExecutionContext", pointers: Dict[str, int], stream: int
) -> Callable[[], bool]:
    """One call that starts one inference on the stream, everything bound beforehand."""
    if hasattr(context, "execute_async_v3"):
        for name, pointer in pointers.items():
            context.set_tensor_address(name, pointer)
        return functools.partial(context.execute_async_v3, stream)
    order = [pointers[engine.get_binding_name(place)] for place in range(engine.num_bindings)]
    return functools.partial(context.execute_async_v2, order, stream)
