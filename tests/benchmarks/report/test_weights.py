from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.weights import histograms


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


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((2, 2), 1e30), np.ones((2, 3), np.int8)]
)
def test_histograms_of_strange_layers(array: np.ndarray) -> None:
    (found,) = histograms({"x": array}, {"x": array})
    assert all(b > a for a, b in pairwise(found.edges))
    assert plots.histogram(found.edges, found.dense, found.compressed, "x").startswith("<svg")
