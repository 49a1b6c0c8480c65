"""A board in this process."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from jetpress.deploy.runner.cuda import gpu
from tests.deploy.api import fake


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`board("8.5")` puts that TensorRT and a GPU into this process, with a HOME of their own."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))

    def install(version: str) -> Any:
        trt = fake.module(version)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        monkeypatch.setattr(gpu, "connect", fake.Gpu)
        return trt

    return install
