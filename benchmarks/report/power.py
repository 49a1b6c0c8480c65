"""What each power mode of the board gives and takes, and which one to choose for the budget."""

from __future__ import annotations

from jetpress.benchmarks.report.page import Plot, Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.wording import number, sentence
from jetpress.deploy.runner.measure import power_plot
from jetpress.deploy.runner.measure.power_plot import Point

HEAD = ("Mode", "Frames/s", "W", "mJ a frame", "°C", "")


def modes(run: RunReport) -> Section:
    """The drawing is the one that the runner makes on the board."""
    title, found = "Power modes", run.benchmark
    if found is None or not found.power_modes or found.power_choice is None:
        return Section("power", title, missing="benchmark.power_modes asks for them (boards alone).")
    rows = [
        (
            one.name,
            *map(_shown, (one.frames_per_s, one.watts, one.millijoules, one.hottest_celsius)),
            one.reason,
        )
        for one in found.power_modes
    ]
    points = [
        Point(one.name, one.frames_per_s, one.watts, one.millijoules)
        for one in found.power_modes
        if one.frames_per_s is not None
    ]
    what = "the application" if found.application else "the compressed engine"
    plot = Plot(
        f"What {what} gives for what the board takes",
        power_plot.svg(points, found.power_choice.watts),
        "A point for each power mode: frames a second over watts, as in the table.",
        series=(),
    )
    drawn = [plot] if any(point.watts is not None for point in points) else []
    table = Table(HEAD, rows, "nrrrrw", f"{what.capitalize()} in each mode")
    return Section("power", title, text=[f"{sentence(found.power_choice.why)}."], plots=drawn, tables=[table])


def _shown(value: float | None) -> str:
    return "" if value is None else number(value, 4)
