"""Ask a runtime that is installed here: it parses, and where it can builds, in a process of its own.

TensorRT-RTX builds ahead of time on any x86-64 Linux host without a GPU. For the GPU nearest to the board's (SM86
for Orin's 8.7, SM89 for Thor's 11.0) it says more than any table: its parser is that of a recent TensorRT. It
says nothing about operators that it lacks and the board has (those that the board's TensorRT runs as plugins);
then the answer says so.
What is asked of a backend is `attempt` in its file (deploy/runner/backends/NAME.py).

``python -m jetpress.deploy.preflight.trial RUNTIME MODEL [REQUEST]`` prints one JSON object as its last line. A
hostile model can end that process, and nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
from dataclasses import dataclass, replace

from jetpress.deploy import process
from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.console import milestone, progress
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.fields import Fields, Malformed, parse
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.runner.backends import module_of

CAPABILITIES = ((8, 6), (8, 9), (12, 0))
"""That TensorRT-RTX builds for, and that differ in what they compute in."""
LIMIT_S = 60.0
MOST_MEMORY = 4 * 2**30
"""Bytes of address space for the process that tries, and three times the weights: more than a build needs, less than
takes the machine down."""
OUT_OF_MEMORY = (
    "bad_alloc",
    "MemoryError",
    "out of memory",
    "OutOfMemory",
    "Failed to allocate",
    "Cannot allocate memory",
    "map segment",
)


@dataclass(frozen=True)
class Answer:
    """What a runtime made of a model."""

    by: str
    version: str = ""
    stage: str = "parse"
    """How far it came: ``parse``, ``load`` or ``build``."""
    ok: bool | None = False
    """None: it gave no answer in the time and memory that it may take."""
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
    if importlib.util.find_spec(BACKENDS[runtime].module) is None:
        return None
    known = {name: value.shape or () for name, value in graph.inputs.items()}
    inputs = {name: [size or 1 for size in shape] for name, shape in known.items()}
    # A list of integers is most often a shape, and a builder wants its values, which nobody has here.
    shapes = any(len(value.shape or ()) < 2 and value.kind in (6, 7) for value in graph.inputs.values())
    build = not shapes and all(None not in shape[1:] for shape in known.values())
    memory = MOST_MEMORY + 3 * graph.weight_bytes
    request = json.dumps({"inputs": inputs, "build": build, "ahead": [capability], "memory": memory})
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
    title = BACKENDS[runtime].title
    ahead = BACKENDS[runtime].ahead_of_time
    does = "loads" if not ahead else "builds" if build else "parses"
    what = f"{title} {does} it here, in at most {limit_s:.0f} s and {memory / 2**30:.1f} GiB"
    if ahead:
        milestone(f"    {what}")
    try:
        with progress(what):
            done = process.execute(command, title, process.Terms(timeout=limit_s))
    except DeviceError as error:
        return Answer(title, ok=None, error=error.what)
    try:
        answer = _read(title, done.stdout.strip().rpartition("\n")[2])
    except Malformed:
        reason = done.stderr.strip().rpartition("\n")[2][:300] or "no reason given"
        answer = Answer(title, error=f"it ended with code {done.returncode}: {reason}")
    if not answer.ok and any(word in f"{answer.error} {done.stderr}" for word in OUT_OF_MEMORY):
        return replace(
            answer, ok=None, error=f"{title} did not finish within {memory / 2**30:.1f} GiB of memory"
        )
    return answer


def _read(title: str, line: str) -> Answer:
    """The last line of the process that took the model: whatever is in it, the model may have written it."""
    fields = Fields(parse(line) or {})
    return Answer(
        by=title,
        version=fields.text("version"),
        stage=fields.text("stage"),
        ok=fields.flag("ok"),
        lacks=fields.flag("lacks"),
        error=fields.text("error"),
    )


def main(arguments: list[str]) -> int:
    """The far end: load, parse or build."""
    runtime, model, request = arguments
    asked = json.loads(request)
    resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    print(json.dumps(module_of(runtime).attempt(model, asked)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
