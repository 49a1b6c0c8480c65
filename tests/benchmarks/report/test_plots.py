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
