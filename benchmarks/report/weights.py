"""Histograms of the weights before and after: counted where the networks are, drawn where the report is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Plot, Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.changes import Histogram
from jetpress.benchmarks.report.wording import sparkline

Array = NDArray[np.generic]
BINS, SHOWN = 48, 4


def histograms(
    dense: Mapping[str, Array], compressed: Mapping[str, Array], most: int = 12
) -> tuple[Histogram, ...]:
    """Histograms of the ``most`` layers with the most weights, in the order of the network, on common edges.

    Vectors (biases, BatchNorm) are left out. The edges hold 999 of 1,000 dense weights; what lies beyond is
    in the outermost bins. Exact zeros would tower over everything else in a sparse layer, so they are counted
    apart: ``dense_zeros``, ``compressed_zeros``. A layer that is gone has counts of zero.
    """
    layers = [name for name, array in dense.items() if array.ndim >= 2 and array.size]
    largest = set(sorted(layers, key=lambda name: -dense[name].size)[:most])
    return tuple(
        _histogram(name, dense[name], compressed.get(name, _NOTHING)) for name in layers if name in largest
    )


_NOTHING = np.empty(0)


def _histogram(name: str, before: Array, after: Array) -> Histogram:
    whole = [array.astype(np.float64) for array in (before, after)]
    series = [array[np.isfinite(array)] for array in whole]
    bound = float(np.quantile(np.abs(series[0]), 0.999)) if series[0].size else 0.0
    bound = bound or 1.0
    edges = np.linspace(-bound, bound, BINS + 1)
    counts = [np.histogram(np.clip(s[s != 0], -bound, bound), edges)[0].tolist() for s in series]
    zeros = [int(np.count_nonzero(s == 0)) for s in series]
    return Histogram(
        name=name,
        edges=tuple(edges.tolist()),
        dense=tuple(counts[0]),
        compressed=tuple(counts[1]),
        dense_zeros=zeros[0],
        compressed_zeros=zeros[1],
    )


def weights(run: RunReport) -> Section:
    """Small multiples of the largest layers; those that changed most are seen at once."""
    found, title = run.histograms, "Weights before and after"
    if not found:
        return Section("weights", title, missing="No histograms of weights were kept.")
    drawn = [
        Plot(
            one.name,
            plots.histogram(one.edges, one.dense, one.compressed, f"weights-{place}"),
            f"Histogram of weights: {sum(one.dense):,} before, {sum(one.compressed):,} after.",
            _zeros(one),
        )
        for place, one in enumerate(found)
    ]
    order = sorted(range(len(found)), key=lambda place: -change(found[place]))
    text = (
        f"Of the {len(found)} layers with the most weights the {len(order[:SHOWN])} whose distribution changed most: "
        "dense pale, compressed strong. The outermost bars hold all that lies beyond; exact zeros are not drawn."
    )
    rows = [(one.name, sparkline(one.dense), sparkline(one.compressed), _zeros(one)) for one in found]
    table = Table(("Layer", "Dense", "Compressed", "Zeros"), rows, "nrrl", "Histograms as text", folded=True)
    first, more = ([drawn[place] for place in sorted(some)] for some in (order[:SHOWN], order[SHOWN:]))
    return Section("weights", title, text=(text,), plots=first, more=more, small=True, tables=(table,))


def change(one: Histogram) -> float:
    """Half the sum of the differences of both distributions, zeros counted: from 0 (the same) to 1 (or gone)."""
    shares = []
    for counts, zeros in ((one.dense, one.dense_zeros), (one.compressed, one.compressed_zeros)):
        whole = np.array([*counts, zeros], float)
        shares.append(whole / max(whole.sum(), 1.0))
    return float(max(np.abs(shares[0] - shares[1]).sum() / 2, abs(shares[0].sum() - shares[1].sum())))


def _zeros(one: Histogram) -> str:
    zeros, others = one.compressed_zeros, sum(one.compressed)
    return f"{100 * zeros / (zeros + others):.0f} % exactly zero" if zeros else ""
