"""A program on a device that goes on when the connection, or this process, is gone; the next run finds it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jetpress.deploy import console
from jetpress.deploy.device.protocol import Channel
from jetpress.deploy.device.retry import Attempts
from jetpress.deploy.device.ssh import ConnectionLost
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.fields import parse
from jetpress.deploy.process import Completed, Terms, plain

FOLDER = "running"
"""Below the working folder: one folder for each program (see `deploy/device/scripts/keep.py`)."""
SIGN_OF_LIFE_S = 15.0
KEPT = 2000
"""Of stderr, the last lines."""
OnLine = Callable[[str], None]


@dataclass
class _Heard:
    """What has come from the program so far, over however many connections."""

    who: str
    on_line: OnLine | None
    on_error: OnLine | None
    attempts: Attempts
    seen: dict[str, int] = field(default_factory=lambda: {"out": 0, "err": 0})
    last: dict[str, list[str]] = field(default_factory=lambda: {"out": [], "err": []})
    ended: bool = False
    status: int | None = None
    begun: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)

    def take(self, line: str) -> None:
        """One line of `follow`. Half a line, from a connection that was cut, is sent again."""
        answer = parse(line)
        if answer is None:
            return
        self.attempts.moved()
        if "status" in answer:
            status = answer["status"]
            self.ended, self.status = True, status if isinstance(status, int) else None
            return
        for stream, act in (("out", self.on_line), ("err", self.on_error)):
            printed, goes_on = answer.get(stream), answer.get("next")
            if isinstance(printed, str) and isinstance(goes_on, int):
                self.seen[stream] = goes_on
                text = plain(printed)
                self.last[stream] = [*self.last[stream][-KEPT:], text]
                self.shown = time.monotonic()
                if act is not None:
                    act(text)
        if time.monotonic() - self.shown > SIGN_OF_LIFE_S:
            self.shown = time.monotonic()
            console.milestone(
                f"    {self.who} is at work, for {console.duration(self.shown - self.begun)} now"
            )


def run(
    device: Channel,
    name: str,
    argv: Sequence[str],
    on_line: OnLine | None = None,
    on_error: OnLine | None = None,
) -> Completed:
    """Run a program to its end, however often the connection breaks, and whoever started it.

    Args:
        device: where to.
        name: what the program is to do, in letters and digits. A program of this name that runs there, or has
            ended well while nobody listened, is not started again: what it printed is read from the beginning.
        argv: the program and its arguments.
        on_line: is handed each line of its stdout.
        on_error: is handed each line of its stderr.

    Raises:
        DeviceError: the device was not reached for five minutes, or the program was killed there.
    """
    folder = f"{device.folder}/{FOLDER}/{name}"
    attempts = Attempts(device.name)
    heard, started = _Heard(device.name, on_line, on_error, attempts), False
    try:
        while not heard.ended:
            try:
                if not started:
                    _start(device, folder, argv)
                    started = True
                request = {"do": "follow", "folder": folder, "seen": heard.seen}
                device.succeeded(device.call("keep", request, Terms(hold=True, on_line=heard.take)))
                if not heard.ended:
                    raise DeviceError(f"{device.name} does not say how it ended", "see what its python3 is")
            except ConnectionLost as lost:
                attempts.pause(lost)
    except KeyboardInterrupt:
        console.say(f"    it goes on on {device.name}: the same command finds it again,")
        console.say("    and `jetpress device clean` ends it")
        raise
    if heard.status is None:
        raise DeviceError(
            f"what ran on {device.name} was killed there: it had run out of memory, or was switched off",
            "see `dmesg` there; then run the same command again",
        )
    forget(device, folder)
    return Completed(heard.status, "\n".join(heard.last["out"]), "\n".join(heard.last["err"]))


def _start(device: Channel, folder: str, argv: Sequence[str]) -> None:
    answer = device.talk("keep", {"do": "start", "folder": folder, "argv": list(argv)}, Terms())
    state = {"running": "runs there", "finished": "has ended there"}.get(str(answer.get("found")))
    if state:
        console.say(f"    an earlier run started it: it {state}, and is not started again")


def forget(device: Channel, folder: str) -> None:
    """Its result has arrived; if the connection is lost just now, the next `clean` will do it."""
    try:
        device.talk("keep", {"do": "forget", "folder": folder}, Terms())
    except ConnectionLost:
        return
