"""Stage: the engine is built by the runner of the bundle, on the device: host or board alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter

from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.events import Built, last
from jetpress.pipeline.engine.place import opened
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.store.artifact import Bundle, Engine, canonical
from jetpress.pipeline.store.facts.device import BuiltEngine, EngineFacts


def build(config: Place, bundle: Bundle, draft: Path) -> Engine:
    """Build the engines of a bundle.

    Raises:
        DeviceError: the runner's stamp is not what it should be.
    """
    with opened(config, draft) as device:
        folder = remote_runner.send(device, bundle.path, bundle.digest)
        out = f"{device.folder}/engines/{bundle.digest}"
        arguments = ("build", "--bundle", folder, "--out", out)
        log = (draft / "build.log").write_text
        events = remote_runner.run_detached(device, _name_of(config, bundle), folder, *arguments, log=log)
        device.get(out, draft)
    built = last(events, Built)
    models = TypeAdapter(dict[str, BuiltEngine]).validate_python(built.models)
    sizes = ", ".join(f"{name} {one.size / 2**20:.1f} MiB" for name, one in models.items())
    headline = f"{built.backend} {built.version}, {sizes}"
    return Engine(draft, EngineFacts(built.backend, built.version, models, headline))


def _name_of(config: Place, bundle: Bundle) -> str:
    """What makes a build on the device the one that we want: the bundle, and the device as it is now."""
    return hashlib.sha256(canonical([bundle.digest, config.identity]).encode()).hexdigest()[:32]
