"""Memory that is not given back to the kernel while a network runs on a CPU."""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``mallopt``, from its malloc.h."""


@cache
def keep_memory() -> bool:
    """Let glibc keep freed memory for the next feature map, instead of giving it back and clearing it anew.

    Whether it was done: other C libraries have no such thresholds. For the whole process, from the first call on. Only
    speed changes, by half and more where feature maps are large (`python -m studies.allocator`).
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    most = 2**31 - 1  # an int
    return bool(set_option(M_MMAP_THRESHOLD, most) and set_option(M_TRIM_THRESHOLD, most))
