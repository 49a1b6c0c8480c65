"""The verdict on a model for a target: everything that the preflight knows, asked in turn.

First :mod:`jetpress.deploy.onnx_file.guard` looks at the bytes of the file, then single nodes are judged
(:mod:`jetpress.deploy.preflight.support`). Opset, inputs and outputs, memory, 2:4 sparsity and the DLA follow. With
``trial`` a runtime that is installed here parses and builds the model (:mod:`jetpress.deploy.preflight.trial`).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import dla, elements, memory, operators, sparse, support
from jetpress.deploy.preflight import trial as trials
from jetpress.deploy.preflight.graph import Graph, inferred
from jetpress.deploy.preflight.operators import Table
from jetpress.deploy.preflight.verdict import Collector, Verdict, explain
from jetpress.deploy.targets import Target, find, version_of


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
    return judge(inferred(guard.check_onnx(model_path.resolve())), target, precision=precision, trial=trial)


def judge(
    graph: Graph, target: Target, *, precision: str | None = None, trial: bool | None = None
) -> Verdict:
    """The same of a graph that was read already; see :func:`preflight`."""
    problems = Collector()
    precision = precision or target.default_precision
    table = operators.table(target.tensorrt) if target.runtime.preflight == "tables" else None
    counts = {"supported": 0, "restricted": 0, "not supported": 0}
    _whole(graph, problems)
    if table is not None:
        _io(graph, table, problems)
        for node in graph.nodes:
            counts[support.of_node(graph, node, table, problems)] += 1
        _opset(graph, target, table, problems)
        support.large_constants(graph, table, problems)
    else:
        counts["supported"] = len(graph.nodes)
    _precision(graph, target, precision, table, problems)
    need = _memory(graph, target, precision, problems)
    sparsity = _sparsity(graph, target, precision, problems)
    share = _dla(graph, target, precision, problems)
    answer = _trial(graph, target, trial, problems)
    return Verdict(
        model=graph.path.name,
        target=target.name,
        backend=target.backend,
        tensorrt=target.tensorrt,
        table=table.name if table else "",
        derived=table.derived if table else False,
        precision=precision,
        opset=graph.opset,
        ir_version=graph.ir_version,
        nodes=counts,
        problems=problems.worst_first(),
        memory=need,
        sparsity=sparsity,
        dla=share,
        trial=answer,
    )


def report_lines(
    path: Path, target_name: str, *, trial: bool = True
) -> tuple[list[str], dict[str, object], bool]:
    """For ``jetpress check MODEL --target NAME``: lines for people, JSON for programs, whether it is ok."""
    verdict = preflight(path, find(target_name), trial=trial)
    return explain(verdict), {**asdict(verdict), "ok": verdict.ok}, verdict.ok


def _whole(graph: Graph, problems: Collector) -> None:
    """What makes a graph wrong for every runtime."""
    unknown = sum(graph.value(name).shape is None for node in graph.nodes for name in node.outputs if name)
    if unknown:
        what = f"the shapes of {unknown} tensors are not known: what depends on them was not looked at"
        problems.add("note", "shape", what)
    for name in sorted(graph.twice):
        problems.add("error", "graph", f"two values are called {name!r}", "export the network again")
    for node in graph.nodes:
        if any(name and name not in graph.given and name not in graph.producers for name in node.inputs):
            what = "an input of it is computed nowhere"
            problems.add("error", "graph", what, "export the network again", node.op, node.name)


def _opset(graph: Graph, target: Target, table: Table, problems: Collector) -> None:
    """A newer opset matters where a node uses what came later."""
    oldest, newest = table.opsets
    remedy = f"`jetpress engine MODEL --target {target.name}` lowers it, or export at opset {target.opset}"
    if graph.opset < oldest:
        what = f"opset {graph.opset} is older than {oldest}, the oldest that TensorRT {table.name} reads"
        problems.add("warning", "opset", what, remedy)
    if graph.ir_version > target.ir_version:
        what = f"IR version {graph.ir_version} is newer than this TensorRT's ONNX; it does not look at it"
        problems.add("note", "opset", what)
    if graph.opset <= newest:
        return
    what = f"opset {graph.opset} is newer than {newest}, the newest that TensorRT {table.name} reads"
    if any(problem.about == "opset" and problem.op for problem in problems.worst_first()):
        problems.add("error", "opset", what, remedy)
    else:
        problems.add("warning", "opset", f"{what}; no node uses what came later", remedy)


def _io(graph: Graph, table: Table, problems: Collector) -> None:
    for name, value in {**graph.inputs, **graph.outputs}.items():
        if about := elements.io_type(value.kind, table.version):
            where = "input" if name in graph.inputs else "output"
            problems.add(about.level, "io", about.what, about.remedy, f"{where} {name}")
    for name, value in graph.inputs.items():
        if value.open:
            dims = [size or "?" for size in value.shape or ()]
            what = f"its shape {dims} is open: the engine needs a profile (min, opt and max shape)"
            problems.add(
                "note",
                "io",
                what,
                f"`jetpress engine --shape {name}=MIN:OPT:MAX` sets one (in a recipe export.dynamic_batch does)",
                f"input {name}",
            )


def _precision(
    graph: Graph, target: Target, precision: str, table: Table | None, problems: Collector
) -> None:
    if precision not in target.precisions:
        what = f"{target.title} does not compute in {precision}"
        problems.add("error", "precision", what, f"choose one of {', '.join(target.precisions)}")
    kinds = {value.kind for value in graph.values.values()}
    kinds |= {tensor.data_type for tensor in graph.constants.values()}
    if elements.FP8 in kinds and target.why_not_fp8:
        problems.add("error", "precision", f"the graph has FP8: {target.why_not_fp8}", 'quantize to "int8"')
    if table is None or table.version < (11, 0) or precision == "fp32":
        return
    if precision == "fp16" and 10 not in kinds:
        what = "TensorRT 11 takes types from the graph, and this one has no FP16: it runs in FP32"
        problems.add("warning", "precision", what, 'export with precision = "fp16"')


def _memory(graph: Graph, target: Target, precision: str, problems: Collector) -> memory.Need:
    need, ram = memory.estimate(graph, precision), int(target.ram_gb * 2**30)
    if ram and need.building + memory.SYSTEM > ram:
        system = memory.shown(memory.SYSTEM)
        what = f"to build it takes about {memory.shown(need.building)} beside {system} for the system (an estimate)"
        has = f"{target.title} has {memory.shown(ram)}"
        problems.add("warning", "memory", f"{what}; {has}", "add swap, or take a smaller network or batch")
    return need


def _sparsity(graph: Graph, target: Target, precision: str, problems: Collector) -> sparse.Layers | None:
    try:
        layers = sparse.count(graph, target, precision)
    except (TypeError, ValueError, LookupError):
        return None
    if layers.are:
        how = f"{layers.are} of {layers.layers} layers with weights are 2:4 sparse"
        if target.why_not_sparse:
            problems.add("warning", "sparsity", f"{how}; {target.why_not_sparse}", "prune channels instead")
        else:
            gain = f"{layers.can_pay} of them large enough to gain from it; TensorRT times both"
            problems.add("note", "sparsity", f"{how}, {gain}")
    return layers


def _dla(graph: Graph, target: Target, precision: str, problems: Collector) -> dla.Share | None:
    if not target.dla:
        return None
    try:
        share = dla.estimate(graph, target.compute_capability, target.tensorrt)
    except (TypeError, ValueError, LookupError):
        return None
    if precision == "fp32":
        share = replace(share, on_dla=0, pieces=0)
    left = ", ".join(f"{op} ({count})" for op, count in list(share.fallback.items())[:4])
    pieces = f"{share.pieces} piece{'' if share.pieces == 1 else 's'}"
    how = "an estimate" if version_of(target.tensorrt) < dla.LITTLE_KNOWN_SINCE else dla.LITTLE_KNOWN
    what = f"the DLA could take {share.on_dla} of {share.nodes} nodes in {pieces} ({how})"
    problems.add("note", "dla", f"{what}; the GPU takes {left}" if left else what)
    return share


def _trial(graph: Graph, target: Target, asked: bool | None, problems: Collector) -> trials.Answer | None:
    """A runtime's own answer. It decides where it is the target; elsewhere it is a second opinion."""
    own = target.runtime.preflight == "trial"
    runtime = target.backend if own else target.runtime.second_opinion
    if not runtime or (asked is None and not own):
        return None
    if asked is False:
        problems.add("note", "trial", f"{BACKENDS[runtime].title} was not asked: --no-trial")
        return None
    nearest = trials.nearest(target.compute_capability)
    answer = trials.attempt(runtime, graph, nearest)
    if answer is None:
        problems.add("note", "trial", f"{BACKENDS[runtime].title} is not installed here: it was not asked")
        return None
    by, error = f"{answer.by} {answer.version}".strip(), answer.error or "no reason given"
    if answer.ok:
        built = BACKENDS[runtime].ahead_of_time and answer.stage == "build"
        where = f"here for compute capability {nearest}" if built else "here"
        problems.add("note", "trial", f"{by} could {answer.stage} it {where}")
    elif answer.ok is None:
        remedy = "build on the target and see; `--no-trial` leaves this out"
        problems.add("warning", "trial", f"not tried to the end: {error}", remedy)
    elif answer.lacks and not own:
        what = f"{by} lacks what this needs, which says nothing about the board: {error}"
        problems.add("note", "trial", what)
    else:
        problems.add("error" if own else "warning", "trial", f"{by} cannot {answer.stage} it: {error}")
    return answer
