"""An ONNX graph as the preflight reads it: nodes in order, types and shapes, constants; weights stay on disk.

It is read from the skeleton that :mod:`jetpress.deploy.onnx_file.skeleton` gives. Nodes of subgraphs (If, Loop, Scan)
and of the model's own functions stand in the same list, because a parser must take them all. A weight is mapped from
its file when somebody asks for it. Shapes that the file does not state are inferred by ONNX in a process of its own
with bounded memory and time: the inference is native code, and the graph may be anybody's.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from jetpress.deploy import process
from jetpress.deploy.errors import DeviceError, TrustError
from jetpress.deploy.onnx_file.external import HINT
from jetpress.deploy.onnx_file.skeleton import BITS, Skeleton
from jetpress.deploy.preflight.node import UNKNOWN, Node, Value

Array = NDArray[Any]
INFERENCE_S = 60
MOST_WRITTEN_OUT = 10**6
"""Nodes when every call of the model's own functions is written out."""
ONNX_DOMAINS = ("", "ai.onnx")
GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
# A constant stays one through these.
PASSING = ("Identity", "Cast", "Transpose", "QuantizeLinear", "DequantizeLinear")


class Given(NamedTuple):
    """An output of a branch."""

    name: str
    value: Value
    place: int | None
    """Of the node whose first output it is; None where there is none, for a constant, and where the branch itself reads
    it."""


class Graph:
    """A model's nodes, values and constants."""

    def __init__(self, proto: onnx.ModelProto, path: Path) -> None:
        """``path``: of the file; weights may lie beside it."""
        self.path, self.proto = path, proto
        imports = {entry.domain: entry.version for entry in self.proto.opset_import}
        self.opset = imports.get("", imports.get("ai.onnx", 1))
        self.ir_version = self.proto.ir_version
        self.functions = {(entry.domain, entry.name) for entry in self.proto.functions}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.twice: set[str] = set()
        """Names that two constants or two nodes give a value: parsers differ on whose it is."""
        self.given: set[str] = set()
        """Names that no node needs to compute: constants, and inputs of graphs and functions."""
        self.branches: dict[str, list[tuple[Given, ...]]] = {}
        """What the branches of an If give, by the If's first output."""
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self._read(self.proto.graph)
        bodies = {("", ""): list(self.nodes)}
        for function in self.proto.functions:
            self.given.update(function.input)
            before = len(self.nodes)
            self._add(function.node, f"{function.name}/")
            bodies[function.domain, function.name] = self.nodes[before:]
        self._bounded(bodies)
        self.given |= set(self.constants)
        self.producers = {name: node for node in self.nodes for name in node.outputs if name}
        self.inputs = {
            entry.name: self.values[entry.name]
            for entry in self.proto.graph.input
            if entry.name not in self.constants
        }
        self.outputs = {entry.name: self.value(entry.name) for entry in self.proto.graph.output}
        self.used = {name for node in self.nodes for name in node.inputs} | set(self.outputs)

    def value(self, name: str) -> Value:
        """What is known about a tensor."""
        return self.values.get(name, UNKNOWN)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is known when the engine is built."""
        return self._source(name) is not None

    def array(self, name: str) -> Array | None:
        """A constant as it is stored, without what comes between (see ``through``); None where it is none."""
        tensor = self._source(name)
        try:
            return None if tensor is None else load(tensor, self.path)
        except (ValueError, TypeError, KeyError):  # data that does not fit its type
            return None

    def through(self, name: str) -> list[Node]:
        """The nodes between a constant and ``name``, from ``name`` back; empty where it is the constant."""
        passed: list[Node] = []
        while name not in self.constants and (node := self.producers.get(name)) and node not in passed:
            if node.op not in PASSING or not node.inputs:
                break
            passed.append(node)
            name = node.inputs[0]
        return passed

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants."""
        return sum(Value(entry.data_type, tuple(entry.dims)).bytes for entry in self.constants.values())

    def _bounded(self, bodies: dict[tuple[str, str], list[Node]]) -> None:
        """Functions may not call themselves, nor double each other: whoever writes them out would not end."""
        calls = {
            key: Counter((node.domain, node.op) for node in body if (node.domain, node.op) in bodies)
            for key, body in bodies.items()
        }
        sizes: dict[tuple[str, str], int] = {}
        try:
            for key in TopologicalSorter(calls).static_order():
                inside = sum(times * sizes[called] for called, times in calls[key].items())
                sizes[key] = len(bodies[key]) + inside
                if sizes[key] > MOST_WRITTEN_OUT:
                    raise TrustError(f"{self.path} has more than {MOST_WRITTEN_OUT} nodes in functions", HINT)
        except CycleError:
            raise TrustError(f"{self.path} has a function that calls itself", HINT) from None

    def _source(self, name: str) -> onnx.TensorProto | None:
        if name not in self.constants and (passed := self.through(name)):
            name = passed[-1].inputs[0]
        return self.constants.get(name)

    def _read(self, graph: onnx.GraphProto, prefix: str = "") -> None:
        for tensor in [*graph.initializer, *(entry.values for entry in graph.sparse_initializer)]:
            self._constant(tensor.name, tensor)
        self.given.update(entry.name for entry in graph.input)
        for entry in [*graph.input, *graph.value_info, *graph.output]:
            self.values.setdefault(entry.name, _value(entry.type))
        self._add(graph.node, prefix)

    def _add(self, protos: Iterable[onnx.NodeProto], prefix: str) -> None:
        for at, proto in enumerate(protos):
            attributes = dict[str, object]()
            inner = list[onnx.GraphProto]()
            for entry in proto.attribute:
                if entry.type in GRAPHS:
                    inner += [entry.g] if entry.type == onnx.AttributeProto.GRAPH else list(entry.graphs)
                elif not entry.ref_attr_name:
                    attributes[entry.name] = _plain(entry)
            name = prefix + (proto.name or f"#{at} {proto.op_type}")
            domain = "" if proto.domain in ONNX_DOMAINS else proto.domain
            self.twice |= {out for out in proto.output if out and out in self.constants}
            inputs, outputs = tuple(proto.input), tuple(proto.output)
            self.nodes.append(Node(proto.op_type, domain, name, inputs, outputs, attributes))
            if proto.op_type == "If" and proto.output:
                self.branches[proto.output[0]] = [_outputs(graph) for graph in inner]
            if proto.op_type == "Constant" and proto.output:
                self._constant(proto.output[0], _as_tensor(attributes))
            for graph in inner:
                self._read(graph, f"{name}/")

    def _constant(self, name: str, tensor: onnx.TensorProto | None) -> None:
        if tensor is None:
            return
        if name in self.constants:
            self.twice.add(name)
        self.constants[name] = tensor
        self.values[name] = Value(tensor.data_type, tuple(tensor.dims))


def load(tensor: onnx.TensorProto, model: Path) -> Array:
    """The elements of a tensor; where they lie in a file, that part of the file, mapped."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return np.asarray(numpy_helper.to_array(tensor))
    where = {entry.key: entry.value for entry in tensor.external_data}
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    if BITS[tensor.data_type] < 8:
        raise TrustError(
            f"{tensor.name} has elements smaller than a byte", "keep such weights inside the file"
        )
    file, shape = model.parent / where["location"], tuple(tensor.dims)
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", int(where.get("offset", 0)), shape or (1,)).reshape(shape)


def inferred(skeleton: Skeleton) -> Graph:
    """The graph with all the shapes that ONNX can infer; those of the file where the inference fails."""
    graph = Graph(_parse(skeleton), skeleton.path)
    if all(name in graph.values for node in graph.nodes for name in node.outputs if name):
        return graph
    answer = bytearray()
    terms = process.Terms(feed=[skeleton.content], timeout=INFERENCE_S, sink=answer.extend)
    try:
        # -P: modules in the folder where the user stands are not ours.
        command = [sys.executable, "-P", "-m", "jetpress.deploy.preflight.infer_shapes"]
        done = process.execute(command, "shape inference", terms)
    except DeviceError:
        return graph
    if done.returncode == 0 and answer:
        for entry in onnx.GraphProto.FromString(bytes(answer)).value_info:
            if graph.value(entry.name).shape is None:
                graph.values[entry.name] = _value(entry.type)
    graph.outputs = {name: graph.value(name) for name in graph.outputs}
    return graph


def _parse(skeleton: Skeleton) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(skeleton.content)
    except DecodeError as error:
        raise TrustError(
            f"{skeleton.path} is damaged or no ONNX file: {error}",
            HINT,
        ) from None
    return model


def _outputs(graph: onnx.GraphProto) -> tuple[Given, ...]:
    within = {name for node in graph.node for name in node.input}
    places = {
        node.output[0]: at
        for at, node in enumerate(graph.node)
        if node.output and node.op_type != "Constant" and node.output[0] not in within
    }
    return tuple(Given(entry.name, _value(entry.type), places.get(entry.name)) for entry in graph.output)


def _value(kind: onnx.TypeProto) -> Value:
    tensor = kind.tensor_type
    if not kind.HasField("tensor_type"):
        return UNKNOWN
    if not tensor.HasField("shape"):
        return Value(tensor.elem_type)
    dims = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Value(tensor.elem_type, tuple(d if d is not None and d >= 0 else None for d in dims))


def _plain(attribute: onnx.AttributeProto) -> object:
    try:
        value: object = helper.get_attribute_value(attribute)
    except ValueError:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _as_tensor(attributes: Mapping[str, object]) -> onnx.TensorProto | None:
    """What a Constant node gives; None for text and sparse tensors."""
    if isinstance(tensor := attributes.get("value"), onnx.TensorProto):
        return tensor
    for name, dtype in (("value_int", np.int64), ("value_float", np.float32)):
        numbers = attributes.get(name, attributes.get(f"{name}s"))
        if numbers is not None:
            return numpy_helper.from_array(np.array(numbers, dtype))
    return None
