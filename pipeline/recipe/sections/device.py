"""The engine, how it is measured, and what it must meet: ``[build]``, ``[benchmark]``, ``[budget]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import AtLeastOne, NotNegative, Positive, Section

Precision = Literal["fp32", "fp16", "int8", "fp8"]


@dataclass(frozen=True)
class BuildConfig(Section):
    """The engine."""

    precision: Literal["auto", Precision] = "auto"
    """``auto``: FP16 on GPUs, FP32 on the host. ``int8``, ``fp8`` (compute capability 8.9 and newer): see
    ``[quantize]``; the dense engine beside it stays as in ``auto``. How FP16 comes about is the target's affair: a flag
    of the builder (TensorRT 8), or types in the graph (TensorRT 10 and newer, TensorRT-RTX); layers that would overflow
    stay FP32."""
    workspace_mb: AtLeastOne | None = None
    """Scratch memory of the builder. None: TensorRT's default."""
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    """How long the builder may search (TensorRT 8.6 and newer): 0 is quickest to build, 5 tries most. None: its
    default, 3."""
    compute_capabilities: tuple[Literal["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"], ...] = ()
    """TensorRT-RTX only: the GPUs that the one engine is for. Turing (7.5) takes FP16 alone, FP8 exists from 8.9 on.
    Empty: 8.6."""
    provider: Literal["cpu", "cuda"] = "cpu"
    """The host alone: what ONNX Runtime computes on. ``cuda``: this machine's NVIDIA GPU, by ``onnxruntime-gpu``
    (``--target gpu`` is TensorRT there)."""


@dataclass(frozen=True)
class BenchmarkConfig(Section):
    """Dense and compressed engines, interleaved, in several sessions: see `docs/measuring.md`."""

    seconds: Annotated[float, Field(ge=0.2)] = 3.0
    """At least this long for each engine, after warm-up, in all sessions together."""
    runs: Annotated[int, Field(ge=11)] = 64
    """At least this many runs of each engine (64 are needed for a p90)."""
    sessions: AtLeastOne | None = None
    """Exactly so many sessions, each in a fresh process. None: five, and more until the ratio is known to within 2.5 %
    or the difference is clear. With one or two the interval is of these alone, and is not called 95 %."""
    max_seconds: Positive = 60.0
    """No session is begun that would end later than this; at least three are measured."""
    warmup_ms: NotNegative = 200.0
    """At least this long before anything counts, in each session; it goes on until steady."""
    threads: AtLeastOne = 1
    """Threads of the host engine. More are faster where the machine is idle, and worth little as a measurement: ONNX
    Runtime's threads spin while they wait for each other, so a neighbour on one core holds up all of them."""
    rounds: bool | None = None
    """Time the network of every round of pruning, for the report's accuracy over latency; nothing is decided by it.
    None: on the host, where it takes seconds; elsewhere an engine is built for each."""
    transfers: bool = True
    """TensorRT: copy inputs to the GPU and outputs back in every run, and count it in the latency."""
    overlap: bool = True
    """TensorRT: begin a run before the one before it has ended, as trtexec does; throughput gains by it."""
    cuda_graph: bool = False
    """TensorRT: run each engine as one CUDA graph. Worth it where starting a run takes as long as the run."""
    spin_wait: bool = False
    """TensorRT: wait for the GPU by spinning instead of sleeping: steadier, and one core is busy."""
    memory: Literal["copied", "mapped"] = "copied"
    """``mapped``: each engine a second time without copies (zero copy), where CPU and GPU have the same memory: boards.
    Which is faster depends on the board and on how often a network reads its inputs: both are measured."""
    lock_clocks: bool = False
    """Highest clocks of the power mode while it is measured; those of before afterwards, also after a crash. Needs
    root on the board, or ``sudo -n jetson_clocks``."""
    video: str | None = None
    """Also measure the application, from a frame to its result: a video file, which is sent to the device, or a source
    there: ``/dev/video0``, ``csi``, ``rtsp://...``. See `docs/video.md`."""
    streams: AtLeastOne = 1
    """So many of that source at once."""
    power_mode: str | None = None
    """Power mode that the board must be in, as nvpmodel names it (``MAXN``, ``15W``); another is refused before
    anything is sent. None: whichever it is in; the results name it."""
    power_modes: str | None = None
    """Also measure in these power modes of the board: ``all``, or names or numbers with commas. That of before comes
    back; a mode for which the board must restart is left out. The report says which to choose for ``budget.watts`` and
    ``budget.millijoules``. Needs root on the board, or ``sudo -n nvpmodel``."""


@dataclass(frozen=True)
class BudgetConfig(Section):
    """What the result must meet. Judged on the test split at the end; exit code 8 when it is not met."""

    accuracy_drop: NotNegative = 1.0
    """Points of accuracy that may be lost against the dense network."""
    latency_ms: Positive | None = None
    """Largest median latency of the compressed engine."""
    fps: Positive | None = None
    """Smallest throughput of the compressed engine, in samples per second."""
    watts: Positive | None = None
    """Most that the board may draw while the compressed engine runs; needs a board with a power monitor."""
    millijoules: Positive | None = None
    """Most that one sample may take of the board's energy."""
    agreement: Annotated[float, Field(ge=0, le=100)] = 90.0
    """``--prune`` of an ONNX file: percent of its answers (detections, top classes) that it must still give,
    and of what it gives then that must be the file's. Nothing is trained there, and no label says what is right."""
