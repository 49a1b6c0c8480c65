from __future__ import annotations

import re

import pytest

from jetpress.benchmarks.report import plots


def test_drawings_take_the_colours_of_the_page() -> None:
    svg = plots.channels([64, 128], [32, 64])
    assert svg.startswith("<svg")
    assert {"currentColor", "var(--compressed)", "var(--dense)", "var(--line)"} & set(
        re.findall(r"[\w(-]+\)?", svg)
    )
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#[^")]*', "", svg))
    assert "font-family" not in svg


@pytest.mark.parametrize("samples", [[1.0], [0.0, 0.0], [5.0] * 700, [1e-6, 3e4], [1.0] * 20 + [100.0]])
def test_drawings_of_strange_series(samples: list[float]) -> None:
    assert plots.latency(samples, []).startswith("<svg")
    assert plots.session([], samples).startswith("<svg")
    assert ("median" in plots.latency([], samples)) == (len(samples) >= 11)


def test_no_digit_of_a_text_is_cut() -> None:
    svg = plots.latency([0.131] * 40, [0.0377] * 40)
    assert re.findall(r">median ([\d.]+) ms<", svg) == ["0.0377", "0.131"]
    assert not re.search(r'="[^"]*\.\d{3}', svg)


def test_a_busy_machine_does_not_set_the_axis() -> None:
    dense, compressed = [0.1] * 960 + [45.0] * 40, [0.03] * 980 + [9.0] * 20
    assert 0.1 < plots.latency_limit(dense, compressed) <= 0.25
    ticks = re.findall(r">([\d.]+)</text>", plots.session(dense, compressed[::-1]))
    assert max(float(tick) for tick in ticks if tick not in ("20", "40", "60", "80", "100")) <= 0.25
    two_modes = [0.1] * 800 + [0.5] * 200
    assert plots.latency_limit(two_modes, []) > 0.5
