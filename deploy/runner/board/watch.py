"""What happens to the board while a benchmark runs: power, heat, clocks, alarms. It decides what may be believed."""

import os
import subprocess
import threading
import time
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from ..system import clock
from . import tegrastats
from .identity import Board
from .sensors import PERIOD_S, Sample, Sensors, mean

REST_SAMPLES = 20
CLOCK_DROP = 0.9  # below this part of the highest clock seen, the GPU was throttled while it was measured
LOCKED_DROP = 0.98  # the same where the clocks are locked: there is no reason to move at all
LEAST_HZ = 10.0  # of power; less may miss what a block drew
SOURCES_AGREE = 0.10  # the kernel's power monitor and tegrastats, of the greater
REST_LOAD = 0.10  # more than that before anything of ours runs is somebody else's
TEGRASTATS = "usr/bin/tegrastats"
TEGRASTATS_MS = 100

Spans = Sequence[Tuple[float, float]]


class Power(NamedTuple):
    """What one engine drew inside its blocks."""

    watts: float
    idle_watts: Optional[float]
    tegrastats_watts: Optional[float]
    samples: int
    hz: float
    millijoules_per_inference: float
    millijoules_above_idle: Optional[float]
    gpu_mhz: Optional[float]
    emc_mhz: Optional[float]
    hottest_celsius: Optional[float]


def together(parts: Sequence[Tuple[Optional[Power], float, int]]) -> Optional[Power]:
    """The power of one engine over several sessions: of each, what it drew, its seconds and its inferences.

    None where a session has none.
    """
    known = [(power, seconds) for power, seconds, _ in parts if power is not None]
    if len(known) < len(parts):
        return None
    total, inferences = sum(seconds for _, seconds in known), sum(count for _, _, count in parts)

    def over_time(read: Callable[[Power], Optional[float]]) -> Optional[float]:
        each = [(read(power), seconds) for power, seconds in known]
        readable = [(value, seconds) for value, seconds in each if value is not None]
        spent = sum(seconds for _, seconds in readable)
        return sum(value * seconds for value, seconds in readable) / spent if spent else None

    watts, idle = over_time(lambda one: one.watts) or 0.0, over_time(lambda one: one.idle_watts)
    samples, each = sum(power.samples for power, _ in known), 1000 * total / inferences
    return Power(
        watts=watts,
        idle_watts=idle,
        tegrastats_watts=over_time(lambda one: one.tegrastats_watts),
        samples=samples,
        hz=samples / total,
        millijoules_per_inference=watts * each,
        millijoules_above_idle=None if idle is None else (watts - idle) * each,
        gpu_mhz=over_time(lambda one: one.gpu_mhz),
        emc_mhz=over_time(lambda one: one.emc_mhz),
        hottest_celsius=max(
            (power.hottest_celsius for power, _ in known if power.hottest_celsius is not None), default=None
        ),
    )


class SecondSource:
    """tegrastats, where it is: the same quantities by NVIDIA's own program, each line with the time it came."""

    def __init__(self, board: Board) -> None:
        self.path = board.path(TEGRASTATS)
        self.process: Optional["subprocess.Popen[bytes]"] = None
        self.lines: List[Tuple[float, tegrastats.Sample]] = []
        self.thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Nothing happens where there is no tegrastats."""
        if not os.access(self.path, os.X_OK):
            return
        words = [self.path, "--interval", str(TEGRASTATS_MS)]
        try:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:
            return
        self.thread.start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in iter(self.process.stdout.readline, b""):
            sample = tegrastats.parse(line.decode("utf-8", "replace"))
            if sample is not None:
                self.lines.append((clock.seconds(), sample))

    def stop(self) -> None:
        """End it; what it said stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.thread.join()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def watts(self, spans: Spans) -> Optional[float]:
        """Mean of the board's total inside the spans."""
        inside = [sample.total_milliwatt for at, sample in self.lines if _is_in(at, spans)]
        milliwatts = mean([None if value is None else float(value) for value in inside])
        return None if milliwatts is None else milliwatts / 1000


class Watch:
    """Samples while a benchmark runs; where there is no power rail and no GPU clock it does nothing at all.

    Made before the warm-up, with the clocks as they will be: what the board draws at rest is measured then.
    """

    def __init__(self, board: Board, held_mhz: Optional[float] = None) -> None:
        self.sensors, self.held_mhz = Sensors(board), held_mhz
        self.useful = bool(self.sensors.rails or self.sensors.clock)
        self.samples: List[Sample] = []
        self.second = SecondSource(board)
        self.mode: Tuple[Optional[str], Optional[str]] = (board.power_mode(), None)
        self.rest = self._rest() if self.useful else []
        self.idle = mean([sample.total_watts for sample in self.rest])
        self.events = self.sensors.events()
        self.events_after = self.events
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Watch":
        if self.useful:
            self._thread.start()
            self.second.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.useful:
            self._thread.join()
            self.second.stop()
            self.mode = (self.mode[0], self.sensors.board.power_mode())
            self.events_after = self.sensors.events()

    def _rest(self) -> List[Sample]:
        """One second without work, under the same clocks."""
        samples = []
        for _ in range(REST_SAMPLES):
            samples.append(self.sensors.sample())
            time.sleep(PERIOD_S)
        return samples

    def _sample(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.samples.append(self.sensors.sample())

    def _inside(self, spans: Spans) -> List[Sample]:
        """The samples that were taken while something was measured."""
        return [sample for sample in self.samples if _is_in(sample.time, spans)]

    def power(self, spans: Spans, inferences: int) -> Optional[Power]:
        """Mean watts inside the blocks of one model, energy of one inference; None without a total."""
        inside = self._inside(spans)
        watts = mean([sample.total_watts for sample in inside])
        if watts is None:
            return None
        seconds = sum(stop - start for start, stop in spans)
        each = 1000 * seconds / inferences
        return Power(
            watts=watts,
            idle_watts=self.idle,
            tegrastats_watts=self.second.watts(spans),
            samples=len(inside),
            hz=len(inside) / seconds,
            millijoules_per_inference=watts * each,
            millijoules_above_idle=None if self.idle is None else (watts - self.idle) * each,
            gpu_mhz=mean([sample.gpu_mhz for sample in inside]),
            emc_mhz=mean([sample.emc_mhz for sample in inside]),
            hottest_celsius=max(
                (value for sample in inside for value in sample.celsius.values()), default=None
            ),
        )

    def alarms(self, spans: Spans) -> List[str]:
        """What happened to the board while it was measured, and makes the numbers worthless."""
        inside = self._inside(spans)
        alarms = [
            "%s was on at %.1f s: the board was throttled" % (alarm, sample.time - inside[0].time)
            for sample in inside
            for alarm in sample.alarms
        ][:3]
        alarms += self._heat(inside) + self._clock(inside)
        counted = sum(self.events_after.values()) - sum(self.events.values())
        if counted > 0:
            alarms.append("%d over-current events: a stronger power supply, or a lower power mode" % counted)
        if self.useful and self.mode[0] != self.mode[1]:
            alarms.append("the power mode changed from %s to %s" % self.mode)
        load = mean([sample.gpu_load for sample in self.rest])
        if load is not None and load > REST_LOAD:
            alarms.append(
                "the GPU was %.0f %% busy before anything was measured: stop what uses it" % (100 * load)
            )
        return alarms

    def _heat(self, inside: List[Sample]) -> List[str]:
        trips = self.sensors.trips
        over = [
            "%s reached %.1f C at %.1f s, it slows the board from %.1f C on: cool it"
            % (zone, value, sample.time - inside[0].time, trips[zone])
            for sample in inside
            for zone, value in sample.celsius.items()
            if zone in trips and value >= trips[zone]
        ]
        return over[:1]

    def _clock(self, inside: List[Sample]) -> List[str]:
        clocks = [sample.gpu_mhz for sample in inside if sample.gpu_mhz]
        highest = max(clocks + [self.held_mhz or 0.0]) if clocks else 0.0
        if not clocks or min(clocks) >= (LOCKED_DROP if self.held_mhz else CLOCK_DROP) * highest:
            return []
        at = next(sample.time for sample in inside if sample.gpu_mhz == min(clocks)) - inside[0].time
        remedy = "let the board cool" if self.held_mhz else "lock the clocks, let the board cool"
        return ["the GPU clock fell from %.0f to %.0f MHz at %.1f s: %s" % (highest, min(clocks), at, remedy)]

    def doubts(self, power: Optional[Power]) -> List[str]:
        """Why the power of one model is not to be quoted as it is."""
        if power is None:
            return []
        doubts, other = [], power.tegrastats_watts
        if power.hz < LEAST_HZ:
            doubts.append("power was read only %.1f times a second" % power.hz)
        if other is not None and abs(other - power.watts) > SOURCES_AGREE * max(other, power.watts):
            doubts.append("power is %.2f W by the kernel and %.2f W by tegrastats" % (power.watts, other))
        return doubts


def _is_in(at: float, spans: Spans) -> bool:
    return any(start <= at <= stop for start, stop in spans)
