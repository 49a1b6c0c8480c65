"""Plugins are loaded for who needs them: what TensorRT would do of it only a board shows."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from jetpress.deploy.runner.system.failures import ToolMissing
from jetpress.deploy.runner.tensorrt import plugins


def test_only_a_file_with_a_plugin_loads_the_library(tmp_path: Path) -> None:
    asked: list[object] = []

    def load(log: object, namespace: str) -> bool:
        asked.append((log, namespace))
        return True

    trt = ModuleType("tensorrt")
    vars(trt).update(__version__="10.3.0", init_libnvinfer_plugins=load)
    (tmp_path / "plain.onnx").write_bytes(b"Conv, Relu, NonMaxSuppression")
    (tmp_path / "plugin.onnx").write_bytes(b"Conv, EfficientNMS_TRT")
    log = cast("Any", "log")
    plugins.register(trt, log, str(tmp_path / "plain.onnx"))
    plugins.register(trt, log, b"an engine")
    assert not asked
    plugins.register(trt, log, str(tmp_path / "plugin.onnx"))
    plugins.register(trt, log, b"an engine with EfficientNMS_TRT in it")
    assert asked == [("log", ""), ("log", "")]
    del trt.init_libnvinfer_plugins
    with pytest.raises(ToolMissing, match=r"10\.3\.0 does not load its plugins"):
        plugins.register(trt, log, str(tmp_path / "plugin.onnx"))
