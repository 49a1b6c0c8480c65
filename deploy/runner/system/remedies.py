"""Why a backend's library cannot be imported, and what helps."""

import os
import sys
import sysconfig

PACKAGES = {"tensorrt_rtx": "tensorrt-rtx-cu13"}  # where the package has another name than the module


def remedy_of(name: str, message: str) -> str:
    """The remedy for the failed import of any library."""
    if name == "tensorrt":
        return tensorrt_import(message)
    return pip_install(PACKAGES.get(name, name))


def pip_install(package: str) -> str:
    """What installs a package for this interpreter."""
    marked = os.path.isfile(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
    return allowed("python3 -m pip install " + package, marked and sys.prefix == sys.base_prefix)


def allowed(command: str, managed: bool) -> str:
    """The same for a python3 that belongs to apt (`managed`: Ubuntu 24.04, JetPack 7), where pip refuses (PEP 668).

    It goes below ~/.local then; apt's own files stay as they are.
    """
    return (
        command.replace("pip install", "pip install --user --break-system-packages") if managed else command
    )


def tensorrt_import(message: str) -> str:
    """The remedy for TensorRT, which is part of JetPack, from the message that the interpreter gave."""
    if "nvdla_compiler" in message:
        return (
            "libnvdla_compiler.so is missing. JetPack 6: `sudo apt install nvidia-l4t-dla-compiler`. "
            "JetPack 7.2 does not ship it: use JetPack's own tensorrt, not an -igpu container. "
            "In a container: start it with --runtime nvidia"
        )
    if "cannot open shared object" in message:
        return (
            "a CUDA or TensorRT library is missing: `sudo apt install nvidia-jetpack`; "
            "in a container, start it with --runtime nvidia"
        )
    return (
        "on a Jetson: `sudo apt install python3-libnvinfer`, and run the runner with the system's own "
        "/usr/bin/python3 (a virtual environment needs --system-site-packages)"
    )
