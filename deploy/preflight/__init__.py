"""Will this graph run on that TensorRT? Said in a second on the host, not in an hour on the board.

``preflight(model, target)`` works on any ONNX file. First :mod:`jetpress.deploy.onnx_file.guard` looks at its bytes.
Then every node is held against the operator table of the target's TensorRT
(:mod:`jetpress.deploy.preflight.operators`), the conditions in it (:mod:`jetpress.deploy.preflight.restrictions`) and
what its importers do with quantization (:mod:`jetpress.deploy.preflight.quantization`). Opset, inputs and outputs,
memory, 2:4 sparsity and the DLA follow. With ``trial`` a runtime that is installed here parses and builds the model
(:mod:`jetpress.deploy.preflight.trial`).

What it does not do: prove that the engine will build. Tables are what NVIDIA publishes, and a builder can
fail for reasons that no table has.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import dla, elements, memory, operators, quantization, restrictions, sparse
from jetpress.deploy.preflight import trial as trials
from jetpress.deploy.preflight.graph import Graph, Node, inferred
from jetpress.deploy.preflight.operators import SHIPPED_PLUGINS, Row, Table
from jetpress.deploy.preflight.opset import needs_newer
from jetpress.deploy.preflight.restrictions import Said
from jetpress.deploy.preflight.verdict import Collector, Verdict, explain
from jetpress.deploy.targets import Target, find

MOST_RANK = 8
"""nvinfer1::Dims::MAX_DIMS."""


def preflight(
    model_path: Path, target: Target, *, precision: str | None = None, trial: bool | None = None
) -> Verdict:
    """The verdict on a model for a target.

    Args:
        model_path: any ONNX file; weights may lie in files beside it.
        target: from :mod:`jetpress.deploy.targets`.
        precision: what the engine will run in; None for the target's default.
        trial: also ask a runtime that is installed here. None: where the target is that runtime.

    Raises:
        TrustError: the file is hostile or damaged; nothing but our own byte reader has seen it.
        RecipeError: there is no such file, or the target's TensorRT is older than any that is known.
    """
    if not model_path.is_file():
        raise RecipeError(f"there is no file {model_path}", "give the path of an ONNX file")
    graph, said = inferred(guard.check_onnx(model_path.resolve())), Collector()
    precision = precision or target.default_precision
    table = operators.table(target.tensorrt) if target.runtime.preflight == "tables" else None
    counts = {"supported": 0, "restricted": 0, "not supported": 0}
    _whole(graph, said)
    if table is not None:
        _io(graph, table, said)
        for node in graph.nodes:
            counts[_node(graph, node, table, said)] += 1
        _opset(graph, target, table, said)
        _large_constants(graph, table, said)
    else:
        counts["supported"] = len(graph.nodes)
    _precision(graph, target, precision, table, said)
    facts: dict[str, Any] = {
        "memory": _memory(graph, target, precision, said),
        "sparsity": _sparsity(graph, target, precision, said),
        "dla": _dla(graph, target, precision, said),
        "trial": _trial(graph, target, trial, said),
    }
    return Verdict(
        model=model_path.name,
        target=target.name,
        backend=target.backend,
        tensorrt=target.tensorrt,
        table=table.name if table else "",
        derived=table.derived if table else False,
        precision=precision,
        opset=graph.opset,
        ir_version=graph.ir_version,
        nodes=counts,
        problems=said.problems(),
        **facts,
    )


def report_lines(
    path: Path, target_name: str, *, trial: bool = True
) -> tuple[list[str], dict[str, Any], bool]:
    """For ``jetpress check MODEL --target NAME``: lines for people, JSON for programs, whether it is ok."""
    verdict = preflight(path, find(target_name), trial=trial)
    return explain(verdict), {**asdict(verdict), "ok": verdict.ok}, verdict.ok


def _whole(graph: Graph, said: Collector) -> None:
    """What makes a graph wrong for every runtime."""
    unknown = sum(graph.value(name).shape is None for node in graph.nodes for name in node.outputs if name)
    if unknown:
        what = f"the shapes of {unknown} tensors are not known: what depends on them was not looked at"
        said.add("note", "shape", what)
    for name in sorted(graph.twice):
        said.add("error", "graph", f"two values are called {name!r}", "export the network again")
    for node in graph.nodes:
        if any(name and name not in graph.given and name not in graph.producers for name in node.inputs):
            what = "an input of it is computed nowhere"
            said.add("error", "graph", what, "export the network again", node.op, node.name)


def _opset(graph: Graph, target: Target, table: Table, said: Collector) -> None:
    """A newer opset matters where a node uses what came later."""
    oldest, newest = table.opsets
    remedy = f"export at opset {target.opset}: `jetpress run --target {target.name}` does"
    if graph.opset < oldest:
        what = f"opset {graph.opset} is older than {oldest}, the oldest that TensorRT {table.name} reads"
        said.add("warning", "opset", what, remedy)
    if graph.ir_version > target.ir_version:
        what = f"IR version {graph.ir_version} is newer than this TensorRT's ONNX; it does not look at it"
        said.add("note", "opset", what)
    if graph.opset <= newest:
        return
    what = f"opset {graph.opset} is newer than {newest}, the newest that TensorRT {table.name} reads"
    if any(one.about == "opset" and one.op for one in said.found.values()):
        said.add("error", "opset", what, remedy)
    else:
        said.add("warning", "opset", f"{what}; no node uses what came later", remedy)


def _io(graph: Graph, table: Table, said: Collector) -> None:
    for name, value in {**graph.inputs, **graph.outputs}.items():
        if about := elements.io_type(value.kind, table.version):
            where = "input" if name in graph.inputs else "output"
            said.add(about.level, "io", about.what, about.remedy, f"{where} {name}")
    for name, value in graph.inputs.items():
        if value.open:
            dims = [size or "?" for size in value.shape or ()]
            what = f"its shape {dims} is open: the engine needs a profile (min, opt and max shape)"
            said.add("note", "io", what, "export.dynamic_batch and export.max_batch set one", f"input {name}")


def _node(graph: Graph, node: Node, table: Table, said: Collector) -> str:
    """Say what is to be said of one node; whether it is supported."""
    if (node.domain, node.op) in graph.functions:
        if table.version >= (9, 0):
            return "supported"
        what = "it is a function of the model, which TensorRT 8 does not read"
        said.add("error", "operator", what, "inline it (onnx.inliner)", node.op, node.name, node.module)
        return "not supported"
    row = None if node.domain else table.rows.get(node.op)
    if row is None:
        said.add(*_unknown(node, table), node.op, node.name, node.module)
        return "restricted" if node.op in SHIPPED_PLUGINS else "not supported"
    state = "supported"
    for kind, about in _about(graph, node, row, table):
        said.add(about.level, kind, about.what, about.remedy, node.op, node.name, node.module)
        state = "restricted"
    return state


def _about(graph: Graph, node: Node, row: Row, table: Table) -> list[tuple[str, Said]]:
    try:
        return [
            *(("type", one) for one in elements.node_types(graph, node, row, table.version)),
            *(("condition", one) for one in restrictions.violations(graph, node, row)),
            *(("quantization", one) for one in quantization.rules(graph, node, table.version)),
            *(("shape", one) for one in _ranks(graph, node)),
            *(("opset", one) for one in _newer(graph, node, table)),
        ]
    except (TypeError, ValueError, LookupError, AttributeError):  # attributes of the wrong kind
        return [("graph", Said("error", "its attributes are not those of this operator", "export again"))]


def _unknown(node: Node, table: Table) -> tuple[str, str, str, str]:
    """Level, kind, reason and remedy for an operator without a row."""
    if node.op in SHIPPED_PLUGINS:
        what = "it is a plugin, which TensorRT's own plugin library has"
        return "warning", "operator", what, "load libnvinfer_plugin before the engine"
    if node.domain:
        what = f"{node.domain}.{node.op} is not of ONNX: TensorRT needs a plugin {node.op!r}"
        return "error", "operator", what, "load the plugin on the board, or replace the layer"
    first = operators.since(node.op)
    others = f"{first} is the first that does" if first else f"nor does any up to {operators.NEWEST}"
    return "error", "operator", f"TensorRT {table.name} does not take it, {others}", operators.remedy(node.op)


def _ranks(graph: Graph, node: Node) -> list[Said]:
    rank = max((len(graph.value(name).shape or ()) for name in node.outputs), default=0)
    if rank <= MOST_RANK:
        return []
    what = f"its output has {rank} dimensions, and TensorRT has {MOST_RANK} at most"
    return [Said("error", what, "merge dimensions before it")]


def _newer(graph: Graph, node: Node, table: Table) -> list[Said]:
    newest = table.opsets[1]
    what = needs_newer(node, graph.opset, newest) if graph.opset > newest else ""
    return [Said("error", what, f"export at opset {newest} or older")] if what else []


def _large_constants(graph: Graph, table: Table, said: Collector) -> None:
    """TensorRT 8 clamps INT64 to INT32. For the end of a Slice that means the same; elsewhere it may not."""
    if table.version >= (9, 0):
        return
    for node in graph.nodes:
        for name in node.inputs if node.op != "Slice" else ():
            tensor = graph.constants.get(name)
            array = graph.array(name) if tensor is not None and tensor.data_type == elements.INT64 else None
            if array is not None and array.size and max(-int(array.min()), int(array.max())) >= 2**31:
                what = "a constant of it does not fit into INT32, and TensorRT 8 clamps it"
                said.add("warning", "type", what, "use smaller numbers", node.op, node.name, node.module)


def _precision(graph: Graph, target: Target, precision: str, table: Table | None, said: Collector) -> None:
    if precision not in target.precisions:
        what = f"{target.title} does not compute in {precision}"
        said.add("error", "precision", what, f"choose one of {', '.join(target.precisions)}")
    kinds = {value.kind for value in graph.values.values()} | {
        one.data_type for one in graph.constants.values()
    }
    if elements.FP8 in kinds and target.why_not_fp8:
        said.add("error", "precision", f"the graph has FP8: {target.why_not_fp8}", 'quantize to "int8"')
    if table is None or table.version < (11, 0) or precision == "fp32":
        return
    if precision == "fp16" and 10 not in kinds:
        what = "TensorRT 11 takes types from the graph, and this one has no FP16: it runs in FP32"
        said.add("warning", "precision", what, 'export with precision = "fp16"')


def _memory(graph: Graph, target: Target, precision: str, said: Collector) -> dict[str, int]:
    found, ram = memory.estimate(graph, precision), int(target.ram_gb * 2**30)
    if ram and found["building"] + memory.SYSTEM > ram:
        need, system = memory.shown(found["building"]), memory.shown(memory.SYSTEM)
        what = f"to build it takes about {need} beside {system} for the system (an estimate)"
        has = f"{target.title} has {memory.shown(ram)}"
        said.add("warning", "memory", f"{what}; {has}", "add swap, or take a smaller network or batch")
    return found


def _sparsity(graph: Graph, target: Target, precision: str, said: Collector) -> dict[str, Any]:
    try:
        found = sparse.count(graph, target, precision)
    except (TypeError, ValueError, LookupError):
        return {}
    if found["are"]:
        how = f"{found['are']} of {found['layers']} layers with weights are 2:4 sparse"
        if target.why_not_sparse:
            said.add("warning", "sparsity", f"{how}; {target.why_not_sparse}", "prune channels instead")
        else:
            gain = f"{found['can_pay']} of them large enough to gain from it; TensorRT times both"
            said.add("note", "sparsity", f"{how}, {gain}")
    return {**found, "why_not": target.why_not_sparse}


def _dla(graph: Graph, target: Target, precision: str, said: Collector) -> dict[str, Any] | None:
    if not target.dla:
        return None
    try:
        found = dla.estimate(graph, target.compute_capability)
    except (TypeError, ValueError, LookupError):
        return None
    if precision == "fp32":
        found = {**found, "on_dla": 0, "pieces": 0}
    left = ", ".join(f"{op} ({count})" for op, count in list(found["fallback"].items())[:4])
    pieces = f"{found['pieces']} piece{'' if found['pieces'] == 1 else 's'}"
    what = f"the DLA could take {found['on_dla']} of {found['nodes']} nodes in {pieces} (an estimate)"
    said.add("note", "dla", f"{what}; the GPU takes {left}" if left else what)
    return found


def _trial(graph: Graph, target: Target, asked: bool | None, said: Collector) -> dict[str, Any] | None:
    """A runtime's own answer. It decides where it is the target; elsewhere it is a second opinion."""
    own = target.runtime.preflight == "trial"
    runtime = target.backend if own else target.runtime.second_opinion
    if asked is False or (asked is None and not own) or not runtime:
        return None
    nearest = trials.nearest(target.compute_capability)
    found = trials.attempt(runtime, graph, nearest)
    if found is None:
        said.add("note", "trial", f"{BACKENDS[runtime].title} is not installed here: it was not asked")
        return None
    by, error = f"{found['by']} {found['version']}".strip(), found["error"] or "no reason given"
    if found["ok"]:
        built = BACKENDS[runtime].ahead_of_time and found["stage"] == "build"
        where = f"here for compute capability {nearest}" if built else "here"
        said.add("note", "trial", f"{by} could {found['stage']} it {where}")
    elif found["ok"] is None:
        said.add("warning", "trial", error, "build on the target and see")
    elif found["lacks"] and not own:
        said.add("note", "trial", f"{by} lacks what this needs, which says nothing about the board: {error}")
    else:
        said.add("error" if own else "warning", "trial", f"{by} cannot {found['stage']} it: {error}")
    return found
