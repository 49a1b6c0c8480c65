"""One line of NVIDIA's `tegrastats`, of any JetPack from 3 to 7.

NVIDIA promises no grammar, and the line differs by board, JetPack and user: fields come and go, rails had no
unit before JetPack 5 and have a maximum since 7.2, temperatures became pairs, Thor prints clocks without a
load, who is not root gets less. So each field is looked for by itself: a missing or a new one breaks nothing, and a
number of more than nine digits is none.
"""

import re
from typing import Dict, NamedTuple, Optional, Tuple

OFF_C = -256.0
"""What a sensor says that is switched off."""
NO_HEAT = re.compile("PMIC|fan-est", re.IGNORECASE)
"""A PMIC that always says 100 C, and what the fan's control makes of other zones: neither is measured anywhere."""

# The rail that carries the whole board, or the rails that add up to it. Thor's three rails do not.
_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
_SUMS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)


class Sample(NamedTuple):
    """What one line says. Empty or None: it does not say it."""

    at: str  # MM-DD-YYYY HH:MM:SS in the board's time zone; JetPack 4 and older print none
    ram_used_mb: int
    ram_total_mb: int
    cpu_percent: Tuple[Optional[int], ...]  # one a core; None: the core is off
    cpu_mhz: Tuple[Optional[int], ...]
    gpu_percent: Optional[int]
    gpu_mhz: Tuple[int, ...]
    emc_percent: Optional[int]
    emc_mhz: Optional[int]
    celsius: Dict[
        str, float
    ]  # by sensor, as the board spells it; without those that are off or measure nothing
    milliwatt: Dict[str, int]  # by rail, at this moment; a small negative value is a sensor near zero

    @property
    def total_milliwatt(self) -> Optional[int]:
        """Of the whole board; None where its rails do not add up to that."""
        for rail in _WHOLE:
            if rail in self.milliwatt:
                return self.milliwatt[rail]
        for rails in _SUMS:
            if all(rail in self.milliwatt for rail in rails):
                return sum(self.milliwatt[rail] for rail in rails)
        return None


def parse(line: str) -> Optional[Sample]:
    """The sample in ``line``; None if it is no line of tegrastats."""
    ram = re.search(r"\bRAM (\d{1,9})/(\d{1,9})MB", line)
    if ram is None:
        return None
    at = re.match(r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d", line)
    cpu_percent, cpu_mhz = _cpu(line)
    gpu = re.search(r"\bGR3D_FREQ (?:(\d{1,9})%)?(?:@\[?(\d{1,9}(?:,\d{1,9})*)\]?)?", line)
    emc = re.search(r"\bEMC_FREQ (?:(\d{1,9})%)?(?:@(\d{1,9}))?", line)
    return Sample(
        at=at[0] if at else "",
        ram_used_mb=int(ram[1]),
        ram_total_mb=int(ram[2]),
        cpu_percent=cpu_percent,
        cpu_mhz=cpu_mhz,
        gpu_percent=_number(gpu[1]) if gpu else None,
        gpu_mhz=tuple(int(clock) for clock in gpu[2].split(",")) if gpu and gpu[2] else (),
        emc_percent=_number(emc[1]) if emc else None,
        emc_mhz=_number(emc[2]) if emc else None,
        celsius=_temperatures(line),
        milliwatt=_rails(line),
    )


def _cpu(line: str) -> Tuple[Tuple[Optional[int], ...], Tuple[Optional[int], ...]]:
    match = re.search(r"\bCPU \[([^\]]*)\](?:@(\d{1,9}))?", line)
    if match is None:
        return (), ()
    cores = [re.fullmatch(r"(\d{1,9})%(?:@(\d{1,9}))?", core.strip()) for core in match[1].split(",")]
    percent = tuple(int(core[1]) if core else None for core in cores)
    return percent, tuple(_number(core[2] or match[2]) if core else None for core in cores)


def _temperatures(line: str) -> Dict[str, float]:
    """``cpu@48.468C``, and ``cpu@52.9C/53.1C`` (now and highest) since JetPack 7.2."""
    pairs = re.findall(r"(?:^|\s)([A-Za-z]\w*)@(-?\d{1,9}(?:\.\d+)?)C\b", line)
    return {name: float(value) for name, value in pairs if float(value) > OFF_C and not NO_HEAT.search(name)}


def _rails(line: str) -> Dict[str, int]:
    """``VDD_IN 900/943`` (now and average), ``5830mW/5830mW``, ``5139mW/5139mW/5139mW`` (and highest)."""
    pairs = re.findall(
        r"(?:^|\s)([A-Z][A-Z0-9_]*) (-?\d{1,9})(?:mW)?/-?\d+(?:mW)?(?:/-?\d+mW)?(?=\s|$)", line
    )
    return {name: int(value) for name, value in pairs if name != "NC"}


def _number(text: Optional[str]) -> Optional[int]:
    return int(text) if text else None
