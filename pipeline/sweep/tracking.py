"""The figures of each cell that has ended to TensorBoard and MLflow, where the sweep's ``[tracking]`` asks for them.

One run a cell, beside the runs of its trainings (which its recipe's own ``[tracking]`` asks for): the swept values are
its parameters, what was measured its metrics.
"""

from __future__ import annotations

import re

from jetpress.deploy import console
from jetpress.deploy.errors import JetpressError
from jetpress.pipeline.recipe.sections.tracking import TrackingConfig
from jetpress.pipeline.sweep.records import Record
from jetpress.pipeline.training.metrics import sinks, tracked

ENDED = 0
"""The step that the figures of an ended cell have."""


def report(config: TrackingConfig, record: Record) -> None:
    """Report a cell. A sweep of hours does not end by a server that is away: that is said, and the sweep goes on."""
    figures = {name: float(value) for name, value in record.figures.items() if isinstance(value, int | float)}
    parameters = {"recipe": record.recipe, "model": record.model, "target": record.target, **record.values}
    try:
        with tracked(config), sinks(_named(record), parameters) as take:
            take({"epoch": ENDED, "exit_code": float(record.exit_code or 0), **figures})
    except JetpressError as error:
        console.say(f"  WARNING: {record.name} is not reported: {error.what}")


def _named(record: Record) -> str:
    """For people, and a folder's name."""
    return f"{re.sub(r'[^A-Za-z0-9.=-]+', '_', record.name)[:80]}-{record.id}"
