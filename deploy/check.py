"""Is this machine ready: versions, CPU and GPU, disk."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("torch", "torchvision", "numpy", "onnx", "onnxscript", "safetensors", "polygraphy", "scikit-learn")
OPTIONAL = {
    "tensorrt-rtx-cu13": "TARGET=rtx needs it: pip install 'jetpress[rtx]' (x86-64 Linux)",
    "tensorrt": "only to build plain TensorRT engines on this host: pip install 'jetpress[tensorrt]'",
    "pycuda": "only beside tensorrt: pip install 'jetpress[tensorrt]' (needs the CUDA toolkit)",
    "timm": "only for timm: networks: pip install 'jetpress[timm]'",
}
TORCH_SAFE = (2, 10)
DISK_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that jetpress needs or can use; the machine is ready where all are ok."""

    what: str
    found: str
    ok: bool = True
    hint: str = ""


def check() -> list[Finding]:
    """Everything in the order in which people ask for it."""
    return [
        _python(),
        *map(_needed, NEEDED),
        _runtime(),
        *_optional(),
        _torch_is_safe(),
        _cpu(),
        _gpu(),
        _disk(),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    return Finding(
        "python", platform.python_version(), sys.version_info >= (3, 11), "install Python 3.11 or newer"
    )


def _needed(package: str) -> Finding:
    version = _version(package)
    return Finding(package, version or "missing", version is not None, f"pip install {package}")


def _runtime() -> Finding:
    version = _version("onnxruntime-gpu") or _version("onnxruntime")
    return Finding("onnxruntime", version or "missing", version is not None, "pip install onnxruntime-gpu")


def _optional() -> list[Finding]:
    return [
        Finding(package, _version(package) or f"not installed ({why})") for package, why in OPTIONAL.items()
    ]


def _torch_is_safe() -> Finding:
    version = _version("torch") or "0.0"
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    return Finding(
        "weights_only loading",
        f"torch {version}",
        numbers >= TORCH_SAFE,
        "torch older than 2.10 can be made to run code by a weights file: pip install -U torch",
    )


def _cpu() -> Finding:
    return Finding("cpu", f"{cpu_name()}, {cores()} cores")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """As the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _gpu() -> Finding:
    return Finding("gpu", gpu_name() or "none: training runs on the CPU")


def gpu_name() -> str | None:
    """As ``nvidia-smi`` tells it; None without one."""
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    hint = "a run of the default recipe needs about 0.5 GB; free some, or set JETPRESS_RUNS to another disk"
    return Finding("free disk", f"{free:.1f} GB", free >= DISK_GB, hint)
