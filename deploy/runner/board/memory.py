"""How much memory a build may take, and what it will: on a board GPU and CPU share it, and who takes all is killed.

The builder's default workspace is all the memory that the GPU sees, which on such a board is all there is. So it gets a
share of what is free, and half of that again where a build fails for memory.
"""

import re
import resource
import threading
from typing import Dict, NamedTuple, Optional

from ..system.failures import DeviceError
from .identity import Board

SHARE = 0.5  # of what is free; the rest is for weights, engine and system
LEAST_MB = 64  # of workspace; with less no tactic of a convolution fits
CONTEXT_MB = 600  # CUDA's context and TensorRT's libraries: a rule of thumb
PERIOD_S = 0.05
COPIES = 3  # of the weights while it is built: as parsed, as the builder's, in the engine


class Memory(NamedTuple):
    """What the kernel says, in MiB."""

    free: int
    swap: int  # free
    zram: bool  # a swap that is compressed memory: it takes what it gives
    total: int = 0  # of the board
    all_swap: int = 0


def look(board: Board) -> Memory:
    """Read it."""
    text = board.read("proc/meminfo") or ""
    sizes = {name: int(size) >> 10 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    swaps = board.read("proc/swaps") or ""
    free, swap = sizes.get("MemAvailable", 0), sizes.get("SwapFree", 0)
    return Memory(free, swap, "zram" in swaps, sizes.get("MemTotal", 0), sizes.get("SwapTotal", 0))


class Watched:
    """How much memory went while something ran, in the block: of the whole machine, GPU included where it shares it."""

    def __init__(self, board: Board) -> None:
        self.board, self.before = board, look(board)
        self.least = self.before.free + self.before.swap
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            now = look(self.board)
            self.least = min(self.least, now.free + now.swap)
            if self._stop.wait(PERIOD_S):
                return

    def facts(self) -> Dict[str, int]:
        """MiB: what went at most (others' share is in it), the most that this process held, and what there is."""
        went = self.before.free + self.before.swap - self.least
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        return {
            "peak_mb": max(went, 0),
            "process_mb": held,
            "free_mb": self.before.free,
            "total_mb": self.before.total,
        }


def in_words(facts: Dict[str, int]) -> str:
    """For people."""
    if not facts["total_mb"]:
        return "%(process_mb)d MiB of memory" % facts
    return (
        "at most %(peak_mb)d MiB of the %(total_mb)d MiB of this machine (the process %(process_mb)d)" % facts
    )


def refuse_unless_it_can_fit(model_bytes: int, memory: Memory) -> None:
    """Before a build for which the board has not enough, whatever else ends on it.

    Raises DeviceError where the weights alone, as parsed and in the engine, are more than all memory and swap.
    """
    needed = 2 * (model_bytes >> 20) + LEAST_MB
    if memory.total and needed > memory.total + memory.all_swap:
        raise DeviceError(
            "the build needs %d MiB at least, and this board has %d MiB and %d MiB of swap"
            % (needed, memory.total, memory.all_swap),
            advice(memory),
        )


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
