"""build: one engine for every model of the bundle, and engine.json, the stamp that says what they are.

An engine runs only on the GPU and the TensorRT that built it, so the stamp names both, and `infer` and
`bench` refuse a stamp that is not of here before anything opens the engine. A build that was cut is
continued: engines whose stamp still fits are kept.
"""

import glob
import os
import platform
import time
from typing import Any, Dict, Optional

from . import timings
from .backends import open_backend
from .events import emit, tell
from .failures import DeviceError, DigestMismatch
from .files import alone, canonical, digest, land, make_folder, read_json, verify, write_json
from .identity import Board
from .manifest import Bundle

STAMP = "engine.json"
FORMAT = 1


def run(bundle: Bundle, out: str, force: bool = False, other_device: bool = False) -> Dict[str, Any]:
    """Build what is not there yet; returns the stamp.

    A second `build` into the same folder waits for the first and then finds its engines.
    """
    backend = open_backend(bundle.plan)
    _meant_for(bundle.plan.get("target") or {}, backend, other_device)
    with alone(make_folder(out)):
        for draft in glob.glob(os.path.join(glob.escape(out), ".draft*")):
            os.unlink(draft)  # of a build that was killed
        return _build_all(bundle, backend, out, force)


def _meant_for(target: Dict[str, Any], backend: Any, other_device: bool) -> None:
    """Refuse a board that the bundle was not made for; tell of another TensorRT."""
    wanted, found = target.get("compute_capability"), backend.device["compute_capability"]
    if not backend.ahead and wanted and list(wanted) != list(found or []) and not other_device:
        raise DeviceError(
            "the bundle is for %s with compute capability %s; %s has %s"
            % (target.get("name"), _dotted(wanted), backend.device["name"], _dotted(found)),
            "make a bundle for this board; --other-device builds all the same",
        )
    version = str(target.get("tensorrt") or "")
    if version and version.split(".")[:2] != backend.version.split(".")[:2]:
        tell("warning: the bundle was made for TensorRT %s, here is %s" % (version, backend.version))


def _build_all(bundle: Bundle, backend: Any, out: str, force: bool) -> Dict[str, Any]:
    """Every model of the bundle; the stamp is written after each, so that nothing is built twice."""
    stamp = _continue(out, backend)
    for name in sorted(bundle.models):
        settings = _settings(bundle, name)
        key = canonical({"settings": settings, "backend": _identity(backend)})
        kept = None if force else _kept(out, stamp["models"].get(name), key)
        if kept:
            tell("%s: the engine of an earlier build fits" % name)
            emit("engine", **dict(kept, model=name, cached=True))
            continue
        tell("%s: building with %s %s ..." % (name, backend.name, backend.version))
        entry = _build(bundle, backend, name, settings, stamp, out)
        entry["key"] = key
        stamp["models"][name] = entry
        write_json(os.path.join(out, STAMP), stamp)
        emit("engine", **dict(entry, model=name, cached=False))
    stamp["models"] = {name: stamp["models"][name] for name in sorted(bundle.models)}
    write_json(os.path.join(out, STAMP), stamp)
    emit("built", file=STAMP, sha256=digest(os.path.join(out, STAMP))[0], stamp=stamp)
    return stamp


def _settings(bundle: Bundle, name: str) -> Dict[str, Any]:
    """All that decides about one engine."""
    plan, model = bundle.plan, bundle.models[name]
    return {
        "model": name,
        "onnx_sha256": bundle.sha256(model["file"]),
        "precision": model.get("precision", plan["precision"]),
        "sparse": bool(model.get("sparse")),
        "inputs": plan["inputs"],
        "workspace_mb": plan.get("workspace_mb"),
        "threads": plan.get("threads"),
        "strongly_typed": bool(model.get("strongly_typed", plan.get("strongly_typed"))),
        "optimization_level": plan.get("optimization_level"),
        "dla_core": model.get("dla_core", plan.get("dla_core")),
        "compute_capabilities": plan.get("compute_capabilities"),
    }


def _identity(backend: Any) -> Dict[str, Any]:
    return {
        "backend": backend.name,
        "version": backend.version,
        "device": backend.device["name"],
        "compute_capability": backend.device["compute_capability"],
    }


def _continue(out: str, backend: Any) -> Dict[str, Any]:
    """The stamp of an earlier build of the same backend on the same device, or a new one."""
    fresh: Dict[str, Any] = dict(
        _identity(backend),
        format=FORMAT,
        models={},
        board=Board().identity(),
        timing_cache=None,
        device_facts=backend.device,
        python=platform.python_version(),
    )
    path = os.path.join(out, STAMP)
    if not os.path.isfile(path):
        return fresh
    try:
        old = read_stamp(out)
    except (DigestMismatch, DeviceError):
        return fresh
    same = all(old.get(key) == value for key, value in _identity(backend).items())
    return dict(fresh, models=old["models"]) if same else fresh


def _kept(out: str, entry: Optional[Dict[str, Any]], key: str) -> Optional[Dict[str, Any]]:
    """The entry of an engine that need not be built again: same settings, file whole."""
    if not entry or entry.get("key") != key:
        return None
    try:
        verify(os.path.join(out, os.path.basename(entry["file"])), entry["sha256"], entry["size"])
    except DigestMismatch:
        return None
    return entry


def _build(
    bundle: Bundle, backend: Any, name: str, settings: Dict[str, Any], stamp: Dict[str, Any], out: str
) -> Dict[str, Any]:
    """Build one engine; what is returned becomes its entry in the stamp."""
    file = name + backend.suffix
    path, draft = os.path.join(out, file), os.path.join(out, ".draft%d-%s" % (os.getpid(), file))
    place = timings.known(_identity(backend)) if backend.keeps_timings else None
    if place and place["seconds"] and not backend.shows_progress:
        tell("  the last build here took %d s; this TensorRT shows no progress" % place["seconds"])
    try:
        facts = backend.build(
            bundle.path(bundle.models[name]["file"]), dict(settings, timing_cache=place), draft
        )
        sha256, size = digest(draft)
        facts.update(_account(backend.inspect(draft, settings["inputs"], settings["dla_core"]), out, name))
        with open(draft, "rb") as whole:
            os.fsync(whole.fileno())
        land(draft, path)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
    if place:
        timings.keep(place, facts["build_seconds"])
        stamp["timing_cache"] = timings.record(place)
    facts.update(
        file=file,
        sha256=sha256,
        size=size,
        onnx_sha256=settings["onnx_sha256"],
        sparse=settings["sparse"],
        precision=settings["precision"],
        built=int(time.time()),
    )
    return dict(facts)


def _account(account: Optional[Dict[str, Any]], out: str, name: str) -> Dict[str, Any]:
    """What the engine says of its own layers goes into a file; the counts go into the stamp."""
    if account is None:
        return {"layers": None, "sparse_layers": None}
    write_json(os.path.join(out, "%s.layers.json" % name), account["account"])
    return {"layers": account["layers"], "sparse_layers": account["sparse_layers"]}


def read_stamp(engines: str) -> Dict[str, Any]:
    """engine.json of a folder of engines; anything else is refused."""
    path = os.path.join(engines, STAMP)
    if not os.path.isfile(path):
        raise DeviceError("%s is missing: no engine was built here" % path, "run `build` first")
    stamp: Dict[str, Any] = read_json(path)
    if not _is_stamp(stamp):
        raise DigestMismatch("%s is not a stamp of this runner" % path, "run `build` again")
    return stamp


def _is_stamp(stamp: Any) -> bool:
    if (
        not isinstance(stamp, dict)
        or stamp.get("format") != FORMAT
        or not isinstance(stamp.get("models"), dict)
    ):
        return False
    texts = ("file", "sha256", "onnx_sha256", "key")
    return all(
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in texts)
        and isinstance(entry.get("size"), int)
        for entry in stamp["models"].values()
    )


def open_engines(bundle: Bundle, engines: str, backend: Any) -> Dict[str, Any]:
    """A session for each model: stamp, then digest, then origin are checked before a byte is deserialised."""
    stamp = read_stamp(engines)
    here, there = _identity(backend), {key: stamp.get(key) for key in _identity(backend)}
    if stamp["models"] and not _fits(here, there):
        raise DeviceError(
            "these engines were built with %s; here is %s" % (_words(there), _words(here)),
            "run `build` again on this device",
        )
    sessions = {}
    for name in sorted(bundle.models):
        entry = stamp["models"].get(name)
        if entry is None:
            raise DeviceError("%s holds no engine of model %s" % (engines, name), "run `build` again")
        if entry["onnx_sha256"] != bundle.sha256(bundle.models[name]["file"]):
            raise DigestMismatch(
                "the engine of %s was built from sha256 %s; the bundle's model is sha256 %s"
                % (name, entry["onnx_sha256"], bundle.sha256(bundle.models[name]["file"])),
                "run `build` again",
            )
        path = os.path.join(engines, os.path.basename(entry["file"]))
        verify(path, entry["sha256"], entry["size"])
        core = bundle.models[name].get("dla_core", bundle.plan.get("dla_core"))
        sessions[name] = backend.load(path, bundle.inputs, core)
    return sessions


def engine_file(engines: str, name: str) -> str:
    """The path of an engine that `open_engines` has opened."""
    return os.path.join(engines, os.path.basename(read_stamp(engines)["models"][name]["file"]))


def _fits(here: Dict[str, Any], there: Dict[str, Any]) -> bool:
    """Same backend, version, device. What was built ahead of time names no device; TensorRT-RTX judges."""
    same = here["backend"] == there["backend"] and here["version"] == there["version"]
    built_ahead = there["device"] is None
    return same and (
        built_ahead
        or (here["device"], here["compute_capability"]) == (there["device"], there["compute_capability"])
    )


def _words(identity: Dict[str, Any]) -> str:
    capability = identity["compute_capability"]
    where = " (compute capability %s)" % _dotted(capability) if capability else ""
    return "%s %s on %s%s" % (
        identity["backend"],
        identity["version"],
        identity["device"] or "no device, ahead of time",
        where,
    )


def _dotted(capability: Any) -> str:
    return ".".join(str(part) for part in capability or ["none"])
