"""What comes with a bundle, and what its runner says: manifest, plan, claims, signature, whom to trust, events.

The first byte of an input says which of them it is, so that one corpus serves all.
"""

from __future__ import annotations

import hashlib
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

from jetpress.deploy.runner.engines.manifest import Bundle, listed
from jetpress.deploy.runner.trust import krl, release, signers, sshsig
from jetpress.deploy.runner.trust.sshsig import string
from studies.fuzz.mutations import changed_json, changed_lines

INPUT = {"name": "images", "shape": [2, 3, 16, 16], "dtype": "float32", "profile": None}
PLAN = {
    "format": 1, "name": "toy", "backend": "onnxruntime", "precision": "int8", "workspace_mb": 64, "threads": 1,
    "optimization_level": 3, "provider": "cpu", "compute_capabilities": ["8.9"],
    "models": {
        "compressed": {
            "file": "model.onnx", "sparse": False, "precision": "int8", "dla_core": 0, "twin_of": "dense",
            "implicit": {"file": "model.onnx", "ranges": "ranges.json"},
        },
        "dense": {"file": "model.onnx", "strongly_typed": True},
    },
    "inputs": [{**INPUT, "profile": {"min": [1, 3, 16, 16], "opt": [2, 3, 16, 16], "max": [2, 3, 16, 16]}}],
    "task": {"kind": "classification", "output": "scores", "classes": ["a", "b"]},
    "benchmark": {"seconds": 0.3, "memory": "mapped"},
}  # fmt: skip
CLAIMS = {
    "format": 1, "name": "toy", "target": "host", "signer": "alice@example.com", "sequence": 3, "created": 1700000000,
    "expires": 2000000000, "manifest": "0" * 64,
}  # fmt: skip
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
SIGNERS = (
    f'# who\nalice@example.com,bob namespaces="jetpress-release" {KEY}\ncarol {KEY}\n@revoked {KEY}\n'
    "require-signature\ntarget xavier\n"
)
_STRINGS = (b64decode(KEY.split()[1]), b"jetpress-release", b"", b"sha512")
_VALUE = string(string(b"ssh-ed25519") + string(bytes(64)))
_BLOB = b64encode(sshsig.MAGIC + b"\0\0\0\1" + b"".join(map(string, _STRINGS)) + _VALUE).decode()
SIGNED = f"-----BEGIN SSH SIGNATURE-----\n{_BLOB}\n-----END SSH SIGNATURE-----\n"
RESULT = {
    "event": "result", "model": "compressed", "verdict": "valid", "reasons": [], "latency": {"median": 1.5},
    "interval": [1.4, 1.6], "level": 95, "raw": {"latency": [1.4, 1.5, 1.6]}, "knobs": {"batch": 2, "streams": 1},
}  # fmt: skip
ENGINE = {
    "size": 1, "build_seconds": 1.0, "sparse": True, "flags": ["FP16"], "sparse_layers": 2, "warnings": ["x"],
    "findings": {
        "skipped_tactics": 0, "skipped_for_memory": 1, "int64_casts": 0, "dla_fallback": 0, "lines": ["a"],
        "sparsity": {"eligible": 3, "eligible_layers": ["a"], "chosen": 1, "chosen_layers": ["b"]},
    },
}  # fmt: skip
SLOT = {
    "event": "slot", "name": "toy", "number": 3, "state": "good", "reason": "", "serves": True, "sequence": 7,
    "signer": "alice", "changed": 1700000000,
}  # fmt: skip
EVENTS: tuple[dict[str, object], ...] = (
    RESULT,
    SLOT,
    {"event": "progress", "model": "dense", "phase": "building", "step": 1, "steps": 9},
    {"event": "built", "stamp": {"backend": "tensorrt", "version": "10.3", "models": {"compressed": ENGINE}}},
    {"event": "infer", "model": "dense", "top1": 0.5, "outputs": [{"name": "logits", "file": "outputs-dense.npy"}]},
    {
        "event": "ratio", "of": "compressed", "against": "dense", "ratio": 1.5, "interval": [1.4, 1.6], "level": None,
        "pairs": 64, "sessions": 3, "verdict": "faster", "state": "known", "reasons": [],
    },
    {"event": "machine", "line": "load 0.1"},
    {"event": "profile", "model": "dense", "latency_ms": 1.0, "rounds_ms": [1.0, 1.1], "layers": {"conv": 0.5}},
    {"event": "error", "what": "no disk", "hint": "free some"},
    {"event": "skipped", "what": "no disk", "hint": ""},
    {"event": "else", "x": [1, {"y": None}]},
)  # fmt: skip


def _manifest(data: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(data)
    listed(str(folder))
    Bundle(str(folder))


def _plan(data: bytes, folder: Path) -> None:
    """The plan of a bundle whose manifest vouches for it: it is read, and every question is asked of it."""
    ranges = data if data[:6] == b"ranges" else b'{"conv": 1.5}'
    _sealed(folder, {"plan.json": data, "model.onnx": b"x", "ranges.json": ranges})
    bundle = Bundle(str(folder))
    bundle.place(("gpu", "dla0"))
    bundle.also_mapped()
    for name in bundle.models:
        bundle.settings(name)
        bundle.sample(name)
    bundle.part("task")
    bundle.only_chosen()


def _sealed(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    entries = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in files.items()
    }
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))


def _claims(data: bytes, folder: Path) -> None:
    release._claims(data)  # noqa: SLF001  no signature could be made for each


def _signature(data: bytes, folder: Path) -> None:
    read = sshsig.read(data)
    sshsig.fingerprint(read.key)
    if read.namespace:  # a multiplication on the curve takes longer than all else
        sshsig.key_bytes(read.key)


def _signers(data: bytes, folder: Path) -> None:
    (folder / "allowed_signers").write_bytes(data)
    signers.read(str(folder / "allowed_signers"))


def _revocations(data: bytes, folder: Path) -> None:
    krl.read(data, "list").has(_STRINGS[0])


REVOKED = krl.MAGIC + bytes(32) + b"".join(
    bytes([kind]) + string(string(content))
    for kind, content in ((2, _STRINGS[0]), (3, bytes(20)), (5, bytes(32)), (1, b""))
)  # fmt: skip
KINDS: dict[bytes, tuple[Callable[[bytes, Path], None], bytes]] = {
    b"M": (_manifest, json.dumps({"files": {"plan.json": {"size": 2, "sha256": "0" * 64}}}).encode()),
    b"P": (_plan, json.dumps(PLAN).encode()),
    b"C": (_claims, json.dumps(CLAIMS).encode()),
    b"S": (_signature, SIGNED.encode()),
    b"A": (_signers, SIGNERS.encode()),
    b"R": (_revocations, REVOKED),
}


def seeds() -> list[bytes]:
    """One of each."""
    return [kind + content for kind, (_, content) in KINDS.items()]


def read(data: bytes, folder: Path) -> None:
    """Read it as what its first byte says."""
    reader, _ = KINDS.get(data[:1], KINDS[b"M"])
    reader(data[1:], folder)


def changed(data: bytes, dice: random.Random) -> bytes | None:
    """Its structure changed; bytes of a signature."""
    inside = changed_lines(data[1:], dice) if data[:1] == b"A" else changed_json(data[1:], dice)
    return inside and data[:1] + inside
