"""Stage: the bundle's samples through the engines, on the device, and the engines held against their ONNX files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.events import Infer, Profile, by_model
from jetpress.deploy.errors import JetpressError
from jetpress.pipeline.engine.place import deliver, opened
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.store.artifact import Bundle, Checkpoint, Engine, Inference, Samples
from jetpress.pipeline.store.facts.device import InferenceFacts

PROFILE = "profile.json"
PROFILED_S = 8.0
"""Seconds of profiling, where the layers are slow."""


def infer(
    config: Place, bundle: Bundle, engine: Engine, tested: Checkpoint | Samples, draft: Path
) -> Inference:
    """The bundle's samples through the engines: the accuracy reported is the engine's own, by the metric that judged
    the network; of a file that was given nobody knows the answers. Then what each layer takes.

    Profiling slows a network down, so nothing of it is a latency to quote; it is a program of its own, which has ended
    when the benchmark begins.

    Raises:
        StageError: an engine is not the function of its ONNX file, within what its precision allows.
    """
    from jetpress.pipeline.engine import sameness
    from jetpress.pipeline.training.assessment import of_engines

    with opened(config, draft) as device:
        folder, arguments = deliver(device, bundle, engine)
        events = remote_runner.run(device, folder, "infer", *arguments)
        profiles, untimed = profiled(device, folder, arguments)
        device.get(arguments[-1], draft)
    # The device's own file was not checked; what it said of it was.
    (draft / PROFILE).unlink(missing_ok=True)
    if profiles:
        (draft / PROFILE).write_text(json.dumps([asdict(one) for one in profiles]))
    tried = by_model(events, Infer)
    same = sameness.held(bundle.path, draft, tried)
    points = of_engines(tested, draft, tried) if isinstance(tested, Checkpoint) else {}
    said = [f"{name} {value:.2f}" for name, value in points.items() if value is not None]
    return Inference(
        draft, InferenceFacts(points, same, ", ".join([*said, "engine = ONNX Runtime"]), untimed)
    )


def profiled(device: Device, folder: str, arguments: tuple[str, ...]) -> tuple[list[Profile], str]:
    """What each layer takes, or why it is not known. No engine is worse because it tells no layers."""
    try:
        events = remote_runner.run(device, folder, "profile", *arguments, "--seconds", str(PROFILED_S))
        return list(by_model(events, Profile, needed=("compressed",)).values()), ""
    except JetpressError as error:
        console.say(f"    its layers are not timed: {error.what}")
        return [], error.what
