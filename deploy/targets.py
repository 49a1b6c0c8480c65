"""TARGETS: one frozen record for each module with its JetPack, as plain facts.

A target is an input of the pipeline: an engine runs only on the GPU and the TensorRT that built it, parsers
differ in the ONNX they take, and what pays differs by hardware. Sources: the release branches of
github.com/NVIDIA/TensorRT and github.com/onnx/onnx-tensorrt (opsets, operators), OE4T/meta-tegra (which
TensorRT a JetPack carries), NVIDIA's developer guide (2:4 sparsity: compute capability 8.0 and newer).
To add one: a record here, and a recorded probe in ``tests/probes/``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jetpress.deploy.backends import BACKENDS, Backend, Dialect
from jetpress.deploy.errors import RecipeError

FP8_SINCE = (8, 9)
"""Compute capability (NVIDIA's support matrix for TensorRT, row FP8)."""


@dataclass(frozen=True)
class Target:
    """What the pipeline must know about a board before it has seen it."""

    name: str
    title: str
    backend: str
    """A key of :data:`jetpress.deploy.backends.BACKENDS`."""
    tensorrt: str = ""
    """Version that the JetPack carries; empty where there is none."""
    jetpack: str = ""
    l4t: str = ""
    python: str = ""
    """The system interpreter, the only one that imports the board's TensorRT."""
    compute_capability: tuple[int, int] | None = None
    opset: int = 18
    """ONNX opset that is written where the recipe asks for none: 18, or the newest that an older parser takes. PyTorch
    writes 18 by itself; of what came later, GELU (20) is primitives at 18, and FP16 in Q/DQ (19) makes it 20."""
    newest_opset: int = 20
    """Newest ONNX opset that the target's parser takes."""
    ir_version: int = 10
    lower: tuple[str, ...] = ()
    """Operators within the opset that this parser lacks all the same: written as primitives."""
    int64_io: bool = True
    """Whether INT64 inputs and outputs exist (TensorRT 8 casts them to INT32)."""
    uint8_input: bool = True
    """Whether a UINT8 input exists (TensorRT: since 8.5)."""
    suppression: bool = True
    """Whether NonMaxSuppression exists as a layer (TensorRT: INMSLayer, since 8.5; TensorRT-RTX 1.7 parses it only)."""
    strongly_typed: bool = False
    """Types are taken from the graph (TensorRT 10 on request, 11 and TensorRT-RTX always); flags choose otherwise."""
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    """``fp8`` besides: see :attr:`why_not_fp8`."""
    default_precision: Literal["fp32", "fp16"] = "fp16"
    channel_multiple: int = 8
    """Channel counts that fill the hardware are multiples of this: tensor cores in FP16 (8), SIMD on a host (16)."""
    channel_multiple_int8: int = 32
    """The same in INT8: TensorRT packs 32 channels for its tensor cores (kCHW32)."""
    dla: int = 0
    ram_gb: float = 0.0

    @property
    def runtime(self) -> Backend:
        """What makes and runs its engines."""
        return BACKENDS[self.backend]

    @property
    def sparse_tensor_cores(self) -> bool:
        """2:4 sparsity can pay: compute capability 8.0 or newer (NVIDIA developer guide)."""
        return self.runtime.sparse_kernels and (self.compute_capability or (0, 0)) >= (8, 0)

    @property
    def is_board(self) -> bool:
        """The engine is built on the board, never on the host."""
        return self.runtime.in_jetpack

    def built_for(self, capabilities: Sequence[str]) -> Target:
        """As it is for the GPUs that an engine is built ahead of time for; the oldest of them decides."""
        if not capabilities or not self.runtime.ahead_of_time:
            return self
        major, minor = min(tuple(map(int, one.split("."))) for one in capabilities)
        precisions = ("fp8",) if (major, minor) >= FP8_SINCE else ()
        return replace(self, compute_capability=(major, minor), precisions=(*self.precisions, *precisions))

    def flags(self, precision: str) -> bool:
        """Whether the builder is told precisions by flags: TensorRT before 11. With them an INT8 graph has FP32
        around its Q/DQ, and TensorRT computes that in FP16. FP8 is built as NVIDIA does it: types are the graph's."""
        major = int(self.tensorrt.partition(".")[0] or 0)
        return major < self.runtime.flags_before and precision != "fp8"

    def dialect(self, precision: str) -> Dialect:
        """How its runtime reads Q/DQ."""
        return self.runtime.dialect(self.tensorrt, precision)

    def multiple(self, precision: str) -> int:
        """Channel counts that fill the hardware in ``precision`` are multiples of this. (2:4 needs 4.)"""
        return {"int8": self.channel_multiple_int8, "fp8": 16}.get(precision, self.channel_multiple)

    @property
    def why_not_fp8(self) -> str:
        """The reason why there is no FP8 here; empty where there is (Ada, Hopper, Blackwell, Thor)."""
        if "fp8" in self.precisions:
            return ""
        needed = "FP8 needs tensor cores of compute capability 8.9 or newer"
        if self.compute_capability is None:
            return f"{needed}, and this target computes on a CPU"
        major, minor = self.compute_capability
        return f"{needed}, and this target has {major}.{minor}"

    @property
    def why_not_sparse(self) -> str:
        """The reason why 2:4 cannot pay here; empty where it can."""
        if self.sparse_tensor_cores:
            return ""
        if not self.runtime.sparse_kernels or self.compute_capability is None:
            return f"2:4 cannot pay on this target: its engine ({self.runtime.title}) has no sparse kernels"
        major, minor = self.compute_capability
        return f"2:4 cannot pay on this target: compute capability {major}.{minor} has no sparse tensor cores (8.0 has)"


def _jetpack(
    jetpack: str,
    l4t: str,
    python: str,
    tensorrt: str,
    *,
    opset: int,
    newest_opset: int,
    lower: tuple[str, ...] = (),
) -> Target:
    """What a JetPack gives to all of its boards. What a TensorRT has by its version is decided by the version: no
    JetPack inherits a fact from another. ``lower`` comes from the operator tables (deploy/preflight/operators.json)."""
    version = tuple(map(int, tensorrt.split(".")))
    return Target(
        name="",
        title="",
        backend="tensorrt",
        tensorrt=tensorrt,
        jetpack=jetpack,
        l4t=l4t,
        python=python,
        opset=opset,
        newest_opset=newest_opset,
        ir_version=10 if version >= (10, 6) else 8 if version >= (8, 4) else 7,  # of the ONNX in the parser
        lower=lower,
        int64_io=version >= (9, 0),
        uint8_input=version >= (8, 5),
        suppression=version >= (8, 5),
        strongly_typed=version >= (10, 0),
    )


_JP4 = _jetpack(
    "4.6.1", "32.7", "3.6", "8.2.1", opset=13, newest_opset=13, lower=("LayerNormalization", "HardSwish")
)
_JP5 = _jetpack(
    "5.1", "35", "3.8", "8.5.2", opset=17, newest_opset=17, lower=("LayerNormalization", "CastLike")
)
_JP6 = _jetpack("6.2", "36.4", "3.10", "10.3.0", opset=18, newest_opset=20)
_JP71 = _jetpack("7.1", "38.4", "3.12", "10.13.3", opset=18, newest_opset=24)
_JP72 = _jetpack("7.2", "39.2", "3.12", "10.16.2", opset=18, newest_opset=24)

_NANO = {"compute_capability": (5, 3), "precisions": ("fp32", "fp16"), "ram_gb": 4.0}
_XAVIER = {"compute_capability": (7, 2), "dla": 2}
_ORIN = {"compute_capability": (8, 7)}
_THOR = {"compute_capability": (11, 0), "precisions": ("fp32", "fp16", "int8", "fp8"), "ram_gb": 128.0}


def _record(base: Target, name: str, title: str, **facts: object) -> Target:
    return replace(base, name=name, title=f"{title}, JetPack {base.jetpack}", **facts)  # type: ignore[arg-type]


_ALL = (
    Target(
        name="host",
        title="this computer, ONNX Runtime on its CPU",
        backend="onnxruntime",
        newest_opset=23,
        default_precision="fp32",
        precisions=("fp32", "int8"),
        channel_multiple=16,
        channel_multiple_int8=16,
    ),
    Target(
        name="rtx",
        title="RTX GPU (Ampere or newer), TensorRT-RTX, built ahead of time on any x86-64 Linux host",
        backend="tensorrt_rtx",
        compute_capability=(8, 6),
        default_precision="fp16",
        precisions=("fp32", "fp16", "int8"),
        suppression=False,
        strongly_typed=True,
    ),
    _record(_JP4, "nano", "Jetson Nano", **_NANO),
    _record(_JP5, "xavier", "Jetson AGX Xavier", ram_gb=32.0, **_XAVIER),
    _record(_JP4, "xavier-jp4", "Jetson AGX Xavier", ram_gb=32.0, **_XAVIER),
    _record(_JP5, "xavier-nx", "Jetson Xavier NX", ram_gb=8.0, **_XAVIER),
    _record(_JP6, "orin-nano", "Jetson Orin Nano 8 GB", ram_gb=8.0, **_ORIN),
    _record(_JP5, "orin-nano-jp5", "Jetson Orin Nano 8 GB", ram_gb=8.0, **_ORIN),
    _record(_JP72, "orin-nano-jp7", "Jetson Orin Nano 8 GB", ram_gb=8.0, **_ORIN),
    _record(_JP6, "orin-nx", "Jetson Orin NX 16 GB", ram_gb=16.0, dla=2, **_ORIN),
    _record(_JP5, "orin-nx-jp5", "Jetson Orin NX 16 GB", ram_gb=16.0, dla=2, **_ORIN),
    _record(_JP6, "agx-orin", "Jetson AGX Orin", ram_gb=64.0, dla=2, **_ORIN),
    _record(_JP5, "agx-orin-jp5", "Jetson AGX Orin", ram_gb=64.0, dla=2, **_ORIN),
    _record(_JP72, "agx-orin-jp7", "Jetson AGX Orin", ram_gb=64.0, **_ORIN),
    _record(_JP71, "thor", "Jetson AGX Thor (T5000)", **_THOR),
    _record(_JP72, "thor-jp72", "Jetson AGX Thor (T5000)", **_THOR),
)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}


def find(name: str) -> Target:
    """The target called ``name``.

    Raises:
        RecipeError: there is none; the closest names are offered.
    """
    if name in TARGETS:
        return TARGETS[name]
    close = difflib.get_close_matches(name, TARGETS, n=2, cutoff=0.4)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    raise RecipeError(f"there is no target {name!r}", f"{guess}`jetpress targets` lists all {len(TARGETS)}")
