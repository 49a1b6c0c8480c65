"""Accuracy against multiply-adds of networks that were cut and not trained, as `studies.untrained --out` wrote it.

python -m studies.untrained_plot untrained.json docs/images/untrained.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jetpress.benchmarks.report.drawing import (
    COMPRESSED,
    DENSE,
    INK,
    MUTED,
    STANDALONE,
    as_svg,
    new_figure,
    style,
)

SERIES = {
    "measured, obs": ("jetpress", COMPRESSED, "o-", "fitted"),
    "measured, obs, no images": ("jetpress, no images", COMPRESSED, "o:", "fitted"),
    "torch-pruning": ("torch-pruning, BatchNorm anew", MUTED, "s--", "anew"),
    "FLAP-like, constants only": ("FLAP-like, BatchNorm anew", DENSE, "^:", "anew"),
}
"""Method -> its name in the drawing, how it looks, and the accuracy that is shown: the best that needs no training."""


@style()
def drawn(points: list[dict[str, object]], network: str) -> str:
    """SVG."""
    figure = new_figure(300, 640)
    axes = figure.add_axes((0.09, 0.17, 0.88, 0.78))
    some = [one for one in points if one["network"] == network]
    dense = next(one["cut"] for one in some if one["method"] == "dense")
    axes.axhline(float(str(dense)), color=INK, linewidth=0.8)
    for method, (name, colour, mark, figure_of) in SERIES.items():
        found = sorted(
            (float(str(one["macs"])), float(str(one[figure_of]))) for one in some if one["method"] == method
        )
        axes.plot(*zip(*found, strict=True), mark, color=colour, label=name, markersize=5)
    axes.set(xlabel=f"multiply-adds left ({network}, no training)", ylabel="accuracy, %", ylim=(0, 100))
    axes.invert_xaxis()
    axes.grid(axis="y")
    axes.legend(frameon=False, loc="lower left")
    return as_svg(figure, "untrained")


def main() -> None:
    """Write the drawing, with colours of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("points", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--network", default="resnet20")
    asked = parser.parse_args()
    svg = drawn(json.loads(asked.points.read_text()), asked.network)
    for variable, colour in STANDALONE.items():
        svg = svg.replace(variable, colour)
    asked.svg.write_text(svg.replace("<svg ", '<svg font-family="sans-serif" ', 1) + "\n")


if __name__ == "__main__":
    main()
