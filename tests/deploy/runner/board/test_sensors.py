"""Power, heat and clocks from recorded layouts of /sys, one of each generation."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from jetpress.deploy.runner.board import sensors, tegrastats, watch
from jetpress.deploy.runner.board.identity import Board, mode_name
from jetpress.deploy.runner.system import clock

PROBES = Path(__file__).parents[3] / "probes"
# Layouts as rbonghi/jetson_stats and OE4T describe them; values of the size that such boards show.
ORIN_NANO = {
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "4980",
    "sys/class/hwmon/hwmon1/curr1_input": "1000",
    "sys/class/hwmon/hwmon1/curr1_max_alarm": "0",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "4980",
    "sys/class/hwmon/hwmon1/curr2_input": "200",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "sys/class/hwmon/hwmon1/in7_input": "60",
    "sys/class/hwmon/hwmon0/name": "pwmfan",
    "sys/class/thermal/thermal_zone0/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "47500",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
    "sys/class/thermal/thermal_zone1/temp": "-256000",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0003\0nvidia,p3767-0003\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n# KERNEL\n",
    "var/lib/dpkg/status": "Package: x\nVersion: 1\n\n"
    "Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2+b77\n",
}
AGX_ORIN = {
    "sys/class/hwmon/hwmon3/name": "ina3221",
    "sys/class/hwmon/hwmon3/in1_label": "VDD_GPU_SOC",
    "sys/class/hwmon/hwmon3/in1_input": "20000",
    "sys/class/hwmon/hwmon3/curr1_input": "200",
    "sys/class/hwmon/hwmon3/in2_label": "VDD_CPU_CV",
    "sys/class/hwmon/hwmon3/in2_input": "20000",
    "sys/class/hwmon/hwmon3/curr2_input": "100",
    "sys/class/hwmon/hwmon3/in3_label": "VIN_SYS_5V0",
    "sys/class/hwmon/hwmon3/in3_input": "5000",
    "sys/class/hwmon/hwmon3/curr3_input": "600",
}
NANO = {
    "sys/bus/i2c/devices/6-0040/iio:device0/rail_name_0": "POM_5V_IN",
    "sys/bus/i2c/devices/6-0040/iio:device0/in_power0_input": "2400",
    "sys/bus/i2c/devices/6-0040/iio:device0/rail_name_1": "POM_5V_GPU",
    "sys/bus/i2c/devices/6-0040/iio:device0/in_power1_input": "120",
}
THOR = {
    "sys/class/hwmon/hwmon2/name": "ina238",
    "sys/class/hwmon/hwmon2/label": "VIN",
    "sys/class/hwmon/hwmon2/power1_input": "31500000",
}


def recorded(root: Path, files: dict[str, str]) -> Board:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Board(str(root))


@pytest.mark.parametrize(
    ("files", "watts"),
    [(ORIN_NANO, 4.98), (AGX_ORIN, 4.0 + 2.0 + 3.0), (NANO, 2.4), (THOR, 31.5), ({}, None)],
)
def test_total_power(tmp_path: Path, files: dict[str, str], watts: float | None) -> None:
    assert sensors.Sensors(recorded(tmp_path, files)).sample().total_watts == (
        pytest.approx(watts) if watts else None
    )


def test_sample_of_an_orin_nano(tmp_path: Path) -> None:
    sample = sensors.Sensors(recorded(tmp_path, ORIN_NANO)).sample()
    assert set(sample.watts) == {"VDD_IN", "VDD_CPU_GPU_CV"}
    assert sample.celsius == {"gpu-thermal": 47.5}
    assert sample.gpu_mhz == pytest.approx(624.75)
    assert sample.alarms == []


def test_the_hottest_zone_of_a_nano_at_rest(tmp_path: Path) -> None:
    """Its PMIC-Die always says 100 degrees, and fan-est is computed from the others."""
    zones = {"AO-therm": 46000, "CPU-therm": 41500, "GPU-therm": 39500, "PLL-therm": 40000, "PMIC-Die": 100000,
             "thermal-fan-est": 40250}  # fmt: skip
    files = {}
    for number, (name, heat) in enumerate(zones.items()):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = name
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = str(heat)
    heat = sensors.Sensors(recorded(tmp_path, {**NANO, **files})).sample().celsius
    assert set(heat) == set(zones) - {"PMIC-Die", "thermal-fan-est"}
    assert max(heat.values()) == 46.0


def test_a_zone_that_stands_at_100_is_no_heat_whatever_its_name(tmp_path: Path) -> None:
    files = {"sys/class/thermal/thermal_zone7/type": "Die", "sys/class/thermal/thermal_zone7/temp": "100000"}
    assert sensors.Sensors(recorded(tmp_path, {**ORIN_NANO, **files})).sample().celsius == {
        "gpu-thermal": 47.5
    }
    lines = [line for path in PROBES.glob("tegrastats_*") for line in path.read_text().splitlines()]
    said = [sample for line in lines if "PMIC@100C" in line and (sample := tegrastats.parse(line))]
    assert len(said) >= 8
    assert max(max(sample.celsius.values()) for sample in said) < 100


@pytest.mark.parametrize("place", ["sys/class/devfreq/17000000.gpu/device/load", "sys/devices/gpu.0/load"])
def test_the_load_of_the_gpu(tmp_path: Path, place: str) -> None:
    assert sensors.Sensors(recorded(tmp_path, {**ORIN_NANO, place: "370"})).sample().gpu_load == 0.37


def test_power_of_several_sessions_is_weighted_by_their_time() -> None:
    one = watch.Power(4.0, 2.0, None, 20, 20.0, 40.0, 20.0, 600.0, None, 50.0)
    other = one._replace(watts=7.0, samples=40, hottest_celsius=61.0, gpu_mhz=900.0)
    both = watch.together([(one, 1.0, 100), (other, 2.0, 200)])
    assert both is not None
    assert (both.watts, both.idle_watts, both.samples, both.hz) == (6.0, 2.0, 60, 20.0)
    assert both.millijoules_per_inference == pytest.approx(60.0)
    assert both.millijoules_above_idle == pytest.approx(40.0)
    assert (both.gpu_mhz, both.emc_mhz, both.hottest_celsius) == (800.0, None, 61.0)
    assert watch.together([(one, 1.0, 100), (None, 1.0, 100)]) is None


def test_identity(tmp_path: Path) -> None:
    identity = recorded(tmp_path, ORIN_NANO).identity()
    assert identity["model"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert identity["compatible"] == ["nvidia,p3768-0000+p3767-0003", "nvidia,p3767-0003", "nvidia,tegra234"]
    assert identity["l4t"].startswith("# R36 (release), REVISION: 4.3")
    assert identity["jetpack"] == "6.2+b77"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: 25W\n1\n", "25W"),
        ("NV Fan Mode:quiet\nNV Power Mode: MAXN\n0\n", "MAXN"),
        ("error", None),
    ],
)
def test_power_mode(text: str, mode: str | None) -> None:
    assert mode_name(text) == mode


@pytest.fixture(autouse=True)
def _short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REST_SAMPLES", 1)


SPAN = [(100.0, 102.0)]


def watched(root: Path, held_mhz: float | None = None) -> watch.Watch:
    made = watch.Watch(recorded(root, ORIN_NANO), held_mhz)
    made.samples = [made.sensors.sample()._replace(time=100.0 + 0.1 * place) for place in range(20)]
    return made


def slow(board: watch.Watch, place: int, share: float) -> None:
    """One sample with a slower clock."""
    sample = board.samples[place]
    assert sample.gpu_mhz is not None
    board.samples[place] = sample._replace(gpu_mhz=sample.gpu_mhz * share)


def test_energy_is_of_the_same_window(tmp_path: Path) -> None:
    board = watched(tmp_path)
    board.samples[15] = board.samples[15]._replace(total_watts=1000.0)
    power = board.power([(100.0, 101.0)], inferences=100)
    assert power is not None
    assert power.watts == pytest.approx(4.98)
    assert power.millijoules_per_inference == pytest.approx(49.8)
    assert power.idle_watts == pytest.approx(4.98)


def test_throttling_makes_a_benchmark_invalid(tmp_path: Path) -> None:
    board = watched(tmp_path)
    assert board.alarms(SPAN) == []
    slow(board, 5, 0.8)
    assert "GPU clock" in board.alarms(SPAN)[0]
    board = watched(tmp_path)
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_max_alarm").write_text("1")
    board.samples[3] = board.sensors.sample()._replace(time=100.3)
    assert "throttled" in board.alarms(SPAN)[0]
    board = watched(tmp_path)
    board.mode = ("25W", "15W")
    assert "from 25W to 15W" in board.alarms(SPAN)[-1]
    board = watched(tmp_path / "rest")
    slow(board, 19, 0.5)
    assert board.alarms([(100.0, 101.0)]) == [], (
        "a clock that falls at rest, between measurements, is no fault"
    )


def test_locked_clocks_may_not_move_at_all(tmp_path: Path) -> None:
    board = watched(tmp_path, held_mhz=624.75)
    assert board.alarms(SPAN) == []
    slow(board, 5, 0.95)
    assert "fell from 625 to 594 MHz at 0.5 s: let the board cool" in board.alarms(SPAN)[0]
    assert watched(tmp_path / "b", held_mhz=918.0).alarms(SPAN)  # it never reached what it was locked to


HEAT = {
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "active",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "40000",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "99000",
    "sys/class/thermal/thermal_zone0/trip_point_2_type": "critical",
    "sys/class/thermal/thermal_zone0/trip_point_2_temp": "104500",
    "sys/class/thermal/cooling_device0/type": "gpu-throttle-alert",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    "sys/class/thermal/cooling_device1/type": "pwm-fan",
    "sys/class/thermal/cooling_device1/cur_state": "3",
    "sys/class/hwmon/hwmon5/name": "soctherm_oc",
    "sys/class/hwmon/hwmon5/oc1_event_cnt": "4",
    "sys/class/hwmon/hwmon5/oc3_event_cnt": "0",
    "sys/devices/platform/gpu.0/load": "7",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"sys/class/thermal/thermal_zone0/temp": "99500"}, "gpu-thermal reached 99.5 C at 0.0 s"),
        ({"sys/class/thermal/cooling_device0/cur_state": "1"}, "gpu-throttle-alert was on"),
        ({"sys/class/hwmon/hwmon5/oc1_event_cnt": "6"}, "2 over-current events"),
        ({"sys/class/thermal/cooling_device1/cur_state": "9"}, ""),  # a fan that turns is no fault
    ],
    ids=["quiet", "trip", "throttle", "over-current", "fan"],
)
def test_heat_and_current_are_seen(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    made = watch.Watch(recorded(tmp_path, ORIN_NANO | HEAT))
    recorded(tmp_path, changes)
    made.samples = [made.sensors.sample()._replace(time=100.0 + place / 10) for place in range(5)]
    made.events_after = made.sensors.events()
    alarms = made.alarms(SPAN)
    assert (said in alarms[0]) if said else alarms == []
    sample = made.samples[0]
    assert (sample.emc_mhz, sample.gpu_load) == (2133.0, 0.007)


def test_somebody_elses_work_is_seen_before_ours_begins(tmp_path: Path) -> None:
    busy = ORIN_NANO | HEAT | {"sys/devices/platform/gpu.0/load": "630"}
    made = watch.Watch(recorded(tmp_path, busy))
    assert made.alarms(SPAN) == ["the GPU was 63 % busy before anything was measured: stop what uses it"]


TEGRASTATS = """#!/bin/sh
echo "$@" > {root}/asked
while :; do cat {line}; sleep 0.05; done
"""


@pytest.mark.parametrize(("agrees", "doubt"), [(True, []), (False, ["power is 4.98 W by the kernel"])])
def test_tegrastats_is_the_second_source(tmp_path: Path, agrees: bool, doubt: list[str]) -> None:
    """A real recorded line, printed over and over by a script in tegrastats' place, read in the same window."""
    board = recorded(tmp_path, ORIN_NANO)
    line = (PROBES / "tegrastats_jp62_orin_nano_r36.4.4_idle_vs_clocks.txt").read_text().splitlines()[2]
    milliwatts = tegrastats.parse(line).milliwatt["VDD_IN"]  # type: ignore[union-attr]
    if agrees:
        line = line.replace(f"VDD_IN {milliwatts}mW", "VDD_IN 4980mW")
    (tmp_path / "line").write_text(line + "\n")
    tool = tmp_path / watch.TEGRASTATS
    tool.parent.mkdir(parents=True)
    tool.write_text(TEGRASTATS.format(root=tmp_path, line=tmp_path / "line"))
    tool.chmod(0o755)
    made = watch.Watch(board)
    begin = clock.seconds()
    with made:
        time.sleep(0.5)
    spans = [(begin, clock.seconds())]
    power = made.power(spans, 10)
    assert power is not None
    expected = 4.98 if agrees else milliwatts / 1000
    assert power.tegrastats_watts == pytest.approx(expected)
    assert power.samples >= 2
    assert power.millijoules_above_idle == pytest.approx(0.0, abs=1e-9)
    assert (tmp_path / "asked").read_text() == "--interval 100\n"
    found = made.doubts(power._replace(hz=20.0))  # how often is judged below: this machine may be busy
    assert len(found) == len(doubt)
    assert all(text in said for text, said in zip(doubt, found, strict=True))
    assert made.doubts(power._replace(hz=4.0))[0] == "power was read only 4.0 times a second"


def test_ten_samples_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sensors.run(0.5, recorded(tmp_path, ORIN_NANO))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    times = [event["time"] for event in events if event["event"] == "sample"]
    assert events[0]["rails"] == ["VDD_CPU_GPU_CV", "VDD_IN"]
    assert len(times) >= 6
    assert (times[-1] - times[0]) / (len(times) - 1) <= 0.1, "at least 10 Hz, on a busy machine too"


def test_a_host_says_that_it_is_no_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sensors.run(0.01, Board(str(tmp_path)))
    assert "no power rails" in capsys.readouterr().err
