"""Triton Inference Server: a model repository with a TensorRT plan, or an ONNX file for ONNX Runtime, and a client."""

from __future__ import annotations

import shutil
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats import written
from jetpress.deploy.formats.subject import Subject, Tensor, copy_bundle, copy_engine

TRIED = (
    "`config.pbtxt` is read by Triton's own protobuf (of the package tritonclient), and its names, types "
    "and shapes are those of the ONNX file. A Triton server 2.51 on x86 served it to `client.py`, warm-up and batches "
    "included, with its Python backend in the place of TensorRT's and ONNX Runtime's, which were not to be had. "
    "No board has run it."
)
TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "bool": "TYPE_BOOL",
}


def write(subject: Subject, place: Path) -> None:
    """``models/NAME/config.pbtxt``, labels, version 1, and the bundle that it is built of."""
    platform = {"tensorrt": "tensorrt_plan", "onnxruntime": "onnxruntime_onnx"}.get(subject.backend)
    if platform is None:
        raise RecipeError(
            "Triton has no backend for TensorRT-RTX, which this run is for",
            "run it for host (ONNX Runtime), gpu or a board (TensorRT)",
        )
    model = place / "models" / written.slug(subject)
    (model / "1").mkdir(parents=True)
    if platform == "onnxruntime_onnx":
        _onnx(subject, model / "1")
        copy_bundle(subject, place / "bundle")
    else:
        copy_bundle(subject, place / "bundle")
        copy_engine(subject, place / "engine")
        plan = model / "1" / "model.plan"
        if subject.engines is not None:
            shutil.copyfile(place / "engine" / f"{subject.model}.engine", plan)
        written.fill("build.sh", place / "build.sh", subject, copy_to=plan.relative_to(place))
    labelled = subject.task == "classification" and subject.ends_with != "argmax"
    if labelled:
        written.labels(model / "labels.txt", subject)
    most = subject.batches[2] if subject.dynamic else 0
    known = {
        "platform": platform,
        "most": most,
        "preferred": sorted({subject.batches[1], most} - {1}) or [most],
        "labelled": labelled,
        "types": TYPES,
        "dims": lambda one: dims(one, most),
    }
    written.fill("triton/config.pbtxt", model / "config.pbtxt", subject, **known)
    written.fill("triton/README.md", place / "README.md", subject, **known)
    written.labels(place / "labels.txt", subject)
    served = {"served": True, "types": TYPES, "numpy_types": {name[5:]: one for one, name in TYPES.items()}}
    batch = 1 if most else subject.image.tensor.shape[0]
    written.fill("python/example.py", place / "client.py", subject, **served, batch=batch)


def dims(one: Tensor, most: int) -> tuple[int, ...]:
    """Without the batch where Triton makes batches."""
    return one.sides if most else one.shape


def _onnx(subject: Subject, place: Path) -> None:
    """The file, and the weights beside it; it is called model.onnx wherever it lies."""
    file = subject.bundle.models[subject.model].file
    folder = Path(file).parent.name
    files = [one for one in subject.bundle.files if folder and one.startswith(f"{folder}/")] or [file]
    for one in files:
        name = "model.onnx" if one == file else Path(one).name
        shutil.copyfile(subject.bundle.path(one), place / name)
