"""sensors: power, heat and clocks, from the files of the kernel; twenty times a second.

Three generations of power monitors are read: INA3221 under hwmon (JetPack 5 and 6), INA3221 under iio
(JetPack 4) and INA238 (Thor). The board's total is its input rail where it has one, else the sum of the rails
that feed it.
"""

import glob
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import clock
from .board import Board
from .events import emit, tell

PERIOD_S = 0.05  # twice the ten a second that are promised, so that a busy board keeps the promise
REST_SAMPLES = 20
CLOCK_DROP = 0.9  # below this part of the highest clock seen, the GPU was throttled while it was measured
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

Spans = Sequence[Tuple[float, float]]
Reader = Callable[[], Optional[float]]


class Sensors:
    """Where this board keeps its readings; found once, read often."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.rails: Dict[str, Reader] = {}
        self._hwmon()
        self._iio()
        self.zones = {
            self.board.read(zone, "type") or os.path.basename(zone): os.path.join(zone, "temp")
            for zone in self._glob("sys/class/thermal/thermal_zone*")
        }
        clocks = [path for name in GPU_CLOCKS for path in self._glob("sys/class/devfreq/%s/cur_freq" % name)]
        self.clock = clocks[0] if clocks else None
        self.alarm_files = [
            path for folder in self._monitors() for path in self._glob(os.path.join(folder, "curr*_alarm"))
        ]

    def _glob(self, pattern: str) -> List[str]:
        return sorted(glob.glob(self.board.path(pattern)))

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

    def sample(self) -> Dict[str, Any]:
        """Everything once: watts of each rail and in total, heat, the GPU's clock, alarms that are on."""
        watts = {
            name: value
            for name, value in ((name, read()) for name, read in self.rails.items())
            if value is not None
        }
        heat = {name: self.board.number(path) for name, path in self.zones.items()}
        hertz = self.board.number(self.clock) if self.clock else None
        return {
            "time": clock.seconds(),
            "watts": watts,
            "total_watts": total(watts),
            "celsius": {
                name: value / 1000.0 for name, value in heat.items() if value is not None and value > -100000
            },
            "gpu_mhz": None if hertz is None else hertz / 1e6,
            "alarms": [os.path.basename(path) for path in self.alarm_files if self.board.number(path)],
        }


def total(watts: Dict[str, float]) -> Optional[float]:
    """The board's input power, by the first rule whose rails are all there."""
    for names in TOTALS:
        if all(name in watts for name in names):
            return sum(watts[name] for name in names)
    return None


class Watch:
    """Samples while a benchmark runs; where there is no power rail and no GPU clock it does nothing at all.

    Made before the warm-up: what the board draws at rest is measured then, not on the warm board.
    """

    def __init__(self, board: Board) -> None:
        self.sensors = Sensors(board)
        self.useful = bool(self.sensors.rails or self.sensors.clock)
        self.samples: List[Dict[str, Any]] = []
        self.mode: Tuple[Optional[str], Optional[str]] = (board.power_mode(), None)
        self.idle = self._idle() if self.useful else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Watch":
        if self.useful:
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self.useful:
            self._thread.join()
            self.mode = (self.mode[0], self.sensors.board.power_mode())

    def _idle(self) -> Optional[float]:
        """The total at rest under the same clocks, the mean of one second."""
        watts = []
        for _ in range(REST_SAMPLES):
            watts.append(self.sensors.sample()["total_watts"])
            time.sleep(PERIOD_S)
        return mean(watts)

    def _sample(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.samples.append(self.sensors.sample())

    def _inside(self, spans: Spans) -> List[Dict[str, Any]]:
        """The samples that were taken while something was measured."""
        return [item for item in self.samples if any(start <= item["time"] <= stop for start, stop in spans)]

    def power(self, spans: Spans, inferences: int) -> Optional[Dict[str, Any]]:
        """Mean watts inside the blocks of one model, energy of one inference; None without a total."""
        inside = self._inside(spans)
        watts = mean([sample["total_watts"] for sample in inside])
        if watts is None:
            return None
        seconds = sum(stop - start for start, stop in spans)
        return {
            "watts": watts,
            "idle_watts": self.idle,
            "samples": len(inside),
            "millijoules_per_inference": 1000 * watts * seconds / inferences,
        }

    def alarms(self, spans: Spans) -> List[str]:
        """What happened to the board while it was measured, and makes the numbers worthless."""
        inside = self._inside(spans)
        said = [
            "%s was on at %.1f s: over-current throttling" % (alarm, sample["time"] - inside[0]["time"])
            for sample in inside
            for alarm in sample["alarms"]
        ][:3]
        clocks = [sample["gpu_mhz"] for sample in inside if sample["gpu_mhz"]]
        if clocks and min(clocks) < CLOCK_DROP * max(clocks):
            said.append(
                "the GPU clock fell from %.0f to %.0f MHz: lock the clocks, let the board cool"
                % (max(clocks), min(clocks))
            )
        if self.useful and self.mode[0] != self.mode[1]:
            said.append("the power mode changed from %s to %s" % self.mode)
        return said


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
        **board.identity(),
    )
    if not sensors.rails:
        tell("no power rails here: this is no Jetson, or its hwmon folder is not readable")
    end = clock.seconds() + seconds
    while True:
        sample = sensors.sample()
        emit("sample", **sample)
        left = end - clock.seconds()
        if left <= 0:
            return
        time.sleep(max(min(PERIOD_S - (clock.seconds() - sample["time"]), left), 0.0))
