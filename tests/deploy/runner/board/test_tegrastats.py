"""tegrastats of every JetPack generation: the recorded lines of tests/probes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.deploy.runner.board.tegrastats import OFF_C, Sample, parse

PROBES = Path(__file__).parents[3] / "probes"
LINES = [
    pytest.param(line, id=f"{path.stem}-{number}")
    for path in sorted(PROBES.glob("tegrastats_*.txt"))
    for number, line in enumerate(path.read_text().splitlines())
]


def first(name: str, line: int = 0) -> str:
    return (PROBES / f"tegrastats_{name}.txt").read_text().splitlines()[line]


def parsed(line: str) -> Sample:
    sample = parse(line)
    assert sample is not None
    return sample


def test_every_recording_is_here() -> None:
    assert len({path.name for path in PROBES.glob("tegrastats_*.txt")}) == 15
    assert len(LINES) == 26


@pytest.mark.parametrize("line", LINES)
def test_every_recorded_line_is_understood(line: str) -> None:
    sample = parsed(line)
    assert sample.ram_used_mb is not None
    assert sample.ram_total_mb is not None
    assert 0 < sample.ram_used_mb < sample.ram_total_mb
    assert len(sample.cpu_percent) == len(sample.cpu_mhz) >= 3
    assert all(percent is None or 0 <= percent <= 100 for percent in sample.cpu_percent)
    assert sample.celsius
    assert all(OFF_C < celsius < 120 for celsius in sample.celsius.values())
    assert sample.gpu_percent is not None or sample.gpu_mhz
    assert bool(sample.at) == line[0].isdigit()
    assert all(name in line for name in (*sample.celsius, *sample.milliwatt))
    assert "NC" not in sample.milliwatt
    words = line.replace("/", " ").split()
    rails = [word for word in words if word.startswith(("VDD_", "VIN", "POM_", "SYS5V", "VDDQ", "VDDRQ"))]
    assert {rail for rail in rails if "@" not in rail} <= set(sample.milliwatt)


@pytest.mark.parametrize(
    ("line", "total"),
    [
        (first("jp3_tx2_2018"), 1931),  # no unit, now before average
        (first("jp4_nano_r32"), 900),
        (first("jp4_agx_xavier_r32"), 0 + 216 + 864 + 0 + 144 + 1889),  # six rails, no input rail
        (first("jp5_agx_orin_r35"), None),  # not root: no rails at all
        (first("jp5_agx_orin_r35", 1), 2390 + 796 + 3522),
        (first("jp6_orin_nano"), 12479),
        (first("jp72_agx_orin_r39.2"), 5139 + 3268 + 5500),
        (first("jp71_thor_r38.4"), None),  # three rails that are not the whole board
        (first("jp72_thor_r39.2", 2), 124486),  # with VIN, they are
    ],
)
def test_the_power_of_the_whole_board(line: str, total: int | None) -> None:
    sample = parsed(line)
    assert sample.total_milliwatt == total


def test_what_differs_between_generations() -> None:
    tx2, orin = parsed(first("jp4_tx2_r32_sudo")), parsed(first("jp6_orin_nano"))
    thor, shared = parsed(first("jp71_thor_r38.4")), parsed(first("jp72_thor_r39.2", 3))
    assert tx2.cpu_percent == (2, None, None, None, None, None)
    assert (tx2.gpu_percent, tx2.gpu_mhz, tx2.emc_percent, tx2.emc_mhz) == (0, (114,), 13, 40)
    assert (orin.at, orin.gpu_percent, orin.gpu_mhz) == ("11-15-2024 08:38:09", 63, (621,))
    assert (thor.gpu_percent, thor.gpu_mhz) == (None, (0, 0, 0))  # Thor prints no load before JetPack 7.2
    assert (shared.cpu_percent, shared.cpu_mhz) == ((0, 5, None), (2601, 2601, None))
    negative = parsed("RAM 1/2MB (lfb 1x4MB) VDD_GPU -12mW/3mW VIN 900mW/900mW")
    assert negative.milliwatt == {"VDD_GPU": -12, "VIN": 900}


@given(st.text(max_size=300))
def test_other_text_is_no_sample(text: str) -> None:
    sample = parse(text)
    assert sample is None or "RAM" in text
