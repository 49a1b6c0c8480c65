"""The clocks of every measurement; neither jumps when a board without a battery learns what time it is."""

import time
from typing import Callable

now_ns: Callable[[], int] = getattr(time, "perf_counter_ns", None) or (lambda: int(time.perf_counter() * 1e9))

_START = time.time() - time.monotonic()


def seconds() -> float:
    """Unix time as it was at the start, plus the time that passed since."""
    return _START + time.monotonic()
