"""Why tensorrt cannot be imported, and what helps."""


def tensorrt_import(name: str, message: str) -> str:
    """The remedy for one failed import, from the message that the interpreter gave."""
    if "nvdla_compiler" in message:
        return (
            "libnvdla_compiler.so is missing. JetPack 6: `sudo apt install nvidia-l4t-dla-compiler`. "
            "JetPack 7.2 does not ship it: use JetPack's own tensorrt, not an -igpu container. "
            "In a container: start it with --runtime nvidia"
        )
    if name == "tensorrt_rtx":
        return "python3 -m pip install tensorrt-rtx-cu13"
    if "cannot open shared object" in message:
        return (
            "a CUDA or TensorRT library is missing: `sudo apt install nvidia-jetpack`; "
            "in a container, start it with --runtime nvidia"
        )
    return (
        "on a Jetson: `sudo apt install python3-libnvinfer`, and run the runner with the system's own "
        "/usr/bin/python3 (a virtual environment needs --system-site-packages)"
    )
