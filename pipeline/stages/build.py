"""Stage: the engine is built by the runner of the bundle, on the device: host or board alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.events import Built, last
from jetpress.pipeline.engine.place import opened
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.store.artifact import Bundle, Engine, canonical


def build(config: Place, bundle: Bundle, draft: Path) -> Engine:
    """Build the engines of a bundle. Facts: the runner's stamp (versions, device, findings of the builder)."""
    with opened(config, draft) as device:
        folder = remote_runner.send(device, bundle.path, bundle.digest)
        out = f"{device.folder}/engines/{bundle.digest}"
        arguments = ("build", "--bundle", folder, "--out", out)
        log = (draft / "build.log").write_text
        events = remote_runner.run_detached(device, _name_of(config, bundle), folder, *arguments, log=log)
        device.get(out, draft)
    built = last(events, Built)
    headline = f"{built.backend} {built.version}, {_megabytes(built.bytes)}"
    return Engine(draft, {"stamp": built.stamp, "bytes": dict(built.bytes), "headline": headline})


def _name_of(config: Place, bundle: Bundle) -> str:
    """What makes a build on the device the one that we want: the bundle, and the device as it is now."""
    return hashlib.sha256(canonical([bundle.digest, config.identity]).encode()).hexdigest()[:32]


def _megabytes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in sizes.items())
