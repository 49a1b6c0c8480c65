"""ONNX Runtime: the host's engine is the graph as ONNX Runtime optimised it, for this CPU or this NVIDIA GPU."""

import functools
import json
import os
import platform
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from ..cuda import gpu
from ..interface.settings import Input, Settings
from ..interface.tensors import Feeds, Tensor, on_a_page
from ..interface.timings import Timings
from ..system.clock import now_ns
from ..system.failures import BundleError, DeviceError, RunnerError, ToolMissing
from ..system.remedies import pip_install

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, NodeArg, SessionOptions

    from ..interface.protocols import Request

PROVIDERS = ["CPUExecutionProvider"]
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


CUDA = "CUDAExecutionProvider"


def open_backend(plan: Dict[str, object]) -> "Backend":
    """On the CPU of this machine, or where the plan's provider is `cuda` on its GPU."""
    return Backend(plan)


def attempt(model: str, request: "Request") -> Dict[str, object]:
    """Asked by preflight: load `model` without optimizing it, which is ONNX Runtime's own check of the schema."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Folding constants would compute, and a hostile constant is large.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    answer = {"version": onnxruntime.__version__, "stage": "load", "lacks": False}
    try:
        onnxruntime.InferenceSession(model, options, providers=PROVIDERS)
    except Exception as error:  # noqa: BLE001 - its errors have no common base
        return dict(answer, ok=False, error=str(error)[:500])
    return dict(answer, ok=True, error="")


class Backend:
    """Builds and opens engines of ONNX Runtime."""

    name = "onnxruntime"
    keeps_timings = shows_progress = False
    ahead: List[str] = []  # noqa: RUF012
    suffix = ".ort.onnx"

    def __init__(self, plan: Dict[str, object]) -> None:
        # Otherwise 1.31 writes to ~/.cache, and telemetry threads run beside what is measured.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except ImportError as error:
            raise ToolMissing("onnxruntime cannot be imported: %s" % error, pip_install("onnxruntime"))
        self.ort = onnxruntime
        self.version = str(self.ort.__version__)
        asked = plan.get("threads")
        self.threads = asked if asked and isinstance(asked, int) else len(os.sched_getaffinity(0))
        self.providers: List[object] = list(PROVIDERS)
        self.device: Dict[str, object] = {"name": cpu_name(), "compute_capability": None}
        if plan.get("provider") == "cuda":
            self._on_cuda()
        self.knobs: Dict[str, object] = {
            "threads": self.threads,
            "transfers": len(self.providers) > 1,  # to the GPU and back, in every run
            "spin_wait": True,
            "cuda_graph": False,
            "overlap": False,
            "streams": 1,
        }

    def _on_cuda(self) -> None:
        """FP32 is FP32: TF32, which rounds to 10 bits, is ONNX Runtime's default there."""
        if CUDA not in self.ort.get_available_providers():
            raise ToolMissing(
                "this onnxruntime has no CUDA provider",
                pip_install("onnxruntime-gpu") + " (instead of onnxruntime), or leave build.provider out",
            )
        device = gpu.connect().facts()
        self.device = {"name": device["name"], "compute_capability": device["compute_capability"]}
        self.providers = [(CUDA, {"use_tf32": "0"})] + self.providers

    def _opened(self, model: str, options: "SessionOptions") -> "InferenceSession":
        """A session on the provider that was asked for; ONNX Runtime would go on with the CPU without a word."""
        session = self.ort.InferenceSession(model, options, providers=self.providers)
        if len(self.providers) > 1 and CUDA not in session.get_providers():
            raise DeviceError(
                "ONNX Runtime could not start its CUDA provider and fell back to the CPU",
                "its CUDA and cuDNN must be those that onnxruntime-gpu was built for; its warning says which",
            )
        return session

    def _options(self) -> "SessionOptions":
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options

    def build(
        self, model: str, settings: Settings, draft: str, timings: Optional[Timings]
    ) -> Dict[str, object]:
        """Optimise `model` for this CPU and leave the graph at `draft`; there are no timings to keep."""
        if settings.dla_core is not None:
            raise BundleError("ONNX Runtime's CPU engine has no DLA", "leave --places out")
        started = time.time()
        options = self._options()
        options.optimized_model_filepath = draft
        try:
            self._opened(model, options)
        except RunnerError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base but Exception
            raise DeviceError(
                "ONNX Runtime %s refuses the model: %s" % (self.version, error), "run `jetpress check` on it"
            )
        return {"build_seconds": time.time() - started, "flags": ["ORT_ENABLE_ALL"], "findings": None}

    def inspect(
        self, engine: str, inputs: List[Input], dla_core: Optional[int] = None
    ) -> Optional[Dict[str, object]]:
        """The optimised graph is the account of its own layers."""
        return None

    def load(
        self, engine: str, inputs: List[Input], dla_core: Optional[int] = None, mapped: bool = False
    ) -> "Session":
        """A session on an engine whose digest has been checked."""
        if dla_core is not None:
            raise BundleError("ONNX Runtime's CPU engine has no DLA", "leave --places out")
        try:
            session = self._opened(engine, self._options())
            return Session(session, inputs, functools.partial(self._profiling, engine))
        except RunnerError:
            raise
        except Exception as error:  # noqa: BLE001
            raise DeviceError(
                "ONNX Runtime %s cannot load %s: %s" % (self.version, os.path.basename(engine), error),
                "build it again on this machine",
            )

    def _profiling(self, engine: str, prefix: str) -> "InferenceSession":
        """A session on the same engine that notes what each layer takes."""
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = prefix
        return self._opened(engine, options)


class Session:
    """One loaded network with its inputs and outputs bound to memory that stays where it is."""

    def __init__(
        self,
        session: "InferenceSession",
        inputs: List[Input],
        profiling: Callable[[str], "InferenceSession"],
    ) -> None:
        self.session, self.profiling = session, profiling
        shapes = {entry.name: tuple(entry.shape) for entry in inputs}
        self.inputs = [_tensor(node, shapes.get(node.name)) for node in session.get_inputs()]
        self.output_names: List[str] = [node.name for node in session.get_outputs()]
        self.binding: Optional["IOBinding"] = None
        self.bound: Feeds = {}

    def infer(self, feeds: Feeds) -> Feeds:
        """One untimed run."""
        return dict(zip(self.output_names, self.session.run(self.output_names, feeds)))  # noqa: B905 - Python 3.6

    def bind(self, feeds: Feeds) -> None:
        """Fix inputs and outputs for the timed runs, so that these allocate nothing."""
        self.held = {name: on_a_page(array) for name, array in feeds.items()}
        self.bound = {name: on_a_page(array) for name, array in self.infer(self.held).items()}
        self.binding = self.session.io_binding()
        for name, array in self.held.items():
            self.binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in self.bound.items():
            self.binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def block(self, milliseconds: float, least: int) -> Dict[str, List[float]]:
        """Timed runs, one after the other, for so long and at least so many; latencies in ms."""
        run, binding, now = self.session.run_with_iobinding, self.binding, now_ns
        times: List[int] = []
        note = times.append
        end = stop = now()
        end += int(milliseconds * 1e6)
        while stop < end or len(times) < least:
            start = now()
            run(binding)
            stop = now()
            note(stop - start)
        return {"latency": [taken / 1e6 for taken in times]}

    def outputs(self) -> Feeds:
        """What the last timed run left in the bound outputs."""
        return {name: array.copy() for name, array in self.bound.items()}

    def attach(self) -> None:
        """ONNX Runtime's sessions belong to every thread."""

    def detach(self) -> None:
        """There is nothing to give back."""

    def profile(self) -> "Profile":
        """Runs of the same network that note what each layer takes."""
        return Profile(self.profiling, self.held)


class Profile:
    """ONNX Runtime writes what each node took to a file; the first run, which allocates, does not count."""

    def __init__(self, profiling: Callable[[str], "InferenceSession"], feeds: Feeds) -> None:
        self.folder = tempfile.mkdtemp(prefix="jetpress-")
        self.session = profiling(os.path.join(self.folder, "profile"))
        self.feeds = feeds

    def run(self, count: int) -> None:
        """So many runs."""
        for _ in range(count):
            self.session.run(None, self.feeds)

    def layers(self) -> Dict[str, List[float]]:
        """Milliseconds of each run by the layer's name; ends the profile."""
        try:
            with open(self.session.end_profiling(), encoding="utf-8") as source:
                events = json.load(source)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        layers: Dict[str, List[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                layers.setdefault(event["name"][: -len("_kernel_time")], []).append(event["dur"] / 1000.0)
        return {name: times[1:] or times for name, times in layers.items()}


def _tensor(node: "NodeArg", shape: Optional[Tuple[int, ...]]) -> Tensor:
    if node.type not in DTYPES:
        raise DeviceError("input %s has type %s, which the runner cannot feed" % (node.name, node.type))
    return Tensor(node.name, tuple(node.shape) if shape is None else shape, DTYPES[node.type])


def cpu_name() -> str:
    """The CPU as /proc/cpuinfo names it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as source:
            for line in source:
                if line.lower().startswith(("model name", "hardware")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
