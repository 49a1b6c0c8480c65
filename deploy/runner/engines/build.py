"""build: one engine for every model of the bundle, and engine.json, the stamp that says what they are.

A build that was cut is continued: engines whose stamp still fits are kept.
"""

import glob
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Optional

from ..backends import open_backend
from ..board import clocks
from ..board.identity import Board
from ..interface import timings
from ..interface.settings import Settings
from ..system.events import emit, tell
from ..system.failures import DeviceError, DigestMismatch
from ..system.files import alone, canonical, digest, land, make_folder, write_json
from .manifest import Bundle
from .stamp import STAMP, Engine, Stamp, dotted, engine_of, identity_of, is_whole, read_stamp

if TYPE_CHECKING:
    from ..interface.protocols import Backend


def run(
    bundle: Bundle, out: str, force: bool = False, other_device: bool = False, lock_clocks: bool = False
) -> None:
    """Build what is not there yet, with locked clocks where the plan or `lock_clocks` asks for them.

    A second `build` into the same folder waits for the first and then finds its engines.
    """
    lock_clocks = lock_clocks or bundle.part("benchmark").get("lock_clocks") is True
    backend = open_backend(bundle.plan)
    _meant_for(bundle.part("target"), backend, other_device)
    with alone(make_folder(out)):
        for draft in glob.glob(os.path.join(glob.escape(out), ".draft*")):
            os.unlink(draft)  # of a build that was killed
        # Tactics are chosen by their times, so they are timed under the clocks that the engine will run with.
        with clocks.locked(Board(), lock_clocks and backend.keeps_timings) as locked:
            _build_all(bundle, backend, out, force, locked)


def _meant_for(target: Dict[str, object], backend: "Backend", other_device: bool) -> None:
    """Refuse a board that the bundle was not made for; tell of another TensorRT."""
    wanted, has = target.get("compute_capability"), identity_of(backend).compute_capability
    if not backend.ahead and isinstance(wanted, list) and wanted != has and not other_device:
        raise DeviceError(
            "the bundle is for %s with compute capability %s; %s has %s"
            % (target.get("name"), dotted(wanted), backend.device["name"], dotted(has)),
            "make a bundle for this board; --other-device builds all the same",
        )
    version = str(target.get("tensorrt") or "")
    if version and version.split(".")[:2] != backend.version.split(".")[:2]:
        tell("warning: the bundle was made for TensorRT %s, here is %s" % (version, backend.version))


def _build_all(bundle: Bundle, backend: "Backend", out: str, force: bool, locked: bool) -> None:
    """Every model of the bundle; the stamp is written after each, so that nothing is built twice."""
    stamp = _continue(out, backend)
    for name in sorted(bundle.models):
        settings = bundle.settings(name)
        key = canonical({"settings": settings.digest(), "backend": list(stamp.identity)})
        built = stamp.engines.get(name)
        if built and built.key == key and not force and is_whole(out, built):
            tell("%s: the engine of an earlier build fits" % name)
            emit("engine", **dict(built.facts, model=name, cached=True))
            continue
        tell("%s: building with %s %s ..." % (name, backend.name, backend.version))
        facts = _build(backend, bundle.path(bundle.models[name].file), settings, stamp, out)
        facts.update(key=key, clocks_locked=locked)
        stamp.engines[name] = engine_of(facts, STAMP)
        stamp.write(out, backend.device)
        emit("engine", **dict(facts, model=name, cached=False))
    stamp.engines = {name: stamp.engines[name] for name in bundle.models}
    content = stamp.write(out, backend.device)
    emit("built", file=STAMP, sha256=digest(os.path.join(out, STAMP))[0], stamp=content)


def _continue(out: str, backend: "Backend") -> Stamp:
    """The engines of an earlier build with the same backend on the same device, or none."""
    here = identity_of(backend)
    engines: Dict[str, Engine] = {}
    if os.path.isfile(os.path.join(out, STAMP)):
        try:
            old = read_stamp(out)
        except (DigestMismatch, DeviceError):
            return Stamp(here, {})
        engines = old.engines if old.identity == here else {}
    return Stamp(here, engines)


def _build(backend: "Backend", model: str, settings: Settings, stamp: Stamp, out: str) -> Dict[str, object]:
    """Build one engine; what is returned becomes its entry in the stamp."""
    name = settings.model
    file = name + backend.suffix
    path, draft = os.path.join(out, file), os.path.join(out, ".draft%d-%s" % (os.getpid(), file))
    cache = timings.known(stamp.identity) if backend.keeps_timings else None
    if cache and cache.seconds and not backend.shows_progress:
        tell("  the last build here took %d s; this TensorRT shows no progress" % cache.seconds)
    try:
        facts = backend.build(model, settings, draft, cache)
        sha256, size = digest(draft)
        account = backend.inspect(draft, settings.inputs, settings.dla_core)
        facts.update(_account(account, out, name), dla=_on_dla(facts, account, settings))
        with open(draft, "rb") as whole:
            os.fsync(whole.fileno())
        land(draft, path)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
    if cache:
        timings.keep(cache, facts["build_seconds"])
        stamp.timing_cache = timings.record(cache)
    return dict(
        facts,
        file=file,
        sha256=sha256,
        size=size,
        onnx_sha256=settings.onnx_sha256,
        sparse=settings.sparse,
        precision=settings.precision,
        built=int(time.time()),
    )


def _on_dla(
    facts: Dict[str, Any], account: Optional[Dict[str, Any]], settings: Settings
) -> Optional[Dict[str, object]]:
    """How much of an engine for the DLA runs there: what the builder says of each layer, and of what it made.

    Raises DeviceError where that is nothing: its times would be the GPU's, under the DLA's name.
    """
    core, found, said = settings.dla_core, facts.get("dla"), facts.get("findings") or {}
    if core is None or found is None:
        return None
    loadables = max(int(said.get("dla_loadables", 0)), int((account or {}).get("dla_layers", 0)))
    told = bool(loadables or said.get("gpu_layers"))
    if not found.capable or (told and not loadables):
        raise DeviceError(
            "%s: none of its %d layers runs on the DLA, all fall back to the GPU"
            % (settings.model, found.layers),
            "leave dla%d out of --places; why is in the lines above, `jetpress check` names operators" % core,
        )
    share = found.capable / float(found.layers)
    tell(
        "%s: %d of its %d layers (%.0f %%) can run on DLA core %d"
        % (settings.model, found.capable, found.layers, 100 * share, core)
    )
    return dict(
        found._asdict(), core=core, share=share, loadables=loadables, gpu_layers=said.get("gpu_layers", 0)
    )


def _account(account: Optional[Dict[str, object]], out: str, name: str) -> Dict[str, object]:
    """What the engine says of its own layers goes into a file; the counts go into the stamp."""
    if account is None:
        return {"layers": None, "sparse_layers": None}
    write_json(os.path.join(out, "%s.layers.json" % name), account["account"])
    return {"layers": account["layers"], "sparse_layers": account["sparse_layers"]}
