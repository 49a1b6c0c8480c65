"""The target that a board itself is: the record that fits it, or, where none does, what it says.

A module with a JetPack that nobody wrote a record for is no reason to refuse it: all that the pipeline must know of a
board follows from its TensorRT, its compute capability and its memory, and the board says these. With ``--target
board`` whatever is there is the target. A target asked for by name is a promise about the engine: another module is
refused, and so is a TensorRT that belongs to another record (``orin-nano`` asked for, JetPack 5 found).
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil

from jetpress.deploy.device.probe import Facts, differences, fitting
from jetpress.deploy.errors import DeviceError, RecipeError
from jetpress.deploy.runner.system.files import safe_name
from jetpress.deploy.targets import FP8_SINCE, TARGETS, Target, dla_cores, on_jetpack

VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?")
"""What counts of a version: a device may say anything."""


def target_of(facts: Facts) -> Target:
    """The first record that fits the board; else one derived from what it says.

    Raises:
        DeviceError: it is no Jetson, or does not say which TensorRT or GPU it has.
        RecipeError: its TensorRT is older than any that is known.
    """
    if not facts.is_jetson:
        raise DeviceError(f"{facts.name} is no Jetson: it is {facts.title}", "use --target host, gpu or rtx")
    return next(iter(fitting(facts)), None) or derived(facts)


def nearest(facts: Facts, asked: Target) -> Target:
    """``asked``; or, where the board is its module and no record knows the TensorRT there, what the board says."""
    alike = replace(facts, tensorrt=asked.tensorrt)
    if not asked.is_board or not facts.tensorrt or fitting(facts) or differences(alike, asked):
        return asked
    try:
        return derived(facts)
    except RecipeError:  # older than any that is known: refused as another board is
        return asked


def derived(facts: Facts) -> Target:
    """A target out of a probe. Raises DeviceError where the board does not say enough."""
    capability = facts.compute_capability
    numbers = VERSION.match(facts.tensorrt)
    if numbers is None or capability is None:
        missing = "which TensorRT it has" if capability else "which GPU it has"
        raise DeviceError(
            f"{facts.name} ({facts.title}) does not say {missing}, so no target can be derived from it",
            "sudo apt install nvidia-jetpack there, or give a target by name (`jetpress targets`)",
        )
    like = [one for one in TARGETS.values() if one.is_board and one.compute_capability == capability]
    same = [one for one in like if one.module == facts.module]
    memory = ceil(facts.ram_total_mb / 1024)
    version = numbers[0]
    python = ".".join(facts.python.split(".")[:2])
    base = on_jetpack(facts.jetpack or "unknown", facts.l4t, python, version)
    whole = facts.module or facts.soc
    return replace(
        base,
        name=safe_name(f"{whole.lower()}-{memory}gb-trt{version}".replace(" ", "-")),
        title=f"{facts.title}, L4T {facts.l4t or 'unknown'} with TensorRT {version}",
        module=facts.module,
        compute_capability=capability,
        precisions=_precisions(capability, same or like),
        dla=dla_cores(version, max((one.dla for one in same), default=0), facts.module),
        ram_gb=float(memory),
        derived=True,
    )


def _precisions(capability: tuple[int, int], like: list[Target]) -> tuple[str, ...]:
    """Of the boards with this GPU; of one that is new what its compute capability has (INT8 since 6.1)."""
    if like:
        return like[0].precisions
    if capability < (6, 1):
        return ("fp32", "fp16")
    return ("fp32", "fp16", "int8", "fp8") if capability >= FP8_SINCE else ("fp32", "fp16", "int8")
