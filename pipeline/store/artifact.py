"""What flows through the pipeline: immutable directories named by the SHA-256 of their content.

An artifact is a path and a few facts. Each directory holds its files and ``artifact.json``: the kind, the
facts, and the size and digest of every file. The digest of that JSON is the artifact's name, so equal names
mean equal bytes. The subclasses have no behaviour: they let the type checker hold the order of the stages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jetpress.deploy.errors import TrustError

DESCRIPTION = "artifact.json"
AGAIN = "remove that folder and run again"


@dataclass(frozen=True)
class Artifact:
    """A directory and what is known about it. ``facts`` are JSON values."""

    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the description, which holds the SHA-256 of every file."""
        return self.path.name

    @classmethod
    def open(cls, path: Path) -> Self:
        """The artifact at ``path``, its description held against its name (the files are not read).

        Raises:
            TrustError: the description is not the one that was written, or it is of another kind.
        """
        description = _description(path)
        if description["kind"] != cls.__name__:
            raise TrustError(
                f"{path} holds a {description['kind']}, not a {cls.__name__}",
                "run `jetpress gc --all` and start again",
            )
        return cls(path, description["facts"])


class Checkpoint(Artifact):
    """A network: ``network.json`` (how to build it, its pruning history), ``weights.safetensors``."""


class OnnxModel(Artifact):
    """``model.onnx`` at a stated opset."""


class Equivalence(Artifact):
    """``equivalence.json``: how far two runtimes differ."""


class Clearance(Artifact):
    """``preflight.json``: the target's parser will take this ONNX file."""


class Sensitivity(Artifact):
    """``sensitivity.json``: what each group of channels and each block is worth, measured."""


class Timings(Artifact):
    """``timings.json``: what each layer takes on the device at each width, measured."""


class Assessment(Artifact):
    """Accuracy of the dense and the compressed network on the test split."""


class Bundle(Artifact):
    """What is copied to a device: ONNX files, build plan, runner, samples, manifest."""


class Engine(Artifact):
    """Built engines and their stamps."""


class Inference(Artifact):
    """What the engines made of the bundle's samples: ``outputs-<model>.npy``, and their accuracy."""


class Measurement(Artifact):
    """``bench.json``: raw latencies of every engine of a bundle, measured in one session."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def listing(directory: Path) -> dict[str, dict[str, Any]]:
    """``{relative path: {"sha256", "size"}}`` of every file below ``directory`` but its description."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p != directory / DESCRIPTION)
    return {str(p.relative_to(directory)): {"sha256": sha256(p), "size": p.stat().st_size} for p in files}


def describe(artifact: Artifact) -> tuple[str, str]:
    """The description of a draft, and its digest."""
    text = canonical(
        {"kind": type(artifact).__name__, "facts": dict(artifact.facts), "files": listing(artifact.path)}
    )
    return text, hashlib.sha256(text.encode()).hexdigest()


def _description(path: Path) -> dict[str, Any]:
    try:
        text = (path / DESCRIPTION).read_bytes()
    except FileNotFoundError:
        raise TrustError(f"{path} has no {DESCRIPTION}", AGAIN) from None
    if hashlib.sha256(text).hexdigest() != path.name:
        raise TrustError(f"the description of {path} was changed", AGAIN)
    described: dict[str, Any] = json.loads(text)
    return described


def verify(artifact: Artifact) -> None:
    """Read every file again and compare: size first, then digest.

    Raises:
        TrustError: a file is missing, was added or is not the one that was made.
    """
    expected: dict[str, dict[str, Any]] = _description(artifact.path)["files"]
    for name, entry in expected.items():
        file = artifact.path / name
        if not file.is_file() or file.is_symlink():
            raise TrustError(f"{file} is missing", AGAIN)
        if (size := file.stat().st_size) != entry["size"]:
            raise TrustError(f"{file} has {size} bytes, expected {entry['size']}", AGAIN)
        if (found := sha256(file)) != entry["sha256"]:
            raise TrustError(f"{file} has SHA-256 {found}, expected {entry['sha256']}", AGAIN)
    there = {str(path.relative_to(artifact.path)) for path in artifact.path.rglob("*") if not path.is_dir()}
    if added := sorted(there - {*expected, DESCRIPTION}):
        raise TrustError(f"{artifact.path / added[0]} was added", AGAIN)
