"""The section of pictures: a few test samples as they are marked, and as each network finds them."""

from __future__ import annotations

from jetpress.benchmarks.report.page import Picture, Section
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.predictions import SamplePictures
from jetpress.benchmarks.report.wording import points


def samples(run: RunReport) -> Section:
    """Three pictures of each beside one another."""
    title = "Samples"
    if not run.samples:
        return Section("samples", title, missing="The task draws no pictures, or its samples are none.")
    text = ["As marked (left), as the dense network finds it (middle), as the compressed one does (right)."]
    if any(one.gained for one in run.samples):
        text.append("First those on which the two differ most, with what this one sample gains; then others.")
    alt = "Test sample {}: as marked, as dense finds it, as compressed does."
    pictures = [
        Picture(one.picture, alt.format(one.number), _title(one, run.unit), ()) for one in run.samples
    ]
    return Section("samples", title, text=text, pictures=pictures, wide=True)


def _title(one: SamplePictures, unit: str) -> str:
    words = f"Sample {one.number}"
    if not one.gained:
        return words
    return f"{words}: {points(one.gained)}" if unit == "%" else f"{words}: {one.gained:+.3g} {unit}".strip()
