"""Stage: the bundle's samples through the engines, on the device, and the engines held against their ONNX files."""

from __future__ import annotations

from pathlib import Path

from jetpress.deploy.device import remote_runner
from jetpress.pipeline.engine.place import opened, sent
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.store.artifact import Bundle, Engine, Inference
from jetpress.pipeline.store.facts.device import InferenceFacts


def infer(config: Place, bundle: Bundle, engine: Engine, draft: Path) -> Inference:
    """The bundle's samples through the engines: the accuracy reported is the engine's own.

    Raises:
        StageError: an engine is not the function of its ONNX file, within what its precision allows.
    """
    from jetpress.pipeline.engine import sameness

    with opened(config, draft) as device:
        folder, arguments = sent(device, bundle, engine)
        events = remote_runner.run(device, folder, "infer", *arguments)
        device.get(arguments[-1], draft)
    tried = {event["model"]: event for event in events if event["event"] == "infer"}
    files = {name: {one["name"]: one["file"] for one in event["outputs"]} for name, event in tried.items()}
    same = sameness.held(bundle.path, draft, files)
    top1 = {name: None if one["top1"] is None else 100 * one["top1"] for name, one in tried.items()}
    said = [f"{name} {value:.2f} %" for name, value in top1.items() if value is not None]
    return Inference(draft, InferenceFacts(top1, same, ", ".join([*said, "engine = ONNX Runtime"])))
