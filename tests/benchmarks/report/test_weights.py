from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from jetpress.benchmarks.report import plots, record
from jetpress.benchmarks.report.weights import change, histograms, weights
from tests.benchmarks.runs import plain, realistic


def test_histograms_of_the_largest_layers_on_common_edges() -> None:
    rng = np.random.default_rng(0)
    dense = {f"conv{i}": rng.normal(0, 1, (i, 8, 3, 3)) for i in (1, 5, 3, 4)} | {
        "bn": rng.normal(0, 1, 5000)
    }
    compressed = {name: array[:1].copy() for name, array in dense.items() if name != "conv4"}
    compressed["conv5"][0, :4] = 0
    found = histograms(dense, compressed, most=3)
    assert [h.name for h in found] == ["conv5", "conv3", "conv4"]
    for h in found:
        assert len(h.edges) == len(h.dense) + 1 == len(h.compressed) + 1
        assert list(h.edges) == sorted(h.edges)
        assert sum(h.dense) == dense[h.name].size
    assert (found[0].compressed_zeros, sum(found[0].compressed)) == (36, 36)
    assert sum(found[2].compressed) == 0


def test_the_layers_that_changed_most_are_seen_at_once() -> None:
    rng = np.random.default_rng(0)
    dense = {f"conv{i}": rng.normal(0, 1, (64, 8, 3, 3)) for i in range(7)}
    compressed = {
        name: array * (3.0 if name in ("conv2", "conv5") else 1.01) for name, array in dense.items()
    }
    del compressed["conv6"]
    found = histograms(dense, compressed)
    assert change(found[6]) == 1.0
    assert change(found[2]) > 0.2 > change(found[0])
    run = record.of({**realistic(), "histograms": [plain(one) for one in found]})
    section = weights(run)
    shown = [plot.title for plot in section.plots]
    assert len(shown) == 4
    assert {"conv2", "conv5", "conv6"} < set(shown)
    assert shown == sorted(shown)
    assert len(section.more) == 3


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((2, 2), 1e30), np.ones((2, 3), np.int8)]
)
def test_histograms_of_strange_layers(array: np.ndarray) -> None:
    (found,) = histograms({"x": array}, {"x": array})
    assert all(b > a for a, b in pairwise(found.edges))
    assert plots.histogram(found.edges, found.dense, found.compressed, "x").startswith("<svg")
