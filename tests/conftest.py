"""One thread for each test process: two of them share the machine, and results do not depend on the split."""

from __future__ import annotations

import gc
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

# A test asserts no times: a slow or busy machine must not fail one.
settings.register_profile("jetpress", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("jetpress")

# Behind nohup or in a shell's background SIGINT is ignored, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the tests import, a million objects with PyTorch's, stays: looking at it again took a seventh of the time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(700, 10, 100)  # the rest is small, and a full collection every now and then will do
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # extension modules say what was never given back
