"""On which device a run builds and measures, and whether that is the target."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.device import derived, probe
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.video.commands import CSI, STREAMS
from jetpress.deploy.targets import BOARD, Target, find
from jetpress.pipeline.engine.place import can_run
from jetpress.pipeline.recipe.configs import Bench, BundleConfig, Place
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.store.artifact import sha256


def target_of(target: str | Target, device: str | None) -> Target:
    """The record of that name as it is on the device: for the GPU that is there, or for a TensorRT of the same module
    that no record knows. ``board``: what the device says it is.

    Raises:
        RecipeError: there is none of that name.
        DeviceError: the device is no Jetson, or cannot be reached.
    """
    if target != BOARD:
        record = find(target) if isinstance(target, str) else target
        return _as_it_is(record, device)
    found = derived.target_of(probe.probe(open_device(device)))
    known = "which no record knows: derived from what it says of itself" if found.derived else found.name
    console.say(f"the board is {found.title}, {known}")
    return found


def _as_it_is(record: Target, device: str | None) -> Target:
    if record.on_gpu((0, 0)) is not record:
        capability = probe.probe(open_device(device)).compute_capability
        return record.on_gpu(capability) if capability else record
    if not record.is_board or (device is None and not probe.DEVICE_TREE.exists()):
        return record
    facts = probe.probe(open_device(device))
    found = derived.nearest(facts, record)
    if found is not record:
        console.say(
            f"{facts.name} has TensorRT {facts.tensorrt}, which no record knows ({record.name} has {record.tensorrt}): "
            "the target is derived from what the board says of itself"
        )
    return found


def where_to_build(target: Target, device: str | None) -> Device | None:
    """The device given; this machine where the engine can be built here; otherwise None.

    Raises:
        RecipeError: an engine built ahead of time needs no device.
    """
    if target.runtime.ahead_of_time and device:
        raise RecipeError(
            f"an engine of {target.runtime.title} is built ahead of time, here", "leave the device out"
        )
    if device is None and target.is_board and not probe.is_this_machine(target):
        return None
    return open_device(device)


def where(plan: Plan, device: str | None) -> Place | None:
    """The device as it is now, refused if it is not the target or not in the recipe's power mode; None: none.

    Raises:
        RecipeError: an engine built ahead of time needs no device.
        DeviceError: it is another one, or cannot be reached.
        TrustError: it takes signed releases only.
    """
    target, opened = plan.target, where_to_build(plan.target, device)
    if opened is None:
        return None
    with console.progress(f"looking at {opened.name}"):
        found = probe.probe(opened)
    if found.is_jetson and not target.runtime.needs_gpu:
        console.say(f"{found.name} is a Jetson: {target.name} is its CPU, --target board its GPU")
    probe.refuse_unsigned(found)
    if not target.runtime.ahead_of_time:  # that is built on whatever machine
        probe.refuse_unless(found, target)
    asked = plan.recipe.benchmark
    if asked.power_mode is not None:
        probe.refuse_unless_in(found, asked.power_mode)
    if asked.power_modes is not None:
        probe.refuse_unknown_modes(found, asked.power_modes)
    return Place(opened.name, probe.identity(found))


def bench_for_pruning(plan: Plan, place: Place | None, packing: BundleConfig) -> Bench | None:
    """Where widths are timed, if the goal is a time.

    Raises:
        RecipeError: the goal is a time, and there is no device to measure it on.
    """
    if not plan.recipe.prune.needs_time or "prune" in plan.skipped:
        return None
    if place is None or not can_run(plan.target):
        raise RecipeError(
            f"prune asks for a latency, which only the {plan.target.title} itself can tell",
            "give the device (--device user@host), or set prune.macs instead",
        )
    return Bench(place, packing, plan.recipe.export)


@cache
def video_digest(video: str | None) -> str:
    """SHA-256 of a video that is to be sent; empty where the device has the source itself.

    Raises:
        RecipeError: there is no such file.
    """
    if video is None or video == CSI or video.startswith(("/dev/", *STREAMS)):
        return ""
    if not Path(video).is_file():
        raise RecipeError(
            f"benchmark.video = {video!r} is no file",
            "give a video, or a source of the device: /dev/video0, csi, rtsp://...",
        )
    return sha256(Path(video))
