"""Single nodes held against the operator table of a TensorRT: does it take them, and on which conditions?"""

from __future__ import annotations

from jetpress.deploy.preflight import elements, importers, operators, quantization, restrictions
from jetpress.deploy.preflight.finding import Finding
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.preflight.operators import SHIPPED_PLUGINS, Row, Table
from jetpress.deploy.preflight.opset import needs_newer
from jetpress.deploy.preflight.verdict import Collector

BY_NAME = frozenset({("com.microsoft", "Gelu")})
"""The importers go by an operator's name and look at no domain: these mean the same as ONNX's."""
MOST_RANK = 8
"""nvinfer1::Dims::MAX_DIMS."""


def of_node(graph: Graph, node: Node, table: Table, problems: Collector) -> str:
    """Say what is to be said of one node; whether it is supported."""
    if (node.domain, node.op) in graph.functions:
        if table.version >= (9, 0):
            return "supported"
        what = "it is a function of the model, which TensorRT 8 does not read"
        problems.add("error", "operator", what, "inline it (onnx.inliner)", node.op, node.name, node.module)
        return "not supported"
    row = table.rows.get(node.op) if not node.domain or (node.domain, node.op) in BY_NAME else None
    if row is None:
        problems.add(*_unknown(node, table), node.op, node.name, node.module)
        return "restricted" if node.op in SHIPPED_PLUGINS else "not supported"
    state = "supported"
    for about, finding in _findings(graph, node, row, table):
        problems.add(finding.level, about, finding.what, finding.remedy, node.op, node.name, node.module)
        state = "restricted"
    return state


def _findings(graph: Graph, node: Node, row: Row, table: Table) -> list[tuple[str, Finding]]:
    try:
        return [
            *_conditions(graph, node, row, table),
            *(("quantization", finding) for finding in quantization.rules(graph, node, table.version)),
            *(("shape", finding) for finding in _ranks(graph, node)),
            *(("type", finding) for finding in _constants(graph, node)),
            *(("opset", finding) for finding in _newer(graph, node, table)),
        ]
    except (TypeError, ValueError, LookupError, AttributeError):  # attributes of the wrong kind
        return [("graph", Finding("error", "its attributes are not those of this operator", "export again"))]


def _conditions(graph: Graph, node: Node, row: Row, table: Table) -> list[tuple[str, Finding]]:
    """By the importers' source, and where that has nothing against the node by NVIDIA's table."""
    found = [("importer", finding) for finding in importers.violations(graph, node, table.version)]
    if not found:
        found += [("type", finding) for finding in elements.node_types(graph, node, row, table.version)]
        found += [("condition", finding) for finding in restrictions.violations(graph, node, row)]
    return found


def _unknown(node: Node, table: Table) -> tuple[str, str, str, str]:
    """Level, kind, reason and remedy for an operator without a row."""
    if node.op in SHIPPED_PLUGINS and table.version >= (11, 0):
        what = f"nobody here knows whether the plugin library of TensorRT {table.name} still has it"
        return "warning", "operator", what, "build it and see, or end the graph with NonMaxSuppression"
    if node.op in SHIPPED_PLUGINS:
        what = "it is a plugin, which TensorRT's own plugin library has"
        return (
            "warning",
            "operator",
            what,
            "load libnvinfer_plugin before the engine, as jetpress's runner does",
        )
    if node.domain:
        what = f"{node.domain}.{node.op} is not of ONNX: TensorRT needs a plugin {node.op!r}"
        return "error", "operator", what, "load the plugin on the board, or replace the layer"
    first = operators.since(node.op)
    others = f"{first} is the first that does" if first else f"nor does any up to {operators.NEWEST}"
    return "error", "operator", f"TensorRT {table.name} does not take it, {others}", operators.remedy(node.op)


def _ranks(graph: Graph, node: Node) -> list[Finding]:
    rank = max((len(graph.value(name).shape or ()) for name in node.outputs), default=0)
    if rank <= MOST_RANK:
        return []
    what = f"its output has {rank} dimensions, and TensorRT has {MOST_RANK} at most"
    return [Finding("error", what, "merge dimensions before it")]


def _constants(graph: Graph, node: Node) -> list[Finding]:
    """Constants whose type no version has (onnx-tensorrt, convertOnnxWeights)."""
    kinds = {graph.constants[name].data_type for name in node.inputs if name in graph.constants}
    what = [elements.spelt(kind) for kind in kinds if kind not in elements.NAMES]
    return [
        Finding("error", f"a constant of it is {one}, which TensorRT has not", "store it as INT32")
        for one in what
    ]


def _newer(graph: Graph, node: Node, table: Table) -> list[Finding]:
    newest = table.opsets[1]
    if graph.opset <= newest:
        return []
    what = needs_newer(node, graph.opset, newest, importers.taken(graph, node, table.version))
    return [Finding("error", what, f"export at opset {newest} or older")] if what else []


def large_constants(graph: Graph, table: Table, problems: Collector) -> None:
    """TensorRT 8 clamps INT64 to INT32. For the end of a Slice that means the same; elsewhere it may not."""
    if table.version >= (9, 0):
        return
    for node in graph.nodes:
        for name in node.inputs if node.op != "Slice" else ():
            tensor = graph.constants.get(name)
            array = graph.array(name) if tensor is not None and tensor.data_type == elements.INT64 else None
            if array is not None and array.size and max(-int(array.min()), int(array.max())) >= 2**31:
                what = "a constant of it does not fit into INT32, and TensorRT 8 clamps it"
                problems.add("warning", "type", what, "use smaller numbers", node.op, node.name, node.module)
