"""What the files and commands of a board say: a pure function for each, over text as boards really print it.

Samples of every JetPack generation are in ``tests/probes/``. An answer that is not understood gives the empty
value: a board is described by what is known of it, never by what it probably is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COMPUTE_CAPABILITY = {
    "tegra210": (5, 3),  # Nano, TX1
    "tegra186": (6, 2),  # TX2
    "tegra194": (7, 2),  # Xavier
    "tegra234": (8, 7),  # Orin
    "tegra264": (11, 0),  # Thor
}
# NVIDIA's part numbers stand in the device tree, whatever carrier board the module sits on.
_MODULES = {
    "p2180": "TX1",
    "p3310": "TX2",
    "p3489": "TX2",
    "p3636": "TX2 NX",
    "p3448": "Nano",
    "p2888": "AGX Xavier",
    "p3668": "Xavier NX",
    "p3701": "AGX Orin",
    "p3767-0000": "Orin NX",
    "p3767-0001": "Orin NX",
    "p3767-0003": "Orin Nano",
    "p3767-0004": "Orin Nano",
    "p3767-0005": "Orin Nano",
    "p3834": "AGX Thor",
}
# Longer names first: "Orin Nano" is no "Nano".
_NAMES = sorted(set(_MODULES.values()), key=len, reverse=True)
# developer.nvidia.com/embedded/jetpack-archive and OE4T/meta-tegra: which L4T a JetPack carries.
_JETPACK = {
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "34.1.0": "5.0 DP",
    "34.1.1": "5.0.1 DP",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.2": "6.1 rev 1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.0.0": "7.2 EA",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}


def device_tree(text: str) -> tuple[str, ...]:
    """The strings of a device-tree property; each ends with NUL."""
    return tuple(part.strip() for part in text.split("\0") if part.strip())


def soc(compatible: Sequence[str]) -> str:
    """``tegra234`` out of ``nvidia,tegra234``; the generic ``tegra23x`` says too little."""
    matches = (re.fullmatch(r"nvidia,(tegra\d{3})", entry) for entry in compatible)
    return next((match[1] for match in matches if match), "")


def module(model: str, compatible: Sequence[str]) -> str:
    """``Orin Nano``: by the module's part number, otherwise by the words of the board's name."""
    for part in re.findall(r"p\d{4}(?:-\d{4})?", " ".join(compatible)):
        if name := _MODULES.get(part) or _MODULES.get(part[:5]):
            return name
    words = re.sub(r"[^A-Za-z0-9]+", " ", model)
    tegra = re.search(r"\b(NVIDIA|Jetson)\b", words, re.I)
    return next((name for name in _NAMES if tegra and re.search(rf"\b{name}\b", words, re.I)), "")


def l4t(nv_tegra_release: str, dpkg_core: str = "") -> str:
    """``36.4.3`` out of /etc/nv_tegra_release, or of `dpkg -s nvidia-l4t-core` where that is missing."""
    if match := re.search(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", nv_tegra_release):
        return f"{match[1]}.{match[2]}"
    match = re.search(r"^Version: (\d+\.\d+\.\d+)", dpkg_core, re.MULTILINE)
    return match[1] if match else ""


def jetpack(release: str) -> str:
    """The JetPack that carries this L4T; empty for one that is not in the table."""
    return _JETPACK.get(release, "")


def dpkg_version(listing: str) -> str:
    """``8.5.2`` out of ``libnvinfer8 8.5.2-1+cuda11.4`` of dpkg-query; the newest if there are more."""
    versions = re.findall(r"^(?:libnvinfer\d+|tensorrt-libs) (\d+(?:\.\d+){2,3})", listing, re.MULTILINE)
    return max(versions, key=lambda version: [int(part) for part in version.split(".")], default="")


def cuda(version_json: str, version_txt: str, header: str) -> str:
    """``12.6`` from any of the three places that a toolkit has."""
    for pattern, text in (
        (r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"(\d+\.\d+)', version_json),
        (r"CUDA Version (\d+\.\d+)", version_txt),
    ):
        if match := re.search(pattern, text):
            return match[1]
    number = re.search(r"#define CUDA_VERSION (\d{1,9})\b", header)
    return f"{int(number[1]) // 1000}.{int(number[1]) % 1000 // 10}" if number else ""


@dataclass(frozen=True)
class PowerMode:
    """The active mode. Numbers are per board and mean nothing without the board's own names."""

    name: str = ""
    number: int | None = None


def power_mode(nvpmodel_q: str) -> PowerMode:
    """``NV Power Mode: 25W`` and, on the next line, its number; warnings and verbose lines around them."""
    match = re.search(r"NV Power Mode: *(\S+)[^\n]*\n\s*(\d{1,9})\s*$", nvpmodel_q, re.MULTILINE)
    return PowerMode(match[1], int(match[2])) if match else PowerMode()


def power_modes(nvpmodel_conf: str) -> tuple[dict[int, str], int | None]:
    """The modes of /etc/nvpmodel.conf by number, and the number of the default."""
    modes = re.findall(
        r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,9})\s+NAME=([^\s>]+)\s*>", nvpmodel_conf, re.MULTILINE
    )
    default = re.search(r"^\s*<\s*PM_CONFIG\s+DEFAULT=(\d{1,9})\s*>", nvpmodel_conf, re.MULTILINE)
    return {int(number): name for number, name in modes}, int(default[1]) if default else None


def memory_mb(meminfo: str) -> tuple[int, int]:
    """Available and total memory in MiB."""
    sizes = dict(re.findall(r"^(MemAvailable|MemTotal):\s+(\d{1,15}) kB", meminfo, re.MULTILINE))
    return int(sizes.get("MemAvailable", 0)) // 1024, int(sizes.get("MemTotal", 0)) // 1024


def cpu(cpuinfo: str) -> str:
    """The processor's name; on Arm its implementer and part, which is what the kernel knows."""
    if match := re.search(r"^(?:model name|Processor)\s*: *(.+)$", cpuinfo, re.MULTILINE):
        return match[1].strip()
    codes = [re.search(rf"^CPU {what}\s*: *(\S+)", cpuinfo, re.MULTILINE) for what in ("implementer", "part")]
    return " ".join(f"{code[0].split(':')[0].split()[-1]} {code[1]}" for code in codes if code)


def gpu(nvidia_smi: str) -> tuple[str, tuple[int, int] | None]:
    """Name and compute capability out of ``NVIDIA H200, 9.0``; the stub on Orin prints neither."""
    match = re.search(r"^(.+), (\d{1,3})\.(\d{1,3})$", nvidia_smi.strip(), re.MULTILINE)
    return (match[1].strip(), (int(match[2]), int(match[3]))) if match else ("", None)


def imported(package: str, answer: Mapping[str, object] | None) -> tuple[str, str]:
    """The version that an import printed, and what it said if it failed (its last line; a crash has none)."""
    if not answer:
        return "", ""
    match = re.search(r"^version (\S+)$", str(answer.get("out", "")), re.MULTILINE)
    if answer.get("status") == 0 and match:
        return match[1], ""
    last = (
        str(answer.get("err", "")).strip().splitlines() or [f"it ended with status {answer.get('status')}"]
    )[-1]
    return "", "" if re.search(rf"No module named '?{re.escape(package)}'?$", last) else last
