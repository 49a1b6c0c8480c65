"""The section of pictures: a few test samples as they are marked, and as each network finds them."""

from __future__ import annotations

from jetpress.benchmarks.report.page import Picture, Section
from jetpress.benchmarks.report.record import RunReport


def samples(run: RunReport) -> Section:
    """Three pictures of each beside one another."""
    title = "Samples"
    if not run.samples:
        return Section("samples", title, missing="The task draws no pictures, or its samples are none.")
    text = ["As marked (left), as the dense network finds it (middle), as the compressed one does (right)."]
    alt = "Test sample {}: as marked, as dense finds it, as compressed does."
    pictures = [
        Picture(one.picture, alt.format(one.number), f"Sample {one.number}", ()) for one in run.samples
    ]
    return Section("samples", title, text=text, pictures=pictures, wide=True)
