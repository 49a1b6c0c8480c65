"""Freed memory stays with the process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jetpress.pipeline.training.allocator import keep_memory

FAULTS = """
import resource, torch
from torch import nn
from jetpress.pipeline.pruning import replay
from jetpress.pipeline.training.allocator import keep_memory

torch.set_num_threads(1)
module = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
images = (torch.randn(8, 3, 112, 112),)
with torch.no_grad():
    runs = replay.of(module, images)
    runs.outputs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    runs.outputs()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, int(keep_memory()))
"""
"""Page faults while a recorded network runs once more."""
MAP_PAGES = 8 * 64 * 110 * 110 * 4 // 4096
"""Of one feature map."""


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """As in a process that has not called it."""
    keep_memory.cache_clear()
    yield
    keep_memory.cache_clear()


def test_it_is_harmless_where_the_c_library_has_no_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        def __init__(self, name: str | None) -> None:
            pass

    monkeypatch.setattr(ctypes, "CDLL", Without)
    assert keep_memory() is False


def test_a_network_that_runs_again_finds_the_memory_of_before() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    faults, kept = map(int, done.stdout.split())
    if not kept:
        pytest.skip("this C library has no such thresholds")
    assert faults < MAP_PAGES / 10
