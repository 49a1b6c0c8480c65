"""A stand-in for `tensorrt` with exactly the names of one version; its engines really compute (ONNX Runtime).

An engine is the ONNX file behind a header that names the version; device memory is a dictionary. What a
version lacks raises AttributeError, as the real one would: the runner meets each version's API as a whole.
"""

from __future__ import annotations

import enum
import json
import threading
import types
from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tests.deploy.api.names import names

MEMORY: dict[int, bytearray] = {}
TYPES = {1: "FLOAT", 6: "INT32", 7: "INT64", 10: "HALF"}
NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT64": np.int64}


class Gpu:
    """The interface of `jetpress.deploy.runner.cuda.gpu` over host memory; time passes by counting, in each thread."""

    name = "fake"

    def __init__(self) -> None:
        self.clocks: Counter[int] = Counter()
        self.streams = 0
        self.graphs = self.attached = 0
        self.spinning: list[bool] = []
        self.follows: list[tuple[int, Any]] = []

    def alloc(self, size: int) -> int:
        pointer = 4096 * (len(MEMORY) + 1)
        MEMORY[pointer] = bytearray(size)
        return pointer

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def mapped(self, shape: tuple[int, ...], dtype: Any) -> tuple[Any, int]:
        pointer = self.alloc(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.frombuffer(MEMORY[pointer], dtype).reshape(shape), pointer

    def attach(self) -> None:
        self.attached += 1

    def detach(self) -> None:
        self.attached -= 1

    def stream(self) -> int:
        self.streams += 1
        return self.streams

    def handle(self, stream: int) -> int:
        return stream

    def upload(self, pointer: int, array: Any, stream: int) -> None:
        MEMORY[pointer][:] = array.tobytes()

    def download(self, array: Any, pointer: int, stream: int) -> None:
        array[...] = np.frombuffer(bytes(MEMORY[pointer]), array.dtype).reshape(array.shape)

    def event(self, spin: bool = False) -> list[float]:
        self.spinning.append(spin)
        return [0.0]

    def follow(self, stream: int, event: list[float]) -> None:
        assert event[0] == self.clocks[threading.get_ident()] / 8, (
            "an event is waited for that was not the last one recorded"
        )
        self.follows.append((stream, event))

    def graph(self, stream: int, enqueue: Any) -> Any:
        self.graphs += 1
        return enqueue

    def record(self, event: list[float], stream: int) -> None:
        self.clocks[threading.get_ident()] += 1
        event[0] = self.clocks[threading.get_ident()] / 8

    def wait(self, event: list[float]) -> None:
        pass

    def elapsed(self, start: list[float], stop: list[float]) -> float:
        return stop[0] - start[0]

    def facts(self) -> dict[str, Any]:
        return {"name": "Orin (fake)", "compute_capability": [8, 7], "cuda": "12.6", "memory_through": "fake",
                "free_mb": 1000, "total_mb": 7620, "multiprocessors": 8, "integrated": True}  # fmt: skip


def module(version: str) -> types.ModuleType:
    """`import tensorrt` as that version gives it."""
    table = names(version)
    trt = types.ModuleType("tensorrt")
    trt.__version__ = version + ".0"  # type: ignore[attr-defined]
    trt.CALLS = []  # type: ignore[attr-defined]
    trt.FITS_MB = 1 << 20  # type: ignore[attr-defined]
    trt.ON_DLA = {"CONV", "RELU", "GLOBALAVERAGEPOOL"}  # type: ignore[attr-defined]
    for name in table["trt"] - {"__version__"}:
        full = globals().get("_" + name)
        if name == "DataType":
            setattr(trt, name, enum.IntEnum("DataType", list(TYPES.values()), start=0))
        elif full is None:
            setattr(trt, name, enum.IntEnum(name, sorted(table.get(name, {"INFO"})), start=0))
        else:
            kept = {
                key: value
                for key, value in vars(full).items()
                if key.startswith("_") or key in table.get(name, set())
            }
            kept.pop("__dict__", None)
            kept.update(
                TRT=trt, ALLOWED=vars(full).get("ALLOWED", table.get(name)), log=vars(full).get("log")
            )
            setattr(trt, name, type(name, (_Strict,), kept))
    return trt


class _Strict:
    """Refuses to take an attribute that the version lacks (pybind classes do)."""

    TRT: Any
    ALLOWED: set[str] | None

    def __setattr__(self, name: str, value: Any) -> None:
        if self.ALLOWED is not None and not name.startswith("_") and name not in self.ALLOWED:
            raise AttributeError(name)
        if not name.startswith("_"):
            self.TRT.CALLS.append((type(self).__name__, name, value))
        object.__setattr__(self, name, value)


class _ILogger:
    ALLOWED = None

    def __init__(self) -> None:
        pass


class _IErrorRecorder:
    ALLOWED = None

    def __init__(self) -> None:
        pass


class _IProgressMonitor:
    ALLOWED = None

    def __init__(self) -> None:
        pass


class _ITensor:
    dynamic_range = None

    def __init__(self, value: Any, name: str = "") -> None:
        kind = value.type.tensor_type
        facts = {
            "name": name or value.name,
            "shape": [dim.dim_value or -1 for dim in kind.shape.dim],
            "dtype": self.TRT.DataType[TYPES[kind.elem_type]],
        }
        for key, fact in facts.items():
            object.__setattr__(self, key, fact)  # its own, not a call of the runner's


class _Builder:
    platform_has_fast_int8 = True
    num_DLA_cores = 2
    error_recorder = None

    def __init__(self, log: Any) -> None:
        self._log = log

    def create_network(self, flags: int) -> Any:
        explicit = getattr(self.TRT.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        assert explicit is None or flags >> int(explicit) & 1, "implicit batch cannot hold an ONNX model"
        self.TRT.CALLS.append(("Builder", "create_network", flags))
        return self.TRT.INetworkDefinition()

    def create_builder_config(self) -> Any:
        return self.TRT.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self.TRT.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        if any(node.op_type == "Det" for node in network._model.graph.node):
            self.error_recorder.report_error(enum.Enum("ErrorCode", "INTERNAL_ERROR")(1), "no tactic for Det")
            return None
        size = next(
            (
                v
                for k, n, v in reversed(self.TRT.CALLS)
                if n in ("set_memory_pool_limit", "max_workspace_size")
            ),
            0,
        )
        if (size[1] if isinstance(size, tuple) else size) >> 20 > self.TRT.FITS_MB:
            self.error_recorder.report_error(enum.Enum("ErrorCode", "FAILED_ALLOCATION")(1), "OutOfMemory")
            return None
        if config.default_device_type is not None:
            kinds = [network.get_layer(place).type.name for place in range(network.num_layers)]
            for kind in sorted(set(kinds) - self.TRT.ON_DLA):
                self._log.log(self.TRT.Logger, f"[GpuLayer] {kind}: x")
            if set(kinds) & self.TRT.ON_DLA:
                self._log.log(self.TRT.Logger, "[DlaLayer] {ForeignNode[a...e]}")
        self._log.log(self.TRT.Logger, "(Sparsity) Found 3 layer(s) eligible to use sparse tactics: a, b, c")
        self._log.log(self.TRT.Logger, "(Sparsity) Chose 1 layer(s) using sparse tactics: a")
        if hasattr(config, "progress_monitor"):
            config.progress_monitor.phase_start("Building", None, 2)
            assert config.progress_monitor.step_complete("Building", 0)
            config.progress_monitor.phase_finish("Building")
        header = json.dumps(
            {"version": self.TRT.__version__, "open": network._open(), "profile": config._profiles}
        )
        return header.encode() + b"\n" + network._model.SerializeToString()


class _INetworkDefinition:
    def _open(self) -> bool:
        return any(-1 in tensor.shape for tensor in self._inputs)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, place: int) -> Any:
        return self._inputs[place]

    @property
    def num_layers(self) -> int:
        return len(self._model.graph.node)

    def get_layer(self, place: int) -> Any:
        layer, node = self.TRT.ILayer(), self._model.graph.node[place]
        layer._node = node
        layer._outputs = [self.TRT.ITensor(self._model.graph.output[0], name) for name in node.output]
        return layer


class _ILayer:
    @property
    def type(self) -> Any:
        return types.SimpleNamespace(name=self._node.op_type.upper())

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, place: int) -> Any:
        return self._outputs[place]


class _OnnxParser:
    def __init__(self, network: Any, log: Any) -> None:
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        model = onnx.load(path)
        self._bad = [node for node in model.graph.node if node.op_type == "NonZero"]
        self._network._model = model
        self._network._inputs = [self.TRT.ITensor(value) for value in model.graph.input]
        return not self._bad

    @property
    def num_errors(self) -> int:
        return len(self._bad)

    def get_error(self, place: int) -> Any:
        return self.TRT.ParserError()

    def supports_model_v2(self, data: bytes, path: str) -> bool:
        self._bad = [node for node in onnx.load_from_string(data).graph.node if node.op_type == "Flatten"]
        return not self._bad

    def set_builder_config(self, config: Any) -> bool:
        self.TRT.CALLS.append(("OnnxParser", "set_builder_config", config))
        return True

    def set_flag(self, flag: Any) -> None:
        assert type(flag) is self.TRT.OnnxParserFlag
        self.TRT.CALLS.append(("OnnxParser", "set_flag", flag.name))


class _ParserError:
    def node(self) -> int:
        return 4

    def desc(self) -> str:
        return "No importer registered for op: NonZero"


class _IBuilderConfig:
    _cache = None
    progress_monitor = builder_optimization_level = profiling_verbosity = default_device_type = DLA_core = (
        None
    )
    max_workspace_size = 0

    def __init__(self) -> None:
        self._profiles: list[Any] = []

    def set_flag(self, flag: Any) -> None:
        assert type(flag) is self.TRT.BuilderFlag
        self.TRT.CALLS.append(("IBuilderConfig", "set_flag", flag.name))

    def can_run_on_DLA(self, layer: Any) -> bool:
        return layer.type.name in self.TRT.ON_DLA

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.TRT.CALLS.append(("IBuilderConfig", "set_memory_pool_limit", (pool.name, size)))

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile._shapes)
        return 0

    def create_timing_cache(self, data: bytes) -> Any:
        cache = self.TRT.ITimingCache()
        cache._data = data
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._data and cache._data != self.TRT.__version__.encode():
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class _ITimingCache:
    def serialize(self) -> bytes:
        return self.TRT.__version__.encode()


class _IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
        self._shapes[name] = [low, best, high]


class _Runtime:
    DLA_core = None

    def __init__(self, log: Any) -> None:
        pass

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        header, _, model = data.partition(b"\n")
        facts = json.loads(header)
        if facts["version"] != self.TRT.__version__:
            return None
        engine = self.TRT.ICudaEngine()
        engine._facts, engine._session = (
            facts,
            ort.InferenceSession(model, providers=["CPUExecutionProvider"]),
        )
        graph = onnx.load_from_string(model).graph
        engine._values = [self.TRT.ITensor(value) for value in [*graph.input, *graph.output]]
        engine._count = len(graph.input)
        return engine


class _ICudaEngine:
    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    num_bindings = num_io_tensors

    def get_tensor_name(self, place: int) -> str:
        return str(self._values[place].name)

    get_binding_name = get_tensor_name

    def binding_is_input(self, place: int) -> bool:
        return place < self._count

    def get_tensor_mode(self, name: str) -> Any:
        inputs = [value.name for value in self._values[: self._count]]
        return self.TRT.TensorIOMode.INPUT if name in inputs else self.TRT.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return next(value.dtype for value in self._values if value.name == name)

    def get_binding_dtype(self, place: int) -> Any:
        return self._values[place].dtype

    def create_execution_context(self) -> Any:
        context = self.TRT.IExecutionContext()
        context._engine, context._shapes, context._addresses = self, {}, {}
        return context

    def create_engine_inspector(self) -> Any:
        return self.TRT.EngineInspector()


class _EngineInspector:
    def get_engine_information(self, form: Any) -> str:
        return json.dumps(
            {"Layers": [{"Name": "a", "TacticName": "sm80_xmma_fprop_sparse_conv"}, {"Name": "b"}]}
        )


class _IExecutionContext:
    error_recorder = None

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._shapes[name] = shape
        return True

    def set_binding_shape(self, place: int, shape: Any) -> bool:
        return self.__class__.__dict__.get("_set", _set)(self, place, shape)

    def get_tensor_shape(self, name: str) -> Any:
        value = next(value for value in self._engine._values if value.name == name)
        batch = next(iter(self._shapes.values()))[0]
        return [batch if size == -1 else size for size in value.shape]

    def get_binding_shape(self, place: int) -> Any:
        return _IExecutionContext.get_tensor_shape(self, self._engine._values[place].name)

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self._addresses[name] = pointer

    def execute_async_v3(self, stream: int) -> bool:
        return _execute(self, stream)

    def execute_async_v2(self, bindings: list[int], stream: int) -> bool:
        for value, pointer in zip(self._engine._values, bindings, strict=True):
            self._addresses[value.name] = pointer
        return _execute(self, stream)


def _set(context: Any, place: int, shape: Any) -> bool:
    context._shapes[context._engine._values[place].name] = shape
    return True


def _execute(context: Any, stream: int) -> bool:
    """Read the inputs from device memory, compute, write the outputs there."""
    assert stream % 3 == 2, "the engine runs on the compute stream: each session makes three"
    engine = context._engine
    feeds = {}
    for value in engine._values[: engine._count]:
        data = bytes(MEMORY[context._addresses[value.name]])
        feeds[value.name] = np.frombuffer(data, NUMPY[value.dtype.name]).reshape(context._shapes[value.name])
    results = engine._session.run(None, feeds)
    for value, result in zip(engine._values[engine._count :], results, strict=True):
        MEMORY[context._addresses[value.name]][:] = result.tobytes()
    return True
