"""doctor: what is here, what is missing, and the remedy for each. Needs nothing but the standard library."""

import glob
import os
import platform
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from . import backends
from .board import memory
from .board.identity import Board
from .cuda.cudart import cudart_paths
from .system.events import emit, tell
from .system.failures import ToolMissing
from .system.remedies import remedy_of, tensorrt_import

if TYPE_CHECKING:
    from .engines.manifest import Bundle

LEAST_DISK_MB, LEAST_MEMORY_MB = 500, 700
NVDLA = ("usr/lib/aarch64-linux-gnu/nvidia", "usr/lib/aarch64-linux-gnu/tegra", "usr/lib/aarch64-linux-gnu")
Check = Tuple[str, bool, bool, str, str]  # name, needed, ok, what was found, remedy


def run(bundle: Optional["Bundle"] = None, folder: str = ".") -> None:
    """Print one `check` for each thing; raises when something that is needed is missing.

    Without a bundle any one of the backends is enough.
    """
    missing = []
    for name, needed, well, found, remedy in checks(bundle, folder):
        emit("check", name=name, ok=well, needed=needed, found=found, remedy="" if well else remedy)
        tell(
            "%-7s %-14s %s%s"
            % (
                "ok" if well else "MISSING" if needed else "absent",
                name,
                found,
                "" if well or not remedy else "\n%23s%s" % ("", remedy),
            )
        )
        missing += [name] if needed and not well else []
    if missing:
        raise ToolMissing("missing here: %s" % ", ".join(missing), "the remedies are in the lines above")


def checks(bundle: Optional["Bundle"], folder: str) -> List[Check]:
    """Everything that the runner could need, in the order in which it would notice."""
    board = Board()
    needs = bundle.part("needs") if bundle else {}
    # Where no plan says otherwise, a backend has the name of the module that it imports.
    libraries = [str(needs.get("module") or bundle.backend)] if bundle else backends.names()
    imports = {name: _import(name) for name in ["numpy", "pycuda", "cuda.bindings"] + libraries}
    some = any(imports[name][0] for name in libraries)
    rows: List[Check] = [
        ("python", True, sys.version_info >= (3, 6), platform.python_version(), "use Python 3.6 or newer"),
        ("numpy", True) + imports["numpy"] + ("sudo apt install python3-numpy",),
    ]
    for name in libraries:
        well, found = imports[name]
        rows.append((name, not some, well, found, remedy_of(name, found)))
    rows += _cuda(imports, bool(needs.get("gpu")))
    if board.identity()["model"]:
        rows.append(_nvdla(board))
    rows.append(_disk(folder))
    rows.append(_memory(board))
    identity = board.identity()
    rows.append(
        (
            "board",
            False,
            bool(identity["model"]),
            "%s, %s" % (identity["model"] or "no Jetson", identity["l4t"] or "no L4T"),
            "",
        )
    )
    return rows


def _import(name: str) -> Tuple[bool, str]:
    """Try an import in another process: a broken library must not take the doctor with it."""
    code = "import importlib as i, sys; print(getattr(i.import_module(sys.argv[1]), '__version__', 'found'))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    environment["ORT_DISABLE_TELEMETRY"] = "1"  # importing onnxruntime would write to ~/.cache
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # noqa: S603
            env=environment,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, str(error)
    text = (done.stdout if done.returncode == 0 else done.stderr).decode("utf-8", "replace").strip()
    last = text.splitlines()[-1] if text else "ended with status %d" % done.returncode
    return done.returncode == 0, last


def _cuda(imports: Dict[str, Tuple[bool, str]], needed: bool) -> List[Check]:
    """One of three ways to device memory is enough; libcudart is wherever TensorRT is."""
    paths = cudart_paths()
    ways = [name for name in ("pycuda", "cuda.bindings") if imports[name][0]] + (
        ["libcudart"] if paths else []
    )
    return [
        (
            "cuda",
            needed,
            bool(ways),
            "through " + " or ".join(ways) if ways else "no pycuda, no cuda-python, no libcudart",
            "sudo apt install nvidia-jetpack; in a container, start it with --runtime nvidia",
        ),
        (
            "gpu",
            needed,
            _has_gpu(),
            "device node" if _has_gpu() else "no NVIDIA device node in /dev",
            "run on the board; in a container, start it with --runtime nvidia",
        ),
    ]


def _has_gpu() -> bool:
    return bool(glob.glob("/dev/nvidia[0-9]*") or glob.glob("/dev/nvhost-gpu") or glob.glob("/dev/nvgpu*"))


def _nvdla(board: Board) -> Check:
    places = [
        folder for folder in NVDLA if glob.glob(os.path.join(board.path(folder), "libnvdla_compiler.so*"))
    ]
    return (
        "nvdla_compiler",
        False,
        bool(places),
        places[0] if places else "libnvdla_compiler.so is nowhere",
        tensorrt_import("nvdla_compiler") + " (older TensorRT cannot be imported without it)",
    )


def _disk(folder: str) -> Check:
    free = shutil.disk_usage(folder).free >> 20
    return ("disk", True, free >= LEAST_DISK_MB, "%d MiB free" % free, "free at least %d MiB" % LEAST_DISK_MB)


def _memory(board: Board) -> Check:
    found = memory.look(board)
    return (
        "memory",
        False,
        found.free >= LEAST_MEMORY_MB,
        "%d MiB available, %d MiB swap free%s" % (found.free, found.swap, ", zram" * found.zram),
        memory.advice(found),
    )
