"""TensorRT 8.0 to 11.x and TensorRT-RTX: one dialect, asked by capability.

Versions are never compared and enum numbers never stored: what differs between versions is asked with
`hasattr`. tests/deploy/runner/tensorrt/test_api.py walks this file and ../tensorrt/ (build.py, dla.py, errors.py,
io.py, session.py), and holds each attribute of `trt`, `builder`, `config`, `network`, `parser`,
`profile`, `engine`, `context`, `runtime`, `flag`, `typing`, `verbosity`, `tensor`, `layer`, `fault`, `inspector` and
`cache` against the tables of every version; keep these names for these objects, and use them for nothing else.
"""

import glob
import importlib
import os
import signal
import time
from types import ModuleType
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from ..board import memory
from ..board.identity import Board
from ..cuda import gpu
from ..interface import knobs
from ..interface.settings import Input, Settings
from ..interface.timings import Timings
from ..system.events import tell
from ..system.failures import DeviceError, NoGpu, ToolMissing
from ..system.files import write
from ..system.remedies import remedy_of
from ..tensorrt import findings
from ..tensorrt.build import Built, build_engine
from ..tensorrt.errors import last_errors, make_recorder
from ..tensorrt.session import Session

if TYPE_CHECKING:
    from tensorrt import IHostMemory, ILogger

LOG_LINES = 20000  # a builder can be very talkative
ERRORS = ("ERROR", "INTERNAL_ERROR")


def open_backend(plan: Dict[str, object]) -> "Backend":
    """The board's own TensorRT."""
    return Backend(plan, "tensorrt")


class Backend:
    """Builds and opens engines of a library; `ahead`: the compute capabilities that it builds for without a GPU."""

    suffix = ".engine"

    def __init__(self, plan: Dict[str, object], name: str, ahead: Sequence[str] = ()) -> None:
        self.name = name
        self.trt = load_library(name)
        self.version = str(self.trt.__version__)
        self.ahead = list(ahead)
        self.keeps_timings = not self.ahead  # they are taken where the engine will run
        self.shows_progress = hasattr(self.trt, "IProgressMonitor")
        self.gpu: Optional["gpu.Gpu"] = None
        try:
            self.gpu = gpu.connect()  # before TensorRT: it uses the context that is current
        except NoGpu:
            if not self.ahead:
                raise
        self.device = self.gpu.facts() if self.gpu else {"name": None, "compute_capability": None}
        self.log = make_log(self.trt)
        self.running = knobs.of(plan)
        self.knobs: Dict[str, object] = dict(self.running, threads=1, streams=1)

    def build(
        self, model: str, settings: Settings, draft: str, timings: Optional[Timings]
    ) -> Dict[str, object]:
        """Build one engine and leave it at `draft`; what came out, and what the builder said."""
        started, first = time.time(), len(self.log.lines)
        self.log.recorder.clear()
        try:
            with _quick_interrupt():
                plan, built, workspace = self._built(model, settings, timings)
        except (RuntimeError, TypeError) as error:  # what pybind raises when a C++ factory gives nothing
            raise DeviceError(
                "%s %s failed: %s" % (self.name, self.version, last_errors(self.log.recorder) or error),
                "see TensorRT's lines above",
            )
        lines = self.log.lines[first:]
        if plan is None:
            raise _build_failure(self.name, self.version, lines, last_errors(self.log.recorder))
        write(draft, plan)
        if settings.precision == "fp16" and built.strongly_typed and "HALF" not in built.types:
            tell(
                "warning: %s %s takes types from the graph, and this one has no FP16 tensor: it runs in FP32"
                % (self.name, self.version)
            )
        return dict(
            built._asdict(),
            workspace_mb=workspace,
            build_seconds=time.time() - started,
            findings=findings.read(lines),
            warnings=[line for line in lines if line.startswith(("WARNING", "ERROR"))][:20],
        )

    def _built(
        self, model: str, settings: Settings, timings: Optional[Timings]
    ) -> Tuple[Optional["IHostMemory"], Built, Optional[int]]:
        """With the workspace of the plan; on a board whose memory is shared by default with a share of what is free,
        and with half of it again as long as a build fails for memory. The last one's size in MiB, too."""
        limit, fixed = settings.workspace_mb, settings.workspace_mb is not None
        if not fixed and self.device.get("integrated"):
            free = memory.look(Board())
            limit = memory.workspace(free)
            size = sum(
                os.path.getsize(path) for path in glob.glob(glob.escape(model) + "*")
            )  # weights beside it, too
            said = memory.warning(size, limit or 0, free)
            if said:
                tell(said)
        while True:
            first = len(self.log.lines)
            asked = settings._replace(workspace_mb=limit)
            plan, built = build_engine(self.trt, self.log, model, asked, self.ahead, timings)
            errors = [line for line in self.log.lines[first:] if line.startswith(ERRORS)]
            said = "\n".join([*errors, last_errors(self.log.recorder)])
            if plan is not None or fixed or not limit or limit < 2 * memory.LEAST_MB or not _for_memory(said):
                return plan, built, limit
            limit //= 2
            tell("warning: the build ran out of memory; it is tried again with %d MiB of workspace" % limit)
            self.log.recorder.clear()

    def inspect(
        self, engine: str, inputs: List[Input], dla_core: Optional[int] = None
    ) -> Optional[Dict[str, object]]:
        """The engine's account of its layers; None where it cannot be loaded or TensorRT cannot tell."""
        if self.gpu is None or self.ahead:
            return None
        return Session(self.trt, self.log, self.gpu, engine, inputs, dla_core=dla_core).layers()

    def load(
        self, engine: str, inputs: List[Input], dla_core: Optional[int] = None, mapped: bool = False
    ) -> Session:
        """A session on an engine whose digest and stamp have been checked."""
        if self.gpu is None:
            self.gpu = gpu.connect()  # says what is missing
        return Session(self.trt, self.log, self.gpu, engine, inputs, self.running, dla_core, mapped)


def load_library(name: str) -> ModuleType:
    """Import tensorrt, or explain what keeps it from being imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise ToolMissing("%s cannot be imported: %s" % (name, error), remedy_of(name, str(error)))


def make_log(trt: ModuleType) -> "ILogger":
    """A logger that keeps warnings, errors and the lines that `findings` reads, and shows them to people."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: List[str] = []
            self.recorder = make_recorder(trt)

        def log(self, severity: object, message: str) -> None:
            level = str(getattr(severity, "name", severity))
            serious = level in ("INTERNAL_ERROR", "ERROR", "WARNING")
            if (serious or findings.of_interest(message)) and len(self.lines) < LOG_LINES:
                self.lines.append("%s: %s" % (level, message))
                if serious:
                    tell("  [%s] %s" % (level, message[:500]))

    return Log()


class _quick_interrupt:  # noqa: N801 - used as a statement
    """Ctrl-C inside TensorRT: an exception may not cross its C++ frames, so the process leaves at once."""

    def __enter__(self) -> None:
        self.before = signal.getsignal(signal.SIGINT)
        try:
            signal.signal(signal.SIGINT, _leave)
        except ValueError:  # not the main thread: then nobody sends us Ctrl-C either
            self.before = None

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)


def _leave(*_: object) -> None:
    tell("interrupted")
    os._exit(130)


def _for_memory(said: str) -> bool:
    return "memory" in said.lower()


def _build_failure(name: str, version: str, lines: List[str], recorded: str) -> DeviceError:
    errors = [line for line in lines if line.startswith(ERRORS)]
    lines = [*lines, recorded]
    reason = recorded or "; ".join(errors[-3:]) or "no reason given"
    return DeviceError(
        "%s %s did not build an engine: %s" % (name, version, reason),
        memory.advice(memory.look(Board()))
        if _for_memory("\n".join(lines))
        else "the lines above are TensorRT's own; `jetpress check` may name the operator",
    )
