"""sensors: power, heat and clocks, from the files of the kernel; twenty times a second.

Three generations of power monitors are read: INA3221 under hwmon (JetPack 5 and 6), INA3221 under iio
(JetPack 4) and INA238 (Thor). The board's total is its input rail where it has one, else the sum of the rails
that feed it.
"""

import glob
import os
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..system import clock
from ..system.events import emit, tell
from .identity import Board
from .tegrastats import NO_HEAT

PERIOD_S = 0.05  # twice the ten a second that are promised, so that a busy board keeps the promise
# The total is the first group of which the board has every rail.
TOTALS = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VIN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
GPU_CLOCKS = (
    "17000000.gpu",
    "17000000.ga10b",
    "17000000.gv11b",
    "17000000.gp10b",
    "57000000.gpu",
    "gpu-gpc-0",
)

# The memory's clock; most boards show it to root only.
EMC_CLOCKS = (
    "sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "sys/kernel/debug/clk/emc/clk_rate",
    "sys/class/devfreq/*emc*/cur_freq",
)
# In thousandths. Where it is differs by JetPack; beside the GPU's clock it is in all of them.
GPU_LOADS = tuple("sys/class/devfreq/%s/device/load" % name for name in GPU_CLOCKS) + (
    "sys/devices/platform/gpu.0/load",
    "sys/devices/gpu.0/load",
)
# What a zone says for ever that measures nothing (`PMIC-Die`, under whatever name), in thousandths of a degree.
FIXED = 100000.0
TRIPS = (
    "passive",
    "hot",
    "critical",
)  # from such a temperature on the kernel or the firmware slows the board

Reader = Callable[[], Optional[float]]


class Sample(NamedTuple):
    """Everything read once."""

    time: float  # Unix seconds
    watts: Dict[str, float]  # of each rail
    total_watts: Optional[float]
    celsius: Dict[str, float]  # of each zone
    gpu_mhz: Optional[float]
    gpu_load: Optional[float]  # 0 to 1
    emc_mhz: Optional[float]
    alarms: List[str]  # that are on


class Sensors:
    """Where this board keeps its readings; found once, read often."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.rails: Dict[str, Reader] = {}
        self._hwmon()
        self._iio()
        zones = {
            self.board.read(zone, "type") or os.path.basename(zone): os.path.join(zone, "temp")
            for zone in self._glob("sys/class/thermal/thermal_zone*")
        }
        self.zones = {
            name: path
            for name, path in zones.items()
            if not NO_HEAT.search(name) and self.board.number(path) != FIXED
        }
        clocks = [path for name in GPU_CLOCKS for path in self._glob("sys/class/devfreq/%s/cur_freq" % name)]
        self.clock = clocks[0] if clocks else None
        self.emc = self._first(EMC_CLOCKS)
        self.load = self._first(GPU_LOADS)
        self.alarm_files = [
            path for folder in self._monitors() for path in self._glob(os.path.join(folder, "curr*_alarm"))
        ] + self._throttles()
        self.trips = {name: trip for name, trip in map(self._trip, self.zones) if trip is not None}

    def _glob(self, pattern: str) -> List[str]:
        return sorted(glob.glob(self.board.path(pattern)))

    def _first(self, patterns: Sequence[str]) -> Optional[str]:
        """The first of these files that can be read."""
        paths = [path for pattern in patterns for path in self._glob(pattern)]
        return next((path for path in paths if self.board.number(path) is not None), None)

    def _throttles(self) -> List[str]:
        """Cooling devices of the kernel that tell of throttling; a fan and a clock that is merely low do not."""
        folders = self._glob("sys/class/thermal/cooling_device*")
        return [
            os.path.join(folder, "cur_state")
            for folder in folders
            if (self.board.read(folder, "type") or "").endswith(("throttle-alert", "hot-surface-alert"))
        ]

    def _trip(self, zone: str) -> Tuple[str, Optional[float]]:
        """The temperature from which a zone slows the board."""
        folder = os.path.dirname(self.zones[zone])
        values = [
            self.board.number(kind[: -len("type")] + "temp")
            for kind in glob.glob(os.path.join(folder, "trip_point_*_type"))
            if self.board.read(kind) in TRIPS
        ]
        known = [value / 1000.0 for value in values if value is not None and value > 0]
        return zone, min(known) if known else None

    def events(self) -> Dict[str, float]:
        """Counters of over-current events since boot (`soctherm_oc` of JetPack 5 and newer)."""
        files = self._glob("sys/class/hwmon/hwmon*/oc*_event_cnt")
        return {
            path: count
            for path, count in ((path, self.board.number(path)) for path in files)
            if count is not None
        }

    def _monitors(self) -> List[str]:
        """The hwmon folders of power monitors."""
        folders = self._glob("sys/class/hwmon/hwmon*")
        return [folder for folder in folders if (self.board.read(folder, "name") or "").startswith("ina")]

    def _hwmon(self) -> None:
        """Volts times amperes, or the chip's own watts; the "sum of shunt voltages" is no rail."""
        for folder in self._monitors():
            for label_file in sorted(glob.glob(os.path.join(folder, "in*_label"))):
                label, place = self.board.read(label_file) or "", os.path.basename(label_file)[2:-6]
                if label and label != "NC" and "sum of shunt" not in label:
                    self.rails[label] = self._product(
                        folder + "/in%s_input" % place, folder + "/curr%s_input" % place
                    )
            power = folder + "/power1_input"
            if os.path.exists(power):
                label = (
                    self.board.read(folder, "label")
                    or self.board.read(folder, "power1_label")
                    or os.path.basename(folder)
                )
                self.rails[label] = self._scaled(power, 1e-6)

    def _iio(self) -> None:
        """JetPack 4: rail names and milliwatts side by side."""
        for name_file in self._glob("sys/bus/i2c/devices/*/iio:device*/rail_name_*"):
            label, place = self.board.read(name_file), name_file.rsplit("_", 1)[1]
            if label and label != "NC":
                self.rails[label] = self._scaled(
                    os.path.join(os.path.dirname(name_file), "in_power%s_input" % place), 1e-3
                )

    def _scaled(self, path: str, scale: float) -> Reader:
        def read() -> Optional[float]:
            value = self.board.number(path)
            return None if value is None else value * scale

        return read

    def _product(self, millivolts: str, milliamperes: str) -> Reader:
        def read() -> Optional[float]:
            volts, amperes = self.board.number(millivolts), self.board.number(milliamperes)
            return None if volts is None or amperes is None else volts * amperes * 1e-6

        return read

    def sample(self) -> Sample:
        """Everything once: watts of each rail and in total, heat, the GPU's clock, alarms that are on."""
        watts = {
            name: value
            for name, value in ((name, read()) for name, read in self.rails.items())
            if value is not None
        }
        heat = {name: self.board.number(path) for name, path in self.zones.items()}
        hertz, emc = self._number(self.clock), self._number(self.emc)
        load = self._number(self.load)
        return Sample(
            time=clock.seconds(),
            watts=watts,
            total_watts=total(watts),
            celsius={
                name: value / 1000.0 for name, value in heat.items() if value is not None and value > -100000
            },
            gpu_mhz=None if hertz is None else hertz / 1e6,
            gpu_load=None if load is None else load / 1000.0,
            emc_mhz=None if emc is None else emc / 1e6,
            alarms=[self._alarm(path) for path in self.alarm_files if self.board.number(path)],
        )

    def _number(self, path: Optional[str]) -> Optional[float]:
        return self.board.number(path) if path else None

    def _alarm(self, path: str) -> str:
        folder, name = os.path.split(path)
        return (self.board.read(folder, "type") or name) if name == "cur_state" else name


def total(watts: Dict[str, float]) -> Optional[float]:
    """The board's input power, by the first rule whose rails are all there."""
    for names in TOTALS:
        if all(name in watts for name in names):
            return sum(watts[name] for name in names)
    return None


def mean(values: Sequence[Optional[float]]) -> Optional[float]:
    """The mean of what was readable."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def run(seconds: float, board: Optional[Board] = None) -> None:
    """Say what can be read here, then read it until the time is up."""
    board = board or Board()
    sensors = Sensors(board)
    emit(
        "board",
        power_mode=board.power_mode(),
        rails=sorted(sensors.rails),
        zones=sorted(sensors.zones),
        gpu_clock=sensors.clock,
        emc_clock=sensors.emc,
        **board.identity(),
    )
    if not sensors.rails:
        tell("no power rails here: this is no Jetson, or its hwmon folder is not readable")
    end = clock.seconds() + seconds
    while True:
        sample = sensors.sample()
        emit("sample", **sample._asdict())
        left = end - clock.seconds()
        if left <= 0:
            return
        time.sleep(max(min(PERIOD_S - (clock.seconds() - sample.time), left), 0.0))
