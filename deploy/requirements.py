"""What jetpress needs installed, by its own package metadata, and what is there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution, version
from typing import TypedDict

from packaging.requirements import Requirement

PACKAGE = "jetpress"
STANDS_IN = {"onnxruntime-gpu": "onnxruntime"}
"""The same modules under another name: the one for CPUs does, too."""
WHY = {"torch": "an older one can be made to run code by a weights file"}
"""What is at stake where a range does not say it."""
EXTRAS = {
    "rtx": "for --target rtx (x86-64 Linux)",
    "tensorrt": "for --target gpu: plain TensorRT on this machine's NVIDIA GPU (pycuda needs the CUDA toolkit)",
    "timm": "for timm: networks",
    "notebook": "for progress as bars in a notebook",
}
"""What extras are for, where their name does not say it."""


class Finding(TypedDict):
    """One thing that was looked at."""

    what: str
    found: str
    needed: str
    ok: bool
    hint: str


def findings(package: str = PACKAGE) -> list[Finding]:
    """Every requirement of ``package`` that holds on this machine, then those of its extras, which may be missing."""
    try:
        ours = distribution(package)
    except PackageNotFoundError:
        hint = f"pip install {package}: its metadata says what it needs"
        return [Finding(what=package, found="not installed", needed="", ok=False, hint=hint)]
    asked = [Requirement(text) for text in ours.requires or ()]
    extras = sorted(ours.metadata.get_all("Provides-Extra") or ())
    needed = [one for one in asked if _holds(one, "")]
    return [_needed(one) for one in needed] + [
        _optional(one, extra, package)
        for extra in extras
        for one in asked
        if one not in needed and _holds(one, extra)
    ]


def _holds(requirement: Requirement, extra: str) -> bool:
    """Whether it is asked for on this machine, with ``extra``."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _found(requirement: Requirement) -> tuple[str | None, bool]:
    """The version that is here, and whether it is one that will do."""
    for name in (requirement.name, STANDS_IN.get(requirement.name)):
        try:
            here = version(name) if name else None
        except PackageNotFoundError:
            continue
        return here, here is not None and requirement.specifier.contains(here, prereleases=True)
    return None, False


def _needed(requirement: Requirement) -> Finding:
    here, ok = _found(requirement)
    wanted = str(requirement.specifier)
    why = f" ({WHY[requirement.name]})" if requirement.name in WHY else ""
    hint = f"pip install '{requirement.name}{wanted}'{why}"
    return Finding(what=requirement.name, found=here or "missing", needed=wanted, ok=ok, hint=hint)


def _optional(requirement: Requirement, extra: str, package: str) -> Finding:
    """Never in the way: what needs it says so when it is missing."""
    here, ok = _found(requirement)
    wanted = str(requirement.specifier)
    hint = " ".join(filter(None, (f"pip install '{package}[{extra}]'", EXTRAS.get(extra))))
    found = here if ok and here else f"{here or 'not installed'} (optional: {hint})"
    return Finding(what=requirement.name, found=found, needed=wanted, ok=True, hint=hint)
