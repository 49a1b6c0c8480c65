"""How much memory a build may take, and what it will: on a board GPU and CPU share it, and who takes all is killed.

The builder's default workspace is all the memory that the GPU sees, which on such a board is all there is. So it gets a
share of what is free, and half of that again where a build fails for memory.
"""

import re
from typing import NamedTuple, Optional

from .identity import Board

SHARE = 0.5  # of what is free; the rest is for weights, engine and system
LEAST_MB = 64  # of workspace; with less no tactic of a convolution fits
CONTEXT_MB = 600  # CUDA's context and TensorRT's libraries: a rule of thumb
COPIES = 3  # of the weights while it is built: as parsed, as the builder's, in the engine


class Memory(NamedTuple):
    """What the kernel says, in MiB."""

    free: int
    swap: int  # free
    zram: bool  # a swap that is compressed memory: it takes what it gives


def look(board: Board) -> Memory:
    """Read it."""
    text = board.read("proc/meminfo") or ""
    sizes = {name: int(size) >> 10 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    swaps = board.read("proc/swaps") or ""
    return Memory(sizes.get("MemAvailable", 0), sizes.get("SwapFree", 0), "zram" in swaps)


def workspace(memory: Memory) -> Optional[int]:
    """MiB for the builder where GPU and CPU share the memory; None where nothing is known of it."""
    return max(int(memory.free * SHARE), LEAST_MB) if memory.free else None


def peak(model_bytes: int, workspace_mb: int) -> int:
    """MiB that a build takes at most, estimated."""
    return CONTEXT_MB + COPIES * (model_bytes >> 20) + workspace_mb


def advice(memory: Memory) -> str:
    """What gives a build more of it."""
    words = "stop other programs (sudo systemctl isolate multi-user.target frees the desktop's share)"
    words += ", lower workspace_mb"
    if memory.zram:
        words += ", take zram away, which shares the same memory (sudo systemctl disable --now nvzramconfig)"
    if memory.swap < 4096:
        words += (
            ", add swap on a disk (sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && "
            "sudo mkswap /swapfile && sudo swapon /swapfile)"
        )
    return words


def warning(model_bytes: int, workspace_mb: int, memory: Memory) -> str:
    """What to say before a build that may not fit; empty where it does."""
    needed = peak(model_bytes, workspace_mb)
    if not memory.free or needed <= memory.free + memory.swap:
        return ""
    return (
        "warning: the build may take %d MiB (an estimate), and %d MiB are free, with %d MiB of swap: %s"
        % (
            needed,
            memory.free,
            memory.swap,
            advice(memory),
        )
    )
