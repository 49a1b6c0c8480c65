"""TensorRT's own plugins, for a file or an engine that asks for one."""

import mmap
from types import ModuleType
from typing import TYPE_CHECKING, Union

from ..system.failures import ToolMissing

if TYPE_CHECKING:
    from tensorrt import ILogger

NAMES = (b"EfficientNMS_TRT",)
"""What jetpress writes; an ONNX file and an engine have it in plain text."""
REGISTER = "init_libnvinfer_plugins"


def register(trt: ModuleType, log: "ILogger", where: Union[bytes, str]) -> None:
    """Load libnvinfer_plugin where the engine, given as bytes, or the ONNX file at a path needs it; it takes memory.

    Raises:
        ToolMissing: this TensorRT has no plugins.
    """
    if not _names_one(where):
        return
    load = getattr(trt, REGISTER, None)
    if load is None or not load(log, ""):
        raise ToolMissing(
            "TensorRT %s does not load its plugins, and the engine needs %s"
            % (trt.__version__, NAMES[0].decode()),
            "leave export.output out, or install libnvinfer-plugin",
        )


def _names_one(where: Union[bytes, str]) -> bool:
    if isinstance(where, bytes):
        return any(name in where for name in NAMES)
    with open(where, "rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(name) >= 0 for name in NAMES)
