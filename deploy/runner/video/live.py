"""What the live view shows: the newest frame with its results, how fast it goes, and what the board says."""

import threading
from collections import deque
from typing import Any, Deque, Dict, List, Optional

import numpy as np

from ..board.sensors import Sensors
from ..interface.tensors import Array
from ..system import clock
from .bench import Turn
from .picture import Picture

KEPT = 16  # frames that a browser may still ask for
WINDOW = 60  # turns that rates are of
LOOK_S = 1.0  # between two looks at power and heat
COLOURS = np.array(
    [[74, 222, 128], [96, 165, 250], [244, 114, 182], [250, 204, 21], [251, 146, 60]], np.uint8
)


class Live:
    """Written by whoever runs the engine, read by whoever answers a browser."""

    def __init__(self, about: Dict[str, Any], picture: Picture, sensors: Sensors) -> None:
        self.about, self.picture, self.sensors = about, picture, sensors
        self.lock = threading.Lock()
        self.number, self.dropped = 0, 0
        self.frames: Dict[int, Array] = {}
        self.found: Dict[str, Any] = {}
        self.turns: Deque[Turn] = deque(maxlen=WINDOW)
        self.watts: Optional[float] = None
        self.celsius: Optional[float] = None
        self.looked = 0.0

    def add(self, turn: Turn, dropped: int) -> None:
        """A batch whose results are there; its last frame is shown."""
        self._look()
        pixels, found = turn.frames[-1].pixels, dict(turn.meanings[-1])
        mask = found.pop("mask", None)
        shown = as_rgb(pixels, self.picture)
        with self.lock:
            self.number, self.dropped = self.number + 1, dropped
            self.frames[self.number] = shown if mask is None else tinted(shown, mask)
            self.frames.pop(self.number - KEPT, None)
            self.found = found
            self.turns.append(turn)

    def _look(self) -> None:
        if clock.seconds() - self.looked > LOOK_S:
            self.looked, sample = clock.seconds(), self.sensors.sample()
            self.watts, self.celsius = sample.total_watts, max(sample.celsius.values(), default=None)

    def state(self) -> Dict[str, Any]:
        """For JSON; all of one moment."""
        with self.lock:
            turns, told = list(self.turns), dict(self.about, number=self.number, found=self.found)
        frames = sum(len(turn.frames) for turn in turns[1:])
        seconds = turns[-1].ended - turns[0].ended if len(turns) > 1 else 0.0
        waits = [1000 * (turn.ended - turn.frames[-1].arrived) for turn in turns]
        told.update(
            frames_per_s=frames / seconds if seconds else None,
            latency_ms=_middle(waits),
            compute_ms=_middle([turn.took["compute"] for turn in turns]),
            watts=self.watts,
            celsius=self.celsius,
            dropped=self.dropped,
        )
        return told

    def bitmap(self, number: int) -> Optional[bytes]:
        """A frame that was shown lately, as a file that every browser knows."""
        with self.lock:
            shown = self.frames.get(number)
        return None if shown is None else bmp(shown)


def _middle(values: List[float]) -> Optional[float]:
    return sorted(values)[len(values) // 2] if values else None


def as_rgb(pixels: Array, picture: Picture) -> Array:
    """`[height, width, 3]`, whatever the network's order is."""
    if picture.channels == 1:
        return np.repeat(pixels, 3, axis=2)
    return pixels[..., ::-1] if picture.colour == "bgr" else pixels


def tinted(shown: Array, mask: Array) -> Array:
    """Half of a colour over each class but the first, which is the background."""
    rows = np.arange(shown.shape[0]) * mask.shape[0] // shown.shape[0]
    columns = np.arange(shown.shape[1]) * mask.shape[1] // shown.shape[1]
    whole = mask[rows[:, None], columns]
    tint: Array = np.where(
        whole[..., None] > 0, (shown // 2 + COLOURS[whole % len(COLOURS)] // 2).astype(np.uint8), shown
    )
    return tint


def bmp(shown: Array) -> bytes:
    """A Windows bitmap: rows from the last to the first, blue first, each row on four bytes."""
    height, width = shown.shape[:2]
    row = (3 * width + 3) // 4 * 4
    rows = np.zeros((height, row), np.uint8)
    rows[:, : 3 * width] = shown[::-1, :, ::-1].reshape(height, -1)
    head = np.array([54 + rows.size, 0, 54, 40, width, height], "<i4").tobytes()
    more = np.array([1, 24], "<i2").tobytes() + np.array([0, rows.size, 2835, 2835, 0, 0], "<i4").tobytes()
    return b"BM" + head + more + rows.tobytes()
