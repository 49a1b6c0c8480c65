"""Runs on the device: what it says of itself, unparsed; `deploy/device/board.py` reads it.

Request: {"folder": the working folder, "packages": Python modules whose versions are asked}.
Answer: one line of JSON with the texts of files and commands.
"""

import glob
import json
import os
import platform
import subprocess
import sys
import sysconfig
from typing import Dict, List

PATIENCE_S = 40  # a Nano takes 10 s to import tensorrt for the first time after a boot
LONGEST = 100000
FILES = {
    "model": "/proc/device-tree/model",
    "compatible": "/proc/device-tree/compatible",
    "nv_tegra_release": "/etc/nv_tegra_release",
    "nvpmodel_conf": "/etc/nvpmodel.conf",
    "meminfo": "/proc/meminfo",
    "cpuinfo": "/proc/cpuinfo",
    "os_release": "/etc/os-release",
    "allowed_signers": "/etc/jetpress/allowed_signers",
    "cuda_json": "/usr/local/cuda/version.json",
    "cuda_txt": "/usr/local/cuda/version.txt",
    "cuda_header": "/usr/local/cuda/include/cuda.h",
}
VERSION_OF = "import %s as module; print('version', module.__version__)"
COMMANDS = {
    "nvpmodel": ["nvpmodel", "-q"],
    "dpkg_core": ["dpkg", "-s", "nvidia-l4t-core"],
    "dpkg_tensorrt": [
        "dpkg-query",
        "-W",
        "-f",
        "${Package} ${Version}\\n",
        "libnvinfer[0-9]*",
        "tensorrt-libs",
    ],
    "nvidia_smi": ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
}
ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
    "ORT_DISABLE_TELEMETRY": "1",  # importing onnxruntime would write to ~/.cache
}
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
DLA_COMPILER = ["/usr/lib/*/nvidia/libnvdla_compiler.so", "/usr/lib/*/tegra/libnvdla_compiler.so"]


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    commands = dict(COMMANDS)
    for name in request["packages"]:
        # Each in a process of its own: a broken library ends that one, and its last words say why.
        commands["import_" + name] = [sys.executable or "python3", "-c", VERSION_OF % name]
    answer = {
        "files": {name: read(path) for name, path in FILES.items() if os.path.exists(path)},
        "commands": run_all(commands),
        "python": platform.python_version(),
        "pip_refuses": pip_refuses(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "dla_compiler": any(glob.glob(pattern) for pattern in DLA_COMPILER),
        "trtexec": TRTEXEC if os.access(TRTEXEC, os.X_OK) else "",
        "disk_free": disk_free(request["folder"]),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def run_all(commands: Dict[str, List[str]]) -> Dict[str, Dict[str, object]]:
    """All at once: most of the time goes into imports that wait for a slow disk."""
    started = {}
    for name, argv in commands.items():
        try:
            started[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(os.environ, **ENVIRONMENT),
            )
        except OSError:
            pass  # it is not installed: nothing to say is the answer
    answers: Dict[str, Dict[str, object]] = {}
    for name, process in started.items():
        try:
            out, errors = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            errors += b"\nno answer in %d s" % PATIENCE_S
        answers[name] = {"status": process.returncode, "out": text(out), "err": text(errors[-2000:])}
    return answers


def read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return text(file.read(LONGEST))
    except OSError:
        return ""


def text(content: bytes) -> str:
    return content[:LONGEST].decode("utf-8", "replace")


def pip_refuses() -> bool:
    """PEP 668: this python3 belongs to apt."""
    marked = os.path.isfile(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
    return marked and sys.prefix == sys.base_prefix


def disk_free(folder: str) -> int:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


if __name__ == "__main__":
    main()
