"""Histograms of the weights before and after: counted where the networks are, drawn where the report is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Plot, Run, Section, Table, at, listed
from jetpress.benchmarks.report.wording import sparkline, value

BINS = 48


def histograms(
    dense: Mapping[str, NDArray[Any]], compressed: Mapping[str, NDArray[Any]], most: int = 12
) -> list[dict[str, Any]]:
    """Histograms of the ``most`` layers with the most weights, in the order of the network, on common edges.

    Vectors (biases, BatchNorm) are left out. The edges hold 999 of 1,000 dense weights; what lies beyond is
    in the outermost bins. Exact zeros would tower over everything else in a sparse layer, so they are counted
    apart: ``dense_zeros``, ``compressed_zeros``. A layer that is gone has counts of zero.
    """
    layers = [name for name, array in dense.items() if array.ndim >= 2 and array.size]
    largest = set(sorted(layers, key=lambda name: -dense[name].size)[:most])
    return [
        _histogram(name, dense[name], compressed.get(name, _NOTHING)) for name in layers if name in largest
    ]


_NOTHING: NDArray[Any] = np.empty(0)


def _histogram(name: str, before: NDArray[Any], after: NDArray[Any]) -> dict[str, Any]:
    series = [array[np.isfinite(array)].astype(np.float64) for array in (before, after)]
    bound = float(np.quantile(np.abs(series[0]), 0.999)) if series[0].size else 0.0
    bound = bound or 1.0
    edges = np.linspace(-bound, bound, BINS + 1)
    counts = [np.histogram(np.clip(s[s != 0], -bound, bound), edges)[0].tolist() for s in series]
    zeros = [int(np.count_nonzero(s == 0)) for s in series]
    return {
        "name": name,
        "edges": edges.tolist(),
        "dense": counts[0],
        "compressed": counts[1],
        "dense_zeros": zeros[0],
        "compressed_zeros": zeros[1],
    }


def weights(run: Run) -> Section:
    """Small multiples of the largest layers."""
    found = [
        h
        for h in listed(run, "histograms")
        if len(at(h, "edges") or ()) >= 2
        and all(len(at(h, net) or ()) == len(h["edges"]) - 1 for net in ("dense", "compressed"))
        and not any(x is None for key in ("edges", "dense", "compressed") for x in h[key])
    ]
    if not found:
        return Section("weights", "Weights before and after", missing="No histograms of weights were kept.")
    drawn = [
        Plot(
            value(at(h, "name")),
            plots.histogram(h["edges"], h["dense"], h["compressed"], f"weights-{place}"),
            f"Histogram of weights: {sum(h['dense']):,.0f} before, {sum(h['compressed']):,.0f} after.",
            _zeros(h),
        )
        for place, h in enumerate(found)
    ]
    text = (
        f"The {len(found)} layers with the most weights: dense pale, compressed strong. "
        "The outermost bars hold all that lies beyond; exact zeros are not drawn."
    )
    rows = [
        (value(at(h, "name")), sparkline(h["dense"]), sparkline(h["compressed"]), _zeros(h)) for h in found
    ]
    table = Table(("Layer", "Dense", "Compressed", "Zeros"), rows, "nrrl", "Histograms as text", folded=True)
    return Section(
        "weights", "Weights before and after", text=(text,), plots=drawn, small=True, tables=(table,)
    )


def _zeros(histogram: Run) -> str:
    zeros, others = at(histogram, "compressed_zeros") or 0, sum(histogram["compressed"])
    return f"{100 * zeros / (zeros + others):.0f} % exactly zero" if zeros else ""
