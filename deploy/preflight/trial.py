"""Ask a runtime that is installed here: it parses, and where it can builds, in a process of its own.

TensorRT-RTX builds ahead of time on any x86-64 Linux host without a GPU. For the GPU nearest to the board's (SM86
for Orin's 8.7, SM89 for Thor's 11.0) it says more than any table: its parser is that of a recent TensorRT. It
says nothing about operators that it lacks and the board has (those that the board's TensorRT runs as plugins);
then the answer says so.
ONNX Runtime loads the model without optimizing it, which is its own check of the schema.

``python -m jetpress.deploy.preflight.trial RUNTIME MODEL [REQUEST]`` prints one JSON object as its last line. A
hostile model can end that process, and nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from jetpress.deploy import process
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.fields import Fields, Malformed, parse
from jetpress.deploy.preflight.graph import Graph

RTX, ORT = "tensorrt_rtx", "onnxruntime"
TITLES = {RTX: "TensorRT-RTX", ORT: "ONNX Runtime"}
CAPABILITIES = ((8, 6), (8, 9), (12, 0))
"""That TensorRT-RTX builds for, and that differ in what they compute in."""
LIMIT_S = 300.0
# The child may take this much address space: more than a build needs, less than takes the machine down.
MOST_MEMORY = max(16 * 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
# How TensorRT-RTX says that it lacks something, as opposed to that the graph is wrong.
LACKING = ("plugin", "creator", "no runners that implement it")


@dataclass(frozen=True)
class Answer:
    """What a runtime made of a model."""

    by: str
    version: str = ""
    stage: str = "parse"
    """How far it came: ``parse``, ``load`` or ``build``."""
    ok: bool | None = False
    """None: it gave no answer in time."""
    lacks: bool = False
    """It failed for what it does not have, not for what the model is."""
    error: str = ""


def nearest(capability: tuple[int, int] | None) -> str:
    """The compute capability to build for in place of ``capability``: the newest that has nothing more."""
    older = [known for known in CAPABILITIES if known <= (capability or (0, 0))]
    return "{}.{}".format(*max(older, default=CAPABILITIES[0]))


def attempt(runtime: str, graph: Graph, capability: str = "8.6", limit_s: float = LIMIT_S) -> Answer | None:
    """The answer of a runtime; None where it is not installed here.

    Where later dimensions than the first are open, or shapes are inputs, the model is only parsed: nothing says
    which sizes they have.
    """
    if importlib.util.find_spec(runtime) is None:
        return None
    if runtime == RTX and (sys.platform != "linux" or platform.machine() != "x86_64"):
        return None
    known = {name: value.shape or () for name, value in graph.inputs.items()}
    inputs = {name: [size or 1 for size in shape] for name, shape in known.items()}
    # A list of integers is most often a shape, and a builder wants its values, which nobody has here.
    shapes = any(len(value.shape or ()) < 2 and value.kind in (6, 7) for value in graph.inputs.values())
    build = not shapes and all(None not in shape[1:] for shape in known.values())
    request = json.dumps({"inputs": inputs, "build": build, "ahead": [capability]})
    # -P: modules in the folder where the user stands are not ours.
    command = [
        sys.executable,
        "-P",
        "-m",
        "jetpress.deploy.preflight.trial",
        runtime,
        str(graph.path),
        request,
    ]
    try:
        done = process.execute(command, TITLES[runtime], process.Terms(timeout=limit_s))
    except DeviceError as error:
        return Answer(TITLES[runtime], ok=None, error=error.what)
    try:
        answer = _read(TITLES[runtime], done.stdout.strip().rpartition("\n")[2])
    except Malformed:
        reason = done.stderr.strip().rpartition("\n")[2][:300] or "no reason given"
        return Answer(TITLES[runtime], error=f"it ended with code {done.returncode}: {reason}")
    return replace(answer, lacks=runtime == RTX and any(word in answer.error for word in LACKING))


def _read(title: str, line: str) -> Answer:
    """The last line of the process that took the model: whatever is in it, the model may have written it."""
    fields = Fields(parse(line) or {})
    return Answer(
        title, fields.text("version"), fields.text("stage"), fields.flag("ok"), error=fields.text("error")
    )


def main(arguments: list[str]) -> int:
    """The far end: load, parse or build."""
    runtime, model, request = arguments
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    print(json.dumps(_rtx(model, json.loads(request)) if runtime == RTX else _ort(model)))
    return 0


def _ort(model: str) -> dict[str, object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Folding constants would compute, and a hostile constant is large.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    base = {"version": onnxruntime.__version__, "stage": "load"}
    try:
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its errors have no common base
        return {**base, "ok": False, "error": str(error)[:500]}
    return {**base, "ok": True, "error": ""}


class Request(TypedDict):
    """What TensorRT-RTX is to do with a model."""

    inputs: dict[str, list[int]]
    build: bool
    ahead: list[str]


def _rtx(model: str, request: Request) -> dict[str, object]:
    from jetpress.deploy.runner.backend_tensorrt import load_library, make_log
    from jetpress.deploy.runner.failures import RunnerError
    from jetpress.deploy.runner.manifest import Input
    from jetpress.deploy.runner.settings import Settings
    from jetpress.deploy.runner.tensorrt_build import build_engine
    from jetpress.deploy.runner.tensorrt_errors import last_errors

    trt = load_library(RTX)
    log = make_log(trt)
    base = {"version": str(trt.__version__), "stage": "build" if request["build"] else "parse"}
    try:
        if request["build"]:
            inputs = [Input(name, shape) for name, shape in request["inputs"].items()]
            settings = Settings(Path(model).name, "fp32", inputs)
            plan, _ = build_engine(trt, log, model, settings, request["ahead"])
            error = "" if plan is not None else last_errors(log.recorder)[:500]
            return {**base, "ok": plan is not None, "error": error}
        builder = trt.Builder(log)  # must live as long as its network
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, log)
        ok = parser.parse_from_file(model)
        faults = "; ".join(parser.get_error(at).desc() for at in range(parser.num_errors))
        return {**base, "ok": ok, "error": faults[:500]}
    except RunnerError as failure:
        stage = "parse" if "cannot parse" in failure.what else "build"
        return {**base, "stage": stage, "ok": False, "error": failure.what[:500]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
