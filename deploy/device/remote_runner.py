"""Running the bundle's runner on a device: its prose goes by, its events come back, its failures become ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.device import events
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.events import Event, Failure, Other, Progress, Result
from jetpress.deploy.device.retry import Attempts
from jetpress.deploy.device.ssh import ConnectionLost
from jetpress.deploy.errors import (
    BenchmarkInvalid,
    DeviceError,
    JetpressError,
    StageError,
    ToolMissing,
    TrustError,
)
from jetpress.deploy.process import Completed, plain

# The runner's exit codes mean what ours mean.
FAILURES: dict[int, type[JetpressError]] = {
    error.exit_code: error for error in (ToolMissing, StageError, DeviceError, TrustError, BenchmarkInvalid)
}
URGENT = ("warning", "error", "interrupted")
"""How lines of the runner begin that are shown whatever is asked for; others go by as the progress of the work."""
KILLED = 137
"""128 and signal 9, as a shell says it."""


class _Listener:
    """Collects the events of a runner, and shows what a person wants to see go by."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.malformed: DeviceError | None = None
        """The first event that makes no sense; why the runner failed, if it did, is more worth telling."""
        self.prose: list[str] = []

    def event(self, line: str) -> None:
        try:
            event = events.read(line)
        except DeviceError as error:
            self.malformed = self.malformed or error
            return
        if event is None:
            return  # a library that prints to stdout is not an event
        self.events.append(event)
        if isinstance(event, Progress):
            console.note(f"{event.model}: {event.phase}, {event.step} of {event.steps}", lasting=False)

    def say(self, line: str) -> None:
        self.prose.append(line)
        if line.startswith(URGENT):
            console.say(f"    {line}")
        else:
            console.note(line)


def send(device: Device, directory: Path, name: str) -> str:
    """Send a directory, and show how far it is; its path there."""
    with console.progress("sending", 0) as line:

        def step(done: int, total: int) -> None:
            line.total = total
            line.step(f"{done / 2**20:.0f} of {total / 2**20:.0f} MiB", done - line.done)

        return device.put(directory, name, step)


def run(device: Device, folder: str, *arguments: str) -> list[Event]:
    """Run the runner that lies in ``folder``; it ends with us. After a lost connection it is run again.

    What was measured comes back whatever the verdict on it: that is part of it.

    Raises:
        JetpressError: of the kind that the runner's exit code names.
    """
    attempts = Attempts(device.name)
    while True:
        heard = _Listener()
        try:
            done = device.run(_argv(device, folder, arguments), on_line=heard.event, on_error=heard.say)
            return _judged(device, arguments[0], done, heard)
        except ConnectionLost as lost:
            attempts.pause(lost)


def run_detached(
    device: Device, name: str, folder: str, *arguments: str, log: Callable[[str], object] | None = None
) -> list[Event]:
    """The same, but it goes on there when we end, and is found again by ``name``.

    Args:
        device: where to.
        name: letters and digits that stand for exactly this work.
        folder: of the runner.
        arguments: of the runner.
        log: is handed all that it said to people.
    """
    heard = _Listener()
    done = device.run_detached(name, _argv(device, folder, arguments), heard.event, heard.say)
    if log is not None:
        log("".join(f"{line}\n" for line in heard.prose))
    return _judged(device, arguments[0], done, heard)


def _is_measured(event: Event) -> bool:
    """Of an engine, or of the power modes together."""
    return isinstance(event, Result) or (isinstance(event, Other) and event.name == "power")


def _argv(device: Device, folder: str, arguments: tuple[str, ...]) -> list[str]:
    return [device.python, f"{folder}/runner.pyz", *arguments]


def _judged(device: Device, command: str, done: Completed, heard: _Listener) -> list[Event]:
    measured = any(map(_is_measured, heard.events))
    if done.returncode == 0 or (done.returncode == BenchmarkInvalid.exit_code and measured):
        if heard.malformed is not None:
            raise heard.malformed
        return heard.events
    failure = FAILURES.get(done.returncode, DeviceError)
    reason = next((event for event in reversed(heard.events) if isinstance(event, Failure)), None)
    what = reason.what if reason else done.stderr.strip()[-500:]
    hint = (reason.hint if reason else "") or "see what the runner said"
    if done.returncode == KILLED and reason is None:
        what = "it was killed: the memory there has probably run out"
        hint = "stop other programs there, add swap, or lower build.workspace_mb; `dmesg` there says who killed it"
    what = what or f"the runner ended with {done.returncode}"
    raise failure(f"{command} on {device.name}: {plain(what)}", plain(hint))
