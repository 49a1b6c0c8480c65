"""Stage: dense and compressed engine timed side by side, by the runner of the bundle, on the device."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.events import Event, Machine, Other, Ratio, Result, by_model
from jetpress.pipeline.engine.contents import MAPPED
from jetpress.pipeline.engine.place import clock_offset, deliver, opened
from jetpress.pipeline.recipe.configs import Timing
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig
from jetpress.pipeline.store.artifact import Bundle, Engine, Measurement
from jetpress.pipeline.store.facts.device import MeasurementFacts


def bench(config: Timing, bundle: Bundle, engine: Engine, draft: Path) -> Measurement:
    """Dense and compressed timed side by side; what was measured is kept whatever the verdicts, which are in it."""
    with opened(config.place, draft) as device:
        folder, arguments = deliver(device, bundle, engine)
        offset = clock_offset(device)
        events = remote_runner.run(device, folder, "bench", *arguments, *asked(config.benchmark))
        words = film(device, config)
        application = named(device, folder, "video", *arguments, *words) if words else []
        if config.benchmark.power_modes is not None:
            words = (*arguments, "--power-modes", config.benchmark.power_modes, *words)
            application += named(device, folder, "power_mode", *words)
    sources = [event.source for event in events if isinstance(event, Result | Ratio | Machine | Other)]
    sources += [event.source for event in application]
    (draft / "bench.json").write_text(json.dumps(sources))
    return Measurement(draft, MeasurementFacts(tuple(offset), _headline(events)))


def asked(benchmark: BenchmarkConfig) -> tuple[str, ...]:
    """What the recipe says of the measuring, as the runner takes it."""
    exactly = () if benchmark.sessions is None else ("--sessions", str(benchmark.sessions))
    least = ("--seconds", str(benchmark.seconds), "--runs", str(benchmark.runs))
    return (*least, "--max-seconds", str(benchmark.max_seconds), *exactly)


def film(device: Device, config: Timing) -> tuple[str, ...]:
    """The video, which is there afterwards, as the runner takes it; empty: none is asked for."""
    video = config.benchmark.video
    if video is None:
        return ()
    if config.video_sha256:
        with tempfile.TemporaryDirectory() as place:
            shutil.copyfile(video, Path(place) / Path(video).name)
            there = remote_runner.send(device, Path(place), config.video_sha256)
        video = f"{there}/{Path(video).name}"
    return ("--video", video, "--streams", str(config.benchmark.streams))


def named(device: Device, folder: str, name: str, *words: str) -> list[Other]:
    """The events of this name of another ``bench``: each engine on a video, or each power mode of the board."""
    events = remote_runner.run(device, folder, "bench", *words)
    return [event for event in events if isinstance(event, Other) and event.name == name]


def _headline(events: Sequence[Event]) -> str:
    timed = by_model(events, Result, needed=("compressed",))
    said = [
        f"{name} {one.median:.3g} ms +/- {50 * (one.interval[1] - one.interval[0]) / one.median:.1f} %"
        for name, one in timed.items()
        if name in ("dense", "compressed")
    ]
    for ratio in (event for event in events if isinstance(event, Ratio)):
        low, high = ratio.interval
        times = f"{ratio.ratio:.2f} times as fast ({low:.2f} to {high:.2f})"
        if (ratio.of, ratio.against) == ("compressed", "dense"):
            said.insert(0, times)
        elif ratio.of == MAPPED:
            said.append(f"without copies {times}")
    return ", ".join(said)
