"""The engines of a folder, and engine.json, the stamp that says what they are.

An engine runs only on the GPU and the TensorRT that built it, so the stamp names both, and a stamp that is not of
here is refused before anything opens an engine.
"""

import os
import platform
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence

from ..board.identity import Board
from ..system.failures import DeviceError, DigestMismatch
from ..system.files import digest, read_json, verify, write_json
from . import board_key
from .manifest import Bundle

if TYPE_CHECKING:
    from ..interface.protocols import Backend, Session

STAMP = "engine.json"
FORMAT = 1


class Identity(NamedTuple):
    """What an engine is bound to."""

    backend: str
    version: str
    device: Optional[str]  # None: built ahead of time, for a GPU that was not there
    compute_capability: Optional[List[int]]
    # `Orin` is the name of at least four boards, and what is fastest at 15 W is not what is fastest at MAXN.
    module: Optional[str] = None  # NVIDIA's part number
    multiprocessors: Optional[int] = None
    memory_gb: Optional[int] = None  # the power of two above what the driver sees: it keeps some for itself
    power_mode: Optional[str] = None

    def fits(self, built: "Identity") -> bool:
        """Whether engines of `built` run here. Those of no device are TensorRT-RTX's to judge."""
        same = (self.backend, self.version) == (built.backend, built.version)
        return same and (built.device is None or self == built)

    def in_words(self) -> str:
        """For people."""
        told = [
            self.compute_capability and "compute capability %s" % dotted(self.compute_capability),
            self.module,
            self.multiprocessors and "%d multiprocessors" % self.multiprocessors,
            self.memory_gb and "up to %d GB" % self.memory_gb,
            self.power_mode and "power mode %s" % self.power_mode,
        ]
        words = ", ".join(word for word in told if word)
        return "%s %s on %s%s" % (
            self.backend,
            self.version,
            self.device or "no device, ahead of time",
            " (%s)" % words if words else "",
        )


class Engine(NamedTuple):
    """One engine as the stamp has it."""

    file: str
    sha256: str
    size: int
    onnx_sha256: str
    key: str  # stands for the settings that it was built with
    facts: Dict[str, object]  # all of the above, and what its builder said


class Stamp:
    """engine.json: grows with each engine that is built."""

    def __init__(self, identity: Identity, engines: Dict[str, Engine]) -> None:
        self.identity, self.engines = identity, engines
        self.timing_cache: Optional[Dict[str, object]] = None

    def write(self, folder: str, device: Dict[str, object]) -> Dict[str, object]:
        """Write it, with what is known of the device and the board; its content."""
        content: Dict[str, object] = {
            **self.identity._asdict(),
            "format": FORMAT,
            "models": {name: self.engines[name].facts for name in sorted(self.engines)},
            "board": Board().identity(),
            "timing_cache": self.timing_cache,
            "device_facts": device,
            "python": platform.python_version(),
        }
        content = board_key.sealed(content)
        write_json(os.path.join(folder, STAMP), content)
        return content


def identity_of(backend: "Backend") -> Identity:
    """What the engines of this backend will be bound to."""
    name, capability = backend.device["name"], backend.device["compute_capability"]
    identity = Identity(
        backend.name,
        backend.version,
        name if isinstance(name, str) else None,
        list(capability) if isinstance(capability, (list, tuple)) else None,
    )
    if not backend.keeps_timings:  # nothing was timed while it was built
        return identity
    board, cores, total = Board(), backend.device.get("multiprocessors"), backend.device.get("total_mb")
    return identity._replace(
        module=board.part(),
        multiprocessors=cores if isinstance(cores, int) else None,
        memory_gb=_gigabytes(total) if isinstance(total, int) else None,
        power_mode=board.power_mode(),
    )


def _gigabytes(megabytes: int) -> int:
    size = 1
    while size * 1024 < megabytes:
        size *= 2
    return size


def read_stamp(folder: str) -> Stamp:
    """engine.json of a folder of engines; anything else is refused."""
    path = os.path.join(folder, STAMP)
    if not os.path.isfile(path):
        raise DeviceError("%s is missing: no engine was built here" % path, "run `build` first")
    content = read_json(path)
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(models, dict):
        raise _no_stamp(path)
    board_key.check(path, content)
    identity = _claimed(content)
    return Stamp(identity, {str(name): engine_of(facts, path) for name, facts in models.items()})


def _claimed(content: Dict[str, Any]) -> Identity:
    """What a stamp says that its engines are bound to; what is of another kind is not said."""

    def of(kind: type, name: str) -> Any:
        value = content.get(name)
        return value if isinstance(value, kind) and not isinstance(value, bool) else None

    return Identity(
        str(content.get("backend")),
        str(content.get("version")),
        of(str, "device"),
        of(list, "compute_capability"),
        of(str, "module"),
        of(int, "multiprocessors"),
        of(int, "memory_gb"),
        of(str, "power_mode"),
    )


def engine_of(facts: object, path: str) -> Engine:
    """The entry of one engine."""
    if not isinstance(facts, dict) or not isinstance(facts.get("size"), int):
        raise _no_stamp(path)
    texts = [facts.get(key) for key in ("file", "sha256", "onnx_sha256", "key")]
    if not all(isinstance(text, str) for text in texts):
        raise _no_stamp(path)
    return Engine(facts["file"], facts["sha256"], facts["size"], facts["onnx_sha256"], facts["key"], facts)


def _no_stamp(path: str) -> DigestMismatch:
    return DigestMismatch("%s is not a stamp of this runner" % path, "run `build` again")


def open_engines(
    bundle: Bundle, folder: str, backend: "Backend", backward: bool = False
) -> Dict[str, "Session"]:
    """A session for each model: stamp, then digest, then origin are checked before a byte is deserialised.

    By name, or `backward`: where an engine lies in memory hangs on when it was opened.
    """
    stamp, here = read_stamp(folder), identity_of(backend)
    if stamp.engines and not here.fits(stamp.identity):
        raise DeviceError(
            "these engines were built with %s; here is %s" % (stamp.identity.in_words(), here.in_words()),
            "run `build` again on this device" + _or_the_old_mode(stamp.identity, here),
        )
    sessions: Dict[str, "Session"] = {}
    for name in sorted(bundle.models, reverse=backward):
        model = bundle.models[name]
        engine = stamp.engines.get(model.mapped_from or name)
        if engine is None:
            raise DeviceError("%s holds no engine of model %s" % (folder, name), "run `build` again")
        if model.dla_core is not None and not engine.facts.get("dla"):
            raise DeviceError(
                "the stamp does not say how much of %s runs on the DLA" % name, "run `build` again: --force"
            )
        if engine.onnx_sha256 != bundle.sha256(model.file):
            raise DigestMismatch(
                "the engine of %s was built from sha256 %s; the bundle's model is sha256 %s"
                % (name, engine.onnx_sha256, bundle.sha256(model.file)),
                "run `build` again",
            )
        path = engine_path(folder, engine)
        verify(path, engine.sha256, engine.size)
        mapped = model.mapped_from is not None
        if mapped and not backend.device.get("integrated"):
            raise DeviceError(
                'memory = "mapped" is for a GPU that has its memory with the CPU, and %s has its own'
                % backend.device["name"],
                "leave benchmark.memory out",
            )
        sessions[name] = backend.load(path, bundle.inputs, model.dla_core, mapped)
    return sessions


def _or_the_old_mode(built: Identity, here: Identity) -> str:
    if built.power_mode == here.power_mode or built._replace(power_mode=here.power_mode) != here:
        return ""
    return " in this power mode, or bring %s back: sudo nvpmodel -m ..." % built.power_mode


def engine_path(folder: str, engine: Engine) -> str:
    """Where it lies: in its folder, whatever the stamp says."""
    return os.path.join(folder, os.path.basename(engine.file))


def is_whole(folder: str, engine: Engine) -> bool:
    """Whether its file is there, and is the one that was built."""
    path = engine_path(folder, engine)
    return os.path.isfile(path) and digest(path) == (engine.sha256, engine.size)


def dotted(capability: Optional[Sequence[object]]) -> str:
    """8.7 for [8, 7]."""
    return ".".join(str(part) for part in capability or ["none"])
