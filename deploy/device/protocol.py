"""Asking the programs of `deploy/device/scripts`, once they run on a device, and understanding what they answer."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jetpress.deploy.errors import DeviceError
from jetpress.deploy.fields import Fields, Malformed, parse
from jetpress.deploy.process import Completed, Terms

ANSWER_S = 600.0
"""A Nano hashes a gigabyte in ten seconds; no question takes so long on a device that works."""
HINTS = {
    errno.ENOSPC: "free some disk there, or run `jetpress device clean`; the next run goes on from here",
    errno.EACCES: "the folder must belong to the user that logs in: sudo chown -R $USER ~/.jetpress",
    errno.EBUSY: "wait until it has ended; if it was killed with its watchdog, the next `bench --lock-clocks` or a "
    "restart of the board brings the clocks back",
    errno.ENOENT: "it was not made, or was cleaned away: run the command again",
}


@dataclass(frozen=True)
class Channel:
    """A device, as far as a conversation with it goes."""

    name: str
    folder: str
    """Its working folder."""
    call: Callable[[str, Mapping[str, object], Terms], Completed]
    """Runs a program of `deploy/device/scripts` with a request."""

    def ask(self, do: str, **request: object) -> dict[str, object]:
        """One question to `deploy/device/scripts/files.py`, and its answer."""
        return self.talk("files", {"do": do, **request}, Terms(timeout=ANSWER_S))

    def talk(self, program: str, request: Mapping[str, object], terms: Terms) -> dict[str, object]:
        """Run a program and return the one line of JSON that it answers with.

        Raises:
            DeviceError: it reports a failure, or answers something else.
        """
        done = self.call(program, request, terms)
        self.succeeded(done)
        answer = parse(done.stdout)
        if answer is None:
            raise DeviceError(
                f"{self.name} did not answer as jetpress's own program does: {done.stdout.strip()[:200]!r}",
                "see what its python3 is, and whether a login script prints text",
            )
        return answer

    def succeeded(self, done: Completed) -> None:
        """Raise the failure that a program reports in the last line of its stderr."""
        if done.returncode == 0:
            return
        last = (done.stderr.strip().splitlines() or [""])[-1]
        report = Fields(parse(last) or {})
        try:
            number = None if report.is_null("errno") else report.integer("errno")
            what, path = report.text("error"), "" if report.is_null("path") else report.text("path")
        except Malformed:
            what, number, path = f"status {done.returncode}: {last[-300:]}", None, ""
        where = f" ({path[:200]})" if path else ""
        hint = HINTS.get(number, "") if number is not None else ""
        raise DeviceError(f"{self.name}: {what[:300]}{where}", hint or "see the message of the device")
