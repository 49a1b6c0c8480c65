"""Releases on a device: bring one there and let it serve, go back, ask. The device's slots do the work
(`deploy/runner/release/deployment.py`); what runs there is the runner that *we* send, never the one of a release."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.device import events, remote_runner
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.events import Slot
from jetpress.deploy.device.ssh import ConnectionLost
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.release.slots import ROOT
from jetpress.deploy.runner.trust.signers import FILE


@dataclass(frozen=True)
class Terms:
    """How a release is to be deployed; the paths are the device's."""

    signers: str = FILE
    target: str = ""
    """Refuse what was released for another one."""
    root: str = ROOT
    on_trial: bool = False
    """The application confirms it; else it is good when it gave the outputs that were promised."""


def deploy(device: Device, release: Path, terms: Terms) -> Slot:
    """Send a release; it serves when its engine was built and tried there. It goes on there when we end.

    Raises:
        TrustError: the device does not trust it.
        DeviceError: it is bad, by the reason given; what served before goes on.
    """
    runner = send_runner(device)
    sent = remote_runner.send(device, release, "release")
    words = ["deploy", sent, "--root", terms.root, "--signers", terms.signers, "--target", terms.target]
    words += ["--on-trial"] if terms.on_trial else []
    name = hashlib.sha256("\0".join([runner, *words]).encode()).hexdigest()[:16]
    try:
        return events.last(remote_runner.run_detached(device, f"deploy{name}", runner, *words), Slot)
    finally:
        if sys.exc_info()[0] is not KeyboardInterrupt:  # then it goes on there
            _forget(device, sent)


def rollback(device: Device, name: str, root: str) -> Slot:
    """Let the release serve that served before; the slot that serves now.

    Raises:
        DeviceError: there is none, or it is damaged.
    """
    words = ["rollback", "--root", root, "--name", name]
    return events.last(remote_runner.run(device, send_runner(device), *words), Slot)


def status(device: Device, root: str) -> list[Slot]:
    """Every slot of every network there."""
    said = remote_runner.run(device, send_runner(device), "status", "--root", root)
    return [event for event in said if isinstance(event, Slot)]


def send_runner(device: Device) -> str:
    """The folder of our runner there."""
    with _packed() as folder:
        return remote_runner.send(device, folder, "runner")


@contextmanager
def _packed() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        pack(Path(folder) / "runner.pyz")
        yield Path(folder)


def _forget(device: Device, sent: str) -> None:
    """Its files are in the slot now; what is left behind would fill the disk, release by release."""
    try:
        device.channel().ask("remove", folder=sent)
    except (ConnectionLost, DeviceError):
        return
