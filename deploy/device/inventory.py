"""`jetpress device`: what a device is, which targets fit it, and what jetpress keeps there."""

from __future__ import annotations

from dataclasses import dataclass

from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.device import detached
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.probe import Facts, fitting, probe
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.process import Terms


@dataclass(frozen=True)
class Inventory:
    """A device, and what jetpress keeps there."""

    device: Facts
    targets: tuple[str, ...]
    """Those that fit it."""
    folder: str
    files: int
    bytes: int
    running: int
    """Builds that go on without us."""


def show(device: Device) -> Inventory:
    """Everything known of a device; nothing is written there.

    Raises:
        DeviceError: it cannot be reached, or its answer makes no sense.
    """
    facts = probe(device)
    held = device.contents()
    request = {"do": "running", "folder": f"{device.folder}/{detached.FOLDER}"}
    running = device.channel().talk("keep", request, Terms()).get("running")
    if not isinstance(running, int):
        raise DeviceError(f"{device.name} does not say what runs there", "see what its python3 is")
    return Inventory(
        facts, tuple(target.name for target in fitting(facts)), device.folder, held.files, held.size, running
    )


def lines(shown: Inventory) -> list[str]:
    """The same for people; what the device does not say is left out."""
    facts = shown.device
    mode = f"{facts.power_mode} ({facts.power_mode_number})" if facts.power_mode else ""
    capability = ".".join(map(str, facts.compute_capability or ()))
    rows = {
        "board": facts.title,
        "module": facts.module,
        "JetPack, L4T": ", ".join(filter(None, (facts.jetpack, facts.l4t))),
        "system": f"{facts.system} {facts.machine}".strip(),
        "TensorRT": facts.tensorrt
        + (f" (cannot be imported: {facts.tensorrt_error})" * bool(facts.tensorrt_error)),
        "CUDA": facts.cuda,
        "GPU": facts.gpu,
        "compute capability": capability,
        **{one.title: facts.modules.get(one.module, "") for one in BACKENDS.values() if not one.in_jetpack},
        "Python, numpy": ", ".join(filter(None, (facts.python, facts.numpy))),
        "trtexec": facts.trtexec,
        "memory": f"{facts.ram_free_mb} of {facts.ram_total_mb} MiB free",
        "disk": f"{facts.disk_free_mb} MiB free",
        "power mode": mode,
        "targets that fit": ", ".join(shown.targets)
        or ("board (none by name)" if facts.is_jetson else "none"),
        shown.folder: f"{shown.files} files, {shown.bytes / 2**20:.1f} MiB",
        "running there": f"{shown.running} builds" if shown.running else "",
    }
    return [f"{name:<20} {text}" for name, text in rows.items() if text]
