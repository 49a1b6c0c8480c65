"""Trying again after a lost connection: pauses that grow, until nothing has moved for too long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from jetpress.deploy import console
from jetpress.deploy.device.ssh import ConnectionLost
from jetpress.deploy.errors import DeviceError

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
GIVE_UP_S = 300.0
"""Without one more byte or line for so long, the device is given up."""


@dataclass
class Attempts:
    """Pauses of 1, 2, 4 .. 30 s between attempts; gives up when nothing has moved for five minutes."""

    who: str
    furthest: int = -1
    failed: int = 0
    since: float = field(default_factory=time.monotonic)

    def reached(self, arrived: int) -> None:
        """So much is there now: the deadline moves if that is further than before."""
        if arrived > self.furthest:
            self.furthest = arrived
            self.moved()

    def moved(self) -> None:
        """Something came: the deadline starts anew."""
        self.failed, self.since = 0, time.monotonic()

    def pause(self, lost: ConnectionLost) -> None:
        """Wait before the next attempt.

        Raises:
            DeviceError: it would be too late then.
        """
        pause = min(FIRST_PAUSE_S * 2**self.failed, LONGEST_PAUSE_S)
        self.failed += 1
        if time.monotonic() + pause - self.since > GIVE_UP_S:
            raise DeviceError(
                f"given up after {GIVE_UP_S:g} s without a byte: {lost.what}",
                "the same command goes on where this one stopped",
            ) from lost
        console.say(f"    lost the connection to {self.who}, trying again in {pause:g} s")
        time.sleep(pause)
