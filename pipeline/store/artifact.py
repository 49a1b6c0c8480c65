"""What flows through the pipeline: immutable directories named by the SHA-256 of their content.

An artifact is a path and a few facts. Each directory holds its files and ``artifact.json``: the kind, the
facts, and the size and digest of every file. The digest of that JSON is the artifact's name, so equal names
mean equal bytes. The subclasses have no behaviour: they let the type checker hold the order of the stages, and say
which record their facts are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, get_args

from pydantic import TypeAdapter

from jetpress.deploy.errors import TrustError
from jetpress.pipeline.store.facts.device import (
    BundleFacts,
    EngineFacts,
    InferenceFacts,
    MeasurementFacts,
    RoundTimesFacts,
    TimingsFacts,
)
from jetpress.pipeline.store.facts.network import AssessmentFacts, CheckpointFacts, SensitivityFacts
from jetpress.pipeline.store.facts.onnx_file import (
    ClearanceFacts,
    EquivalenceFacts,
    OnnxModelFacts,
    SamplesFacts,
)

DESCRIPTION = "artifact.json"
AGAIN = "remove that folder and run again"
Facts = TypeVar("Facts", covariant=True)


@dataclass(frozen=True)
class Artifact(Generic[Facts]):
    """A directory and what is known about it."""

    path: Path
    known: Facts | None = field(default=None, hash=False)
    """None where the artifact is only planned."""

    @property
    def facts(self) -> Facts:
        """What is known about an artifact that is there: a stage sees no other."""
        assert self.known is not None
        return self.known

    @property
    def digest(self) -> str:
        """SHA-256 of the description, which holds the SHA-256 of every file."""
        return self.path.name

    @classmethod
    def open(cls, path: Path) -> Self:
        """The artifact at ``path``, its description held against its name (the files are not read), its facts checked.

        Raises:
            TrustError: the description is not the one that was written, is damaged, or is of another kind.
        """
        description = _description(path)
        try:
            kind, facts = description["kind"], json.dumps(description["facts"])
            (base,) = vars(cls)["__orig_bases__"]
            known: Facts | None = None
            if kind == cls.__name__:
                known = _reader(base).validate_json(facts, strict=True)
        except (ValueError, LookupError, TypeError) as error:
            what = f"the description of {path} is damaged ({type(error).__name__})"
            raise TrustError(what, AGAIN) from None
        if known is None:
            raise TrustError(
                f"{path} holds a {kind}, not a {cls.__name__}", "run `jetpress gc --all` and start again"
            )
        return cls(path, known)


@cache
def _reader(base: object) -> TypeAdapter[Any]:
    """Reads the facts that ``base``, such as ``Artifact[CheckpointFacts]``, names."""
    return TypeAdapter(get_args(base)[0])


class Checkpoint(Artifact[CheckpointFacts]):
    """A network: ``network.json`` (how to build it, its pruning history), ``weights.safetensors``."""


class OnnxModel(Artifact[OnnxModelFacts]):
    """``model.onnx`` at a stated opset."""


class Samples(Artifact[SamplesFacts]):
    """``<input>.npy`` for each input of a file: ``[samples, *its shape]``."""


class Equivalence(Artifact[EquivalenceFacts]):
    """``equivalence.json``: how far two runtimes differ."""


class Clearance(Artifact[ClearanceFacts]):
    """``preflight.json``: the target's parser will take this ONNX file."""


class Sensitivity(Artifact[SensitivityFacts]):
    """``sensitivity.json``: what each group of channels and each block is worth, measured."""


class Timings(Artifact[TimingsFacts]):
    """``timings.json``: what each layer takes on the device at each width, measured."""


class RoundTimes(Artifact[RoundTimesFacts]):
    """What the network of every round of pruning takes on the device, measured; no files."""


class Assessment(Artifact[AssessmentFacts]):
    """Accuracy of the dense and the compressed network on the test split."""


class Bundle(Artifact[BundleFacts]):
    """What is copied to a device: ONNX files, build plan, runner, samples, manifest."""


class Engine(Artifact[EngineFacts]):
    """Built engines and their stamps."""


class Inference(Artifact[InferenceFacts]):
    """What the engines made of the bundle's samples: ``outputs-<model>.npy``, and their accuracy."""


class Measurement(Artifact[MeasurementFacts]):
    """``bench.json``: raw latencies of every engine of a bundle, measured in one session."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def listing(directory: Path) -> dict[str, dict[str, str | int]]:
    """``{relative path: {"sha256", "size"}}`` of every file below ``directory`` but its description."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p != directory / DESCRIPTION)
    return {str(p.relative_to(directory)): {"sha256": sha256(p), "size": p.stat().st_size} for p in files}


def describe(artifact: Artifact[object]) -> tuple[str, str]:
    """The description of a draft, and its digest."""
    facts, kind = artifact.facts, type(artifact).__name__
    assert dataclasses.is_dataclass(facts)
    assert not isinstance(facts, type)
    told = dataclasses.asdict(facts, dict_factory=lambda items: {k: v for k, v in items if v is not None})
    text = canonical({"kind": kind, "facts": told, "files": listing(artifact.path)})
    return text, hashlib.sha256(text.encode()).hexdigest()


def _description(path: Path) -> Mapping[str, Any]:
    try:
        text = (path / DESCRIPTION).read_bytes()
    except OSError:
        raise TrustError(f"{path} has no {DESCRIPTION}", AGAIN) from None
    if hashlib.sha256(text).hexdigest() != path.name:
        raise TrustError(f"the description of {path} was changed", AGAIN)
    try:
        described: Mapping[str, Any] = json.loads(text)
    except ValueError as error:
        raise TrustError(f"the description of {path} is damaged ({type(error).__name__})", AGAIN) from None
    return described


def verify(artifact: Artifact[object]) -> None:
    """Read every file again and compare: size first, then digest.

    Raises:
        TrustError: a file is missing, was added or is not the one that was made.
    """
    expected = _description(artifact.path)["files"]
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
