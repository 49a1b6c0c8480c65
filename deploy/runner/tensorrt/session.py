"""Running one engine with any TensorRT; the rule of names stands in backends/tensorrt.py."""

import collections
import functools
import json
import os
from types import ModuleType
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from ..interface.knobs import DEFAULTS
from ..interface.settings import Input
from ..interface.tensors import Feeds
from ..system.clock import now_ns
from ..system.failures import DeviceError
from . import plugins
from .errors import last_errors
from .io import enqueue_of, tensors_of

if TYPE_CHECKING:
    from pycuda.driver import Stream
    from tensorrt import ILogger, IProfiler

    from ..cuda.gpu import Gpu

Steps = Sequence[Callable[[], object]]

ONE_BY_ONE = dict(DEFAULTS, overlap=False)


class Run:
    """One run under way: events around each of its parts, on three streams as in trtexec."""

    def __init__(
        self, device: "Gpu", streams: Dict[str, "Stream"], spin: bool, errors: Callable[[], str] = str
    ) -> None:
        self.gpu, self.streams, self.errors = device, streams, errors
        self.marks = [device.event(spin) for _ in range(6)]
        self.host_ms, self.ran = 0.0, True

    def start(self, uploads: Steps, enqueue: Callable[[], bool], downloads: Steps, moving: bool) -> None:
        """Put everything on the streams; nothing is waited for."""
        record, follow, streams = self.gpu.record, self.gpu.follow, self.streams
        begun, copied, started, computed, fetching, done = self.marks
        if moving:
            record(begun, streams["in"])
            for upload in uploads:
                upload()
            record(copied, streams["in"])
            follow(streams["compute"], copied)
        record(started, streams["compute"])
        start = now_ns()
        self.ran = enqueue()
        self.host_ms = (now_ns() - start) / 1e6
        record(computed, streams["compute"])
        if moving:
            follow(streams["out"], computed)
            record(fetching, streams["out"])
            for download in downloads:
                download()
            record(done, streams["out"])

    def times(self, moving: bool) -> Tuple[float, ...]:
        """Wait for its end: h2d, compute, d2h (without transfers only compute) and enqueue, in ms."""
        begun, copied, started, computed, fetching, done = self.marks
        self.gpu.wait(done if moving else computed)
        if self.ran is False:
            raise DeviceError(
                "TensorRT could not run the engine%s" % _reason(self.errors),
                "the lines above are TensorRT's own",
            )
        elapsed = self.gpu.elapsed
        compute = (elapsed(started, computed), self.host_ms)
        return (
            (elapsed(begun, copied), compute[0], elapsed(fetching, done), self.host_ms) if moving else compute
        )

    def drain(self) -> None:
        """Wait for all that is on the stream of the outputs."""
        self.gpu.record(self.marks[-1], self.streams["out"])
        self.gpu.wait(self.marks[-1])


class Session:
    """One engine on the GPU, its inputs and outputs bound to memory that stays where it is."""

    def __init__(
        self,
        trt: ModuleType,
        log: "ILogger",
        device: "Gpu",
        path: str,
        inputs: List[Input],
        knobs: Optional[Dict[str, bool]] = None,
        dla_core: Optional[int] = None,
        mapped: bool = False,
    ) -> None:
        self.gpu, self.trt, self.mapped = device, trt, mapped
        self.knobs = dict(knobs or ONE_BY_ONE)
        if mapped:  # there is nothing to move
            self.knobs["transfers"] = False
        self.again = functools.partial(Session, trt, log, device, path, inputs, dla_core=dla_core)
        with open(path, "rb") as source:
            data = source.read()
        plugins.register(trt, log, data)
        self.runtime = runtime = trt.Runtime(log)
        log.recorder.clear()
        self.errors = functools.partial(last_errors, log.recorder)
        if dla_core is not None:
            runtime.DLA_core = dla_core  # before it is loaded, or it runs on core 0
        self.engine = engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise DeviceError(
                "TensorRT %s cannot load %s" % (trt.__version__, os.path.basename(path)),
                "build it again here: an engine runs only on the GPU and TensorRT that built it",
            )
        self.context = engine.create_execution_context()
        if self.context is None:
            raise DeviceError(
                "no execution context: the GPU memory is probably full", "stop other programs on the board"
            )
        self.context.error_recorder = log.recorder
        shapes = {entry.name: tuple(entry.shape) for entry in inputs}
        self.inputs, self.results = tensors_of(trt, engine, self.context, shapes)
        self.output_names = [tensor.name for tensor in self.results]
        self._allocate()

    def _allocate(self) -> None:
        """Pinned host arrays and device memory, one of each for each tensor; three streams, as trtexec has.

        Where memory is mapped both are the same, and nothing is copied.
        """
        new = self.gpu.stream
        self.streams = {"in": new(), "compute": new(), "out": new()}
        self.host: Feeds = {}
        self.pointers: Dict[str, int] = {}
        for tensor in self.inputs + self.results:
            if self.mapped:
                self.host[tensor.name], self.pointers[tensor.name] = self.gpu.mapped(
                    tensor.shape, tensor.dtype
                )
                continue
            self.host[tensor.name] = self.gpu.pinned(tensor.shape, tensor.dtype)
            self.pointers[tensor.name] = self.gpu.alloc(self.host[tensor.name].nbytes)
        handle = self.gpu.handle(self.streams["compute"])
        self.enqueue = enqueue_of(self.engine, self.context, self.pointers, handle)
        upload, download = self.gpu.upload, self.gpu.download
        self.uploads = [
            functools.partial(upload, self.pointers[t.name], self.host[t.name], self.streams["in"])
            for t in ([] if self.mapped else self.inputs)
        ]
        self.downloads = [
            functools.partial(download, self.host[t.name], self.pointers[t.name], self.streams["out"])
            for t in ([] if self.mapped else self.results)
        ]
        depth = 2 if self.knobs["overlap"] else 1
        self.slots = [Run(self.gpu, self.streams, self.knobs["spin_wait"], self.errors) for _ in range(depth)]

    def infer(self, feeds: Feeds) -> Feeds:
        """One untimed run."""
        self._fill(feeds)
        self._run_once()
        return {name: self.host[name].copy() for name in self.output_names}

    def bind(self, feeds: Feeds) -> None:
        """Put the inputs where the timed runs take them from; make the CUDA graph, if one is asked for."""
        self._fill(feeds)
        self._run_once()
        if self.knobs["cuda_graph"]:
            self.enqueue = self.gpu.graph(self.streams["compute"], self.enqueue)
            self.knobs = dict(self.knobs, cuda_graph=False)  # made once

    def _fill(self, feeds: Feeds) -> None:
        for tensor in self.inputs:
            self.host[tensor.name][...] = feeds[tensor.name]

    def _run_once(self) -> None:
        """With both transfers, whatever the knobs say."""
        self.slots[0].start(self.uploads, self.enqueue, self.downloads, True)
        self.slots[0].times(True)

    def block(self, milliseconds: float, least: int) -> Dict[str, List[float]]:
        """Timed runs for so long and at least so many; what trtexec measures, in ms.

        Transfers and compute by CUDA events, latency = their sum, enqueue = host time inside TensorRT. With
        overlap, two runs are under way at any time: throughput is then higher than one over the latency.
        """
        moving = self.knobs["transfers"]
        taken: List[Tuple[float, ...]] = []
        idle: Deque[Run] = collections.deque(self.slots)
        under_way: Deque[Run] = collections.deque()
        begun, end = 0, now_ns() + int(milliseconds * 1e6)
        while begun < least or now_ns() < end:
            run = idle.popleft()
            run.start(self.uploads, self.enqueue, self.downloads, moving)
            under_way.append(run)
            begun += 1
            if not idle:
                taken.append(under_way[0].times(moving))
                idle.append(under_way.popleft())
        taken.extend(run.times(moving) for run in under_way)
        names = ("h2d", "compute", "d2h", "enqueue") if moving else ("compute", "enqueue")
        parts = {name: [times[place] for times in taken] for place, name in enumerate(names)}
        return dict(parts, latency=[sum(times[:-1]) for times in taken])

    def outputs(self) -> Feeds:
        """What the last run left on the GPU."""
        for download in self.downloads:
            download()
        self.slots[0].drain()
        return {name: self.host[name].copy() for name in self.output_names}

    def attach(self) -> None:
        """Give the thread that calls the context of the GPU."""
        self.gpu.attach()

    def detach(self) -> None:
        """Take it back."""
        self.gpu.detach()

    def profile(self) -> "Profile":
        """Runs of the same network that note what each layer takes, in a session of their own."""
        return Profile(self.again(), {tensor.name: self.host[tensor.name] for tensor in self.inputs})

    def layers(self) -> Optional[Dict[str, object]]:
        """The engine's own account of its layers (TensorRT >= 8.2), and how many of them use 2:4 kernels."""
        engine = self.engine
        if not hasattr(engine, "create_engine_inspector"):
            return None
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        try:
            layers = json.loads(text).get("Layers", [])
        except (ValueError, AttributeError):
            return None
        sparse = sum(
            isinstance(item, dict) and "sparse" in str(item.get("TacticName", "")).lower() for item in layers
        )
        dla = sum(isinstance(item, dict) and "DLA" in str(item.get("LayerType", "")) for item in layers)
        return {"layers": len(layers), "sparse_layers": sparse, "dla_layers": dla, "account": layers}


class Profile:
    """TensorRT reports every layer of every run to an IProfiler; the layers' names hold those of the ONNX nodes."""

    def __init__(self, session: Session, feeds: Feeds) -> None:
        self.taken: Dict[str, List[float]] = {}
        self.session = session
        self.session.bind(feeds)
        self.session.context.profiler = _profiler(session.trt, self.taken)

    def run(self, count: int) -> None:
        """So many runs."""
        self.session.block(0.0, count)

    def layers(self) -> Dict[str, List[float]]:
        """Milliseconds of each run by the layer's name; the first run does not count."""
        return {name: times[1:] or times for name, times in self.taken.items()}


def _reason(errors: Callable[[], str]) -> str:
    words = errors()
    return ": " + words if words else ""


def _profiler(trt: ModuleType, taken: Dict[str, List[float]]) -> "IProfiler":
    class Collector(trt.IProfiler):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """Called by TensorRT."""
            taken.setdefault(layer_name, []).append(ms)

    return Collector()
