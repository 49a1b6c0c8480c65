"""Stage: dense and compressed engine timed side by side, by the runner of the bundle, on the device."""

from __future__ import annotations

import json
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.events import Event, Other, Ratio, Result, by_model
from jetpress.deploy.errors import BenchmarkInvalid
from jetpress.pipeline.engine.place import clock_offset, deliver, opened
from jetpress.pipeline.recipe.configs import Timing
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig
from jetpress.pipeline.store.artifact import Bundle, Engine, Measurement
from jetpress.pipeline.store.facts.device import MeasurementFacts

ATTEMPTS = 3


def bench(config: Timing, bundle: Bundle, engine: Engine, draft: Path) -> Measurement:
    """Dense and compressed timed in one session.

    Raises:
        BenchmarkInvalid: the numbers may not be used, three times in a row; the reasons are in the message.
    """
    with opened(config.place, draft) as device:
        folder, arguments = deliver(device, bundle, engine)
        offset = clock_offset(device)
        events = _until_valid(device, folder, arguments, config.benchmark)
    sources = [event.source for event in events if isinstance(event, Result | Ratio | Other)]
    (draft / "bench.json").write_text(json.dumps(sources))
    timed = by_model(events, Result, needed=("compressed",))
    said = ", ".join(f"{name} {result.median:.3g} ms ({result.verdict})" for name, result in timed.items())
    return Measurement(draft, MeasurementFacts(tuple(offset), said))


def _until_valid(
    device: Device, folder: str, common: tuple[str, ...], benchmark: BenchmarkConfig
) -> list[Event]:
    """Another program may have disturbed a measurement: try again, a few times."""
    asked = ("--seconds", str(benchmark.seconds), "--runs", str(benchmark.runs))
    for left in reversed(range(ATTEMPTS)):
        try:
            return remote_runner.run(device, folder, "bench", *common, *asked)
        except BenchmarkInvalid as error:
            if not left:
                raise
            console.say(f"    {error.what}; measuring again")
    raise AssertionError("unreachable")
