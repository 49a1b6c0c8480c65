"""Is this machine ready: versions, CPU and GPU, disk."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

from jetpress.deploy.requirements import Finding, findings

DISK_GB = 2.0


class Report(TypedDict):
    """Whether all is there that a run on this machine needs, and what was looked at."""

    ready: bool
    findings: list[Finding]


def check() -> Report:
    """The packages that jetpress asks for, Python, CPU and GPU, and the disk."""
    found = [_python(), *findings(), _cpu(), _gpu(), _disk()]
    return Report(ready=all(one["ok"] for one in found), findings=found)


def lines(report: Report) -> list[str]:
    """The report for people; what is not as it has to be with its remedy."""
    said = []
    for one in report["findings"]:
        needed = f" (needed: {one['needed']})" if one["needed"] else ""
        said.append(f"{'ok ' if one['ok'] else 'NO '} {one['what']:<22} {one['found']}{needed}")
        if not one["ok"]:
            said.append(f"    hint: {one['hint']}")
    return said


def _finding(what: str, found: str, ok: bool = True, hint: str = "", needed: str = "") -> Finding:
    return Finding(what=what, found=found, needed=needed, ok=ok, hint=hint)


def _python() -> Finding:
    return _finding(
        "python",
        platform.python_version(),
        sys.version_info >= (3, 11),
        "install Python 3.11 or newer",
        ">=3.11",
    )


def _cpu() -> Finding:
    return _finding("cpu", f"{cpu_name()}, {cores()} cores")


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
    return _finding("gpu", gpu_name() or "none: training runs on the CPU")


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
    return _finding("free disk", f"{free:.1f} GB", free >= DISK_GB, hint)
