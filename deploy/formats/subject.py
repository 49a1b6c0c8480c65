"""What a package is made from: a run's bundle, whose plan says all, and the engine, where the run built one here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.errors import RecipeError, TrustError
from jetpress.deploy.fields import Fields, Malformed
from jetpress.deploy.runner.decode.heads import HEADS, sizes_of
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.engines.stamp import Engine, engine_path, is_whole, read_stamp
from jetpress.deploy.runner.system.failures import RunnerError
from jetpress.deploy.runner.system.files import digest

AGAIN = "run it again with this jetpress: what was done is not done anew"
RUNTIME_FILES = {"tensorrt": ".engine"}
"""Backends whose engines other programs open, and the ending of the file."""


@dataclass(frozen=True)
class Tensor:
    """An input or output; of an open batch at the size that the engine is tuned for."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def sides(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.shape[1:]


@dataclass(frozen=True)
class Image:
    """How a frame becomes the input: ``(pixel / scale - mean) / std``, by the graph itself where it takes frames."""

    tensor: Tensor
    layout: str
    """``nchw``, or ``nhwc`` of uint8 frames."""
    colour: str
    """``rgb``, ``bgr`` or ``grey``."""
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str
    crop: float
    border: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        at = 1 if self.layout == "nhwc" else 2
        return self.tensor.shape[at], self.tensor.shape[at + 1]

    @property
    def channels(self) -> int:
        """1 or 3."""
        return len(self.mean)

    @property
    def in_graph(self) -> bool:
        """Whether the graph normalises by itself."""
        return self.layout == "nhwc"


@dataclass(frozen=True)
class Subject:
    """One network with all that is known of it."""

    name: str
    run: str
    target: Mapping[str, Any]
    backend: str
    precision: str
    model: str
    """Its name in the bundle."""
    batches: tuple[int, int, int]
    """Least, usual and largest batch."""
    image: Image
    outputs: tuple[Tensor, ...]
    kind: str
    """A task; empty where nobody said it."""
    ends_with: str
    """``scores``, ``softmax``, ``argmax`` or ``detections``."""
    classes: tuple[str, ...]
    rules: Mapping[str, Any]
    """How raw outputs become detections; empty: the graph does that, or it is no detector."""
    bundle: Bundle
    engines: Path | None
    """Folder with its engine; None: it is built where it is used."""

    @property
    def dynamic(self) -> bool:
        """Whether the batch is open."""
        return self.batches[0] < self.batches[2]

    @property
    def task(self) -> str:
        """What it is for; where nobody said, what the shape of its first output says."""
        if self.kind:
            return self.kind
        rank = len(self.outputs[0].shape) + (self.ends_with == "argmax")
        return {2: "classification", 4: "segmentation"}.get(rank, "custom")

    @property
    def class_count(self) -> int:
        """How many classes there are; 0: it does not say."""
        if self.rules:
            shapes = {one.name: one.shape for one in self.outputs}
            read, head = [shapes[name] for name in self.rules["reads"]], HEADS[self.rules["head"]]
            known = self.rules["classes"] or len(self.classes)
            return (
                int(self.rules["first_label"]) + sizes_of(read, head, known, self.rules.get("points", ()))[1]
            )
        if self.ends_with == "argmax" or self.task not in ("classification", "multilabel", "segmentation"):
            return len(self.classes)
        return self.outputs[0].shape[1]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class, its number where it has none; commas and line ends would be read as separators."""
        names = [one.replace("\n", " ").replace(";", ",") for one in self.classes]
        return (*names, *(str(number) for number in range(len(names), self.class_count)))


def read(run: Path, kind: str) -> Subject:
    """The network of a finished run.

    Raises:
        RecipeError: it feeds on something else than images, or the bundle is from before plans said enough.
        TrustError: the bundle or the engine is not the one that was made.
    """
    try:
        bundle = Bundle(str(run / "bundle"))
        plan = Fields(bundle.plan, "plan.json: ")
        if "image" not in plan.values:
            raise RecipeError(f"the bundle of {run} does not say what its inputs and outputs mean", AGAIN)
        image = _image(plan, kind)
        return _subject(run, bundle, plan, image)
    except RunnerError as error:
        raise TrustError(error.what, error.hint) from None
    except Malformed as error:
        raise RecipeError(str(error), AGAIN) from None


def _subject(run: Path, bundle: Bundle, plan: Fields, image: Image) -> Subject:
    task, model = plan.inside("task"), bundle.chosen()
    profile = bundle.inputs[0].profile or {}
    least, usual, most = (int(profile.get(bound, image.tensor.shape)[0]) for bound in ("min", "opt", "max"))
    return Subject(
        name=plan.text("name"),
        run=run.name,
        target=bundle.part("target"),
        backend=bundle.backend,
        precision=bundle.models[model].precision,
        model=model,
        batches=(least, usual, most),
        image=image,
        outputs=tuple(map(_tensor, plan.objects("outputs"))),
        kind="" if task.is_null("kind") else task.text("kind"),
        ends_with=task.text("output"),
        classes=task.texts("classes"),
        rules=bundle.part("detection"),
        bundle=bundle,
        engines=_engines(run / "engine", bundle, model),
    )


def _tensor(told: Fields) -> Tensor:
    """An open batch is 1 here: other open axes have no place in a package."""
    sides = told.values.get("shape")
    if not isinstance(sides, list) or not sides:
        raise RecipeError(f"tensor {told.text('name')} has no axis for a batch", "no package takes that")
    shape = tuple(side if isinstance(side, int) else 1 if at == 0 else 0 for at, side in enumerate(sides))
    if 0 in shape:
        raise RecipeError(
            f"tensor {told.text('name')} has shape {sides}: its size is not fixed",
            "give one size: --shape INPUT=1x3x480x640",
        )
    return Tensor(told.text("name"), told.text("dtype"), shape)


def _image(plan: Fields, kind: str) -> Image:
    if plan.is_null("image"):
        inputs = ", ".join(f"{one.text('name')} {one.values.get('shape')}" for one in plan.objects("inputs"))
        raise RecipeError(
            f"--for {kind} feeds one image, and this network takes {inputs}",
            "load the engine with runner.pyz: `jetpress docs runner`",
        )
    told = plan.inside("image")
    tensor = next(one for one in plan.objects("inputs") if one.text("name") == told.text("input"))
    mean, std = (tuple(float(one) for one in told.values[name]) for name in ("mean", "std"))  # type: ignore[attr-defined]
    return Image(
        tensor=_tensor(tensor),
        layout=told.choice("layout", ("nchw", "nhwc")),
        colour=told.choice("colour", ("rgb", "bgr", "grey")),
        scale=told.positive("scale"),
        mean=mean,
        std=std,
        fit=told.text("fit"),
        crop=told.positive("crop"),
        border=told.integer("border"),
    )


def _engines(folder: Path, bundle: Bundle, model: str) -> Path | None:
    """Where the run has an engine of this very file."""
    if not (folder / "engine.json").is_file():
        return None
    built = read_stamp(str(folder)).engines.get(model)
    if built is None or not is_whole(str(folder), built):
        raise TrustError(f"{folder} does not hold the engine of {model} that was built", AGAIN)
    if built.onnx_sha256 != bundle.sha256(bundle.models[model].file):
        raise TrustError(f"the engine in {folder} was not built from the bundle beside it", AGAIN)
    return folder


def copy_bundle(subject: Subject, place: Path, onnx: bytes | None = None) -> None:
    """The part of the bundle that the one network needs, as a bundle of its own, that `runner.pyz` builds.

    Args:
        onnx: another file for the same plan; None: the bundle's.
    """
    entry = dict(subject.bundle.plan["models"][subject.model])  # type: ignore[index]
    implicit = entry.get("implicit") or {}
    files = [entry["file"], *implicit.values(), "runner.pyz"]
    folder = Path(entry["file"]).parent.name  # of its own where weights lie beside it
    files += [name for name in subject.bundle.files if folder and name.startswith(f"{folder}/")]
    for name in dict.fromkeys(files):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(subject.bundle.path(name), place / name)
    if onnx is not None:
        (place / entry["file"]).write_bytes(onnx)
    plan = {**subject.bundle.plan, "models": {subject.model: entry}}
    (place / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n")
    listed = {}
    for path in sorted(one for one in place.rglob("*") if one.is_file()):
        sha256, size = digest(str(path))
        listed[path.relative_to(place).as_posix()] = {"sha256": sha256, "size": size}
    (place / "manifest.json").write_text(json.dumps({"format": 1, "files": listed}, indent=1) + "\n")


def copy_engine(subject: Subject, place: Path) -> None:
    """The engine and its stamp, if the run built one here."""
    if subject.engines is None:
        return
    stamp = json.loads((subject.engines / "engine.json").read_text())
    stamp["models"] = {subject.model: stamp["models"][subject.model]}
    built: Engine = read_stamp(str(subject.engines)).engines[subject.model]
    place.mkdir()
    shutil.copyfile(engine_path(str(subject.engines), built), place / built.file)
    (place / "engine.json").write_text(json.dumps(stamp, indent=1, sort_keys=True) + "\n")


def require_tensorrt(subject: Subject, title: str) -> None:
    """Refuse a run whose engines are another runtime's.

    Raises:
        RecipeError: they are.
    """
    if subject.backend not in RUNTIME_FILES:
        raise RecipeError(
            f"{title} runs TensorRT engines, and this run is for {BACKENDS[subject.backend].title}",
            "run it for the board: jetpress run RECIPE --target orin-nano (`jetpress targets` lists all)",
        )
