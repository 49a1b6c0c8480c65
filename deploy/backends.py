"""BACKENDS: one frozen record for each runtime that makes and runs engines, as plain facts.

What the host must know of a runtime stands here; how the runner opens it is ``deploy/runner/backends/NAME.py``, which
is found by the record's name. To add one: that file, and a record here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Dialect = Literal["tensorrt8", "tensorrt", "tensorrt_fp8", "onnxruntime"]
"""How Q/DQ are written: :mod:`jetpress.pipeline.quantization.dialect`."""


@dataclass(frozen=True)
class Backend:
    """What the pipeline must know about a runtime before it runs."""

    title: str
    module: str
    """The Python module that the runner imports on the device."""
    install: str
    """What installs it on a device that is no board."""
    dialect: Callable[[str, str], Dialect]
    """The target's version of TensorRT and the precision -> how it reads Q/DQ."""
    preflight: Literal["tables", "trial", "none"]
    """How a graph is judged beforehand. ``tables``: by NVIDIA's operator tables for the target's version; ``trial``:
    by the library itself, where it is installed here (the runner's file then has ``attempt``)."""
    second_opinion: str = ""
    """Another backend whose library is asked besides, where it is installed here."""
    in_jetpack: bool = False
    """Boards have it from their JetPack: engines are built on the board, never on the host."""
    ahead_of_time: bool = False
    """Engines are built here, for GPUs that need not be here; no device is asked."""
    needs_gpu: bool = False
    """Engines run on an NVIDIA GPU."""
    sparse_kernels: bool = False
    """2:4 sparsity can be faster, on a GPU that has it in hardware."""
    flags_before: int = 0
    """Before this major version of TensorRT its builder is told precisions by flags; later they are the graph's."""
    package: str = ""
    """For ``jetpress check``: what makes engines for it on this host, where jetpress does not bring it itself."""
    needed_for: str = ""
    """What that package is for, and what installs it."""


def _of_tensorrt(version: str, precision: str) -> Dialect:
    if precision == "fp8":
        return "tensorrt_fp8"
    return "tensorrt8" if version.startswith("8.") else "tensorrt"


def _of_onnxruntime(version: str, precision: str) -> Dialect:
    return "onnxruntime"


BACKENDS: dict[str, Backend] = {
    "onnxruntime": Backend(
        title="ONNX Runtime",
        module="onnxruntime",
        install="python3 -m pip install onnxruntime",
        dialect=_of_onnxruntime,
        preflight="trial",
    ),
    "tensorrt": Backend(
        title="TensorRT",
        module="tensorrt",
        install="python3 -m pip install tensorrt",
        dialect=_of_tensorrt,
        preflight="tables",
        second_opinion="tensorrt_rtx",  # its parser is that of a recent TensorRT
        in_jetpack=True,
        needs_gpu=True,
        sparse_kernels=True,
        flags_before=11,
        package="tensorrt",
        needed_for="--target gpu needs it (an NVIDIA GPU here): pip install 'jetpress[tensorrt]'",
    ),
    "tensorrt_rtx": Backend(
        title="TensorRT-RTX",
        module="tensorrt_rtx",
        install="python3 -m pip install tensorrt-rtx-cu13",
        dialect=_of_tensorrt,
        preflight="trial",
        ahead_of_time=True,
        needs_gpu=True,
        sparse_kernels=True,
        package="tensorrt-rtx-cu13",
        needed_for="--target rtx needs it: pip install 'jetpress[rtx]' (x86-64 Linux)",
    ),
}
