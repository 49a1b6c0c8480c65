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

Version = tuple[int, int]
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
    efficient_nms: bool = False
    """Whether libnvinfer_plugin is there and has EfficientNMS_TRT: with TensorRT 8 and 10. Of 11 nobody here knows."""
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
    """Cores of the DLA that its TensorRT can use: :func:`dla_cores`."""
    ram_gb: float = 0.0
    module: str = ""
    """Of a board, as :mod:`jetpress.deploy.device.board` names it."""
    power_mode: str = ""
    """It is about this mode, as nvpmodel names it; empty: whichever the board is in."""
    derived: bool = False
    """No record knows the board: this is what it said of itself."""

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
        return bool(self.jetpack)

    def built_for(self, capabilities: Sequence[str]) -> Target:
        """As it is for the GPUs that an engine is built ahead of time for; the oldest of them decides."""
        if not capabilities or not self.runtime.ahead_of_time:
            return self
        major, minor = min(tuple(map(int, one.split("."))) for one in capabilities)
        precisions = ("fp8",) if (major, minor) >= FP8_SINCE else ()
        return replace(self, compute_capability=(major, minor), precisions=(*self.precisions, *precisions))

    def on_gpu(self, capability: tuple[int, int]) -> Target:
        """As it is for the GPU that was found on the machine that builds."""
        if self.is_board or self.runtime.ahead_of_time or not self.runtime.needs_gpu:
            return self
        precisions = ("fp8",) if capability >= FP8_SINCE and "fp8" not in self.precisions else ()
        return replace(self, compute_capability=capability, precisions=(*self.precisions, *precisions))

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


_BY_TENSORRT: tuple[tuple[Version, int, int, tuple[str, ...]], ...] = (
    ((8, 0), 13, 13, ("LayerNormalization", "HardSwish")),
    ((8, 4), 17, 17, ("LayerNormalization", "CastLike", "Trilu")),
    ((8, 5), 17, 17, ("LayerNormalization", "CastLike")),
    ((8, 6), 17, 17, ("CastLike",)),
    ((10, 0), 18, 20, ()),
    ((10, 9), 18, 22, ()),
    ((10, 13), 18, 24, ()),
    ((11, 5), 18, 25, ()),
)
"""Since a version: opset written, newest opset, operators written as primitives (deploy/preflight/operators.json)."""


def version_of(tensorrt: str) -> Version:
    """``(8, 5)`` of ``8.5.2``."""
    major, minor, *_ = (*tensorrt.split("."), "0")
    return int(major), int(minor)


def dla_cores(tensorrt: str, cores: int, module: str) -> int:
    """How many of a module's DLAs a TensorRT can use: up to 10.7 all, then none, since 11.4.1 those of AGX Orin (with
    JetPack 7.2.2). Source: NVIDIA's pages "Working with DLA" of 11.3.0 and 11.4.1."""
    numbers = tuple(map(int, tensorrt.split(".")[:3]))
    return cores if numbers < (10, 8) or (numbers >= (11, 4, 1) and module == "AGX Orin") else 0


def on_jetpack(jetpack: str, l4t: str, python: str, tensorrt: str) -> Target:
    """What a JetPack gives to all of its boards. What a TensorRT has by its version is decided by the version: no
    JetPack inherits a fact from another.

    Raises:
        RecipeError: the TensorRT is older than any that is known.
    """
    version = version_of(tensorrt)
    known = [facts for facts in _BY_TENSORRT if facts[0] <= version]
    if not known:
        raise RecipeError(f"TensorRT {tensorrt} is not known", f"the oldest is {_BY_TENSORRT[0][0]}")
    _, opset, newest_opset, lower = known[-1]
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
        efficient_nms=(8, 0) <= version < (11, 0),
        strongly_typed=version >= (10, 0),
    )


_JP46 = on_jetpack("4.6", "32.6", "3.6", "8.0.1")
_JP4 = on_jetpack("4.6.1", "32.7", "3.6", "8.2.1")
_JP50 = on_jetpack("5.0.2", "35.1", "3.8", "8.4.1")
_JP5 = on_jetpack("5.1", "35", "3.8", "8.5.2")
_JP60 = on_jetpack("6.0", "36.3", "3.10", "8.6.2")
_JP6 = on_jetpack("6.2", "36.4", "3.10", "10.3.0")
_JP71 = on_jetpack("7.1", "38.4", "3.12", "10.13.3")
_JP72 = on_jetpack("7.2", "39.2", "3.12", "10.16.2")
# NVIDIA names no other JetPack that takes it. It is an own package there, and which L4T it is was not found.
_JP722 = on_jetpack("7.2.2", "", "3.12", "11.4.1")


@dataclass(frozen=True)
class Module:
    """What a module is, whatever JetPack it runs."""

    name: str
    """As :mod:`jetpress.deploy.device.board` names it."""
    compute_capability: tuple[int, int]
    ram_gb: float
    dla: int = 0
    """Cores in the hardware."""
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")

    def on(self, base: Target, name: str, title: str = "", power_mode: str = "") -> Target:
        """The module with a JetPack."""
        with_it = f"{base.jetpack} with TensorRT {base.tensorrt}" if base is _JP722 else base.jetpack
        words = f"Jetson {title or self.name}, JetPack {with_it}{f', in {power_mode}' if power_mode else ''}"
        return replace(
            base,
            name=name,
            title=words,
            module=self.name,
            compute_capability=self.compute_capability,
            precisions=self.precisions,
            ram_gb=self.ram_gb,
            dla=dla_cores(base.tensorrt, self.dla, self.name),
            power_mode=power_mode,
        )


_SUPER = "MAXN_SUPER"
_NANO = Module("Nano", (5, 3), 4.0, precisions=("fp32", "fp16"))
# Whether a TX2 computes in INT8 is disputed (torch2trt's table says so, NVIDIA's row of 6.2 was not seen): not offered.
_TX2 = Module("TX2", (6, 2), 8.0, precisions=("fp32", "fp16"))
_XAVIER = Module("AGX Xavier", (7, 2), 32.0, dla=2)
_XAVIER_NX = Module("Xavier NX", (7, 2), 8.0, dla=2)
_ORIN_NANO = Module("Orin Nano", (8, 7), 8.0)
_ORIN_NANO_4 = Module("Orin Nano", (8, 7), 4.0)
_ORIN_NX = Module("Orin NX", (8, 7), 16.0, dla=2)
_ORIN_NX_8 = Module("Orin NX", (8, 7), 8.0, dla=1)
_AGX_ORIN = Module("AGX Orin", (8, 7), 64.0, dla=2)
_AGX_ORIN_32 = Module("AGX Orin", (8, 7), 32.0, dla=2)
_THOR = Module("AGX Thor", (11, 0), 128.0, precisions=("fp32", "fp16", "int8", "fp8"))

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
    Target(
        name="gpu",
        title="the NVIDIA GPU of this machine, plain TensorRT",
        backend="tensorrt",
        tensorrt="11.4.0",  # of the wheels; with an older one here (10.x) the types are the graph's all the same
        compute_capability=(7, 5),  # the oldest that TensorRT 10.5 and newer take, until the machine is asked
        newest_opset=24,
        strongly_typed=True,
    ),
    _NANO.on(_JP4, "nano"),
    _NANO.on(_JP46, "nano-jp46"),
    _TX2.on(_JP4, "tx2"),
    _TX2.on(_JP46, "tx2-jp46"),
    _XAVIER.on(_JP5, "xavier"),
    _XAVIER.on(_JP4, "xavier-jp4"),
    _XAVIER.on(_JP46, "xavier-jp46"),
    _XAVIER.on(_JP50, "xavier-jp50"),
    _XAVIER_NX.on(_JP5, "xavier-nx"),
    _XAVIER_NX.on(_JP4, "xavier-nx-jp4"),
    _XAVIER_NX.on(_JP50, "xavier-nx-jp50"),
    _ORIN_NANO.on(_JP6, "orin-nano", "Orin Nano 8 GB"),
    _ORIN_NANO.on(_JP6, "orin-nano-super", "Orin Nano 8 GB", _SUPER),
    _ORIN_NANO_4.on(_JP6, "orin-nano-4gb", "Orin Nano 4 GB"),
    _ORIN_NANO.on(_JP5, "orin-nano-jp5", "Orin Nano 8 GB"),
    _ORIN_NANO.on(_JP60, "orin-nano-jp60", "Orin Nano 8 GB"),
    _ORIN_NANO.on(_JP72, "orin-nano-jp7", "Orin Nano 8 GB"),
    _ORIN_NX.on(_JP6, "orin-nx", "Orin NX 16 GB"),
    _ORIN_NX.on(_JP6, "orin-nx-super", "Orin NX 16 GB", _SUPER),
    _ORIN_NX_8.on(_JP6, "orin-nx-8gb", "Orin NX 8 GB"),
    _ORIN_NX.on(_JP5, "orin-nx-jp5", "Orin NX 16 GB"),
    _ORIN_NX.on(_JP60, "orin-nx-jp60", "Orin NX 16 GB"),
    _ORIN_NX.on(_JP72, "orin-nx-jp7", "Orin NX 16 GB"),
    _AGX_ORIN.on(_JP6, "agx-orin"),
    _AGX_ORIN_32.on(_JP6, "agx-orin-32gb", "AGX Orin 32 GB"),
    _AGX_ORIN.on(_JP50, "agx-orin-jp50"),
    _AGX_ORIN.on(_JP5, "agx-orin-jp5"),
    _AGX_ORIN.on(_JP60, "agx-orin-jp60"),
    _AGX_ORIN.on(_JP72, "agx-orin-jp7"),
    _AGX_ORIN.on(_JP722, "agx-orin-jp722"),
    _THOR.on(_JP71, "thor", "AGX Thor (T5000)"),
    _THOR.on(_JP72, "thor-jp72", "AGX Thor (T5000)"),
    _THOR.on(_JP722, "thor-jp722", "AGX Thor (T5000)"),
)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
BOARD = "board"
"""What a target is called that its device is asked for: :mod:`jetpress.deploy.device.derived`."""


def find(name: str) -> Target:
    """The target called ``name``.

    Raises:
        RecipeError: there is none; the closest names are offered.
    """
    if name in TARGETS:
        return TARGETS[name]
    if name == BOARD:
        raise RecipeError(
            f"--target {BOARD} is whatever the device given is, and no device is asked here",
            "`jetpress device show user@host` says which targets fit it: name one of them",
        )
    close = difflib.get_close_matches(name, TARGETS, n=2, cutoff=0.4)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    raise RecipeError(f"there is no target {name!r}", f"{guess}`jetpress targets` lists all {len(TARGETS)}")
