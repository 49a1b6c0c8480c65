"""jetson-inference: the names of input and output, and the command; its pre-processing is fixed in its sources.

Read in dusty-nv/jetson-inference, c/imageNet.cpp, c/segNet.cpp and c/detectNet.cpp (October 2025): images of ONNX files
are RGB, stretched, and normalised by ImageNet's mean and std; a detector's are ``scores [n, boxes, classes]`` with a
background and ``boxes [n, boxes, 4]`` as shares, as pytorch-ssd writes them, which no head of ours is.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats import written
from jetpress.deploy.formats.subject import Subject

TRIED = (
    "Names are those of the ONNX file; pre-processing and options were read in the sources of October "
    "2025. No board has run it."
)
PROGRAMS = {"classification": "imagenet", "segmentation": "segnet"}
ENDS = {"classification": ("softmax",), "segmentation": ("scores", "softmax")}
"""imagenet prints the numbers as they are, so they must be shares; segnet takes the largest."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OTHERWISE = "DeepStream and the examples take it: --for deepstream, python or cpp"


def write(subject: Subject, place: Path) -> None:
    """The ONNX file, labels and the command."""
    image, task = subject.image, subject.task
    if task not in PROGRAMS:
        what = (
            f"a detector with the head {subject.rules.get('head', 'ours')}" if task == "detection" else task
        )
        raise RecipeError(
            f"jetson-inference cannot read {what}: it knows the SSD of pytorch-ssd alone", OTHERWISE
        )
    share = image.scale / 255
    near = all(
        math.isclose(one * share, wanted, abs_tol=1e-6)
        for row, known in ((image.mean, MEAN), (image.std, STD))
        for one, wanted in zip(row, known, strict=False)
    )
    if image.in_graph or image.colour != "rgb" or not near:
        raise RecipeError(
            "jetson-inference normalises RGB floats by ImageNet's mean and std, and this network sees others",
            OTHERWISE,
        )
    if subject.ends_with not in ENDS[task]:
        raise RecipeError(
            f"{PROGRAMS[task]} shows shares of classes, and the graph ends with {subject.ends_with}",
            'set export.output = "softmax" and run again',
        )
    if subject.dynamic or image.tensor.shape[0] != 1:
        raise RecipeError("jetson-inference feeds one image", "set export.batch = 1 and leave it fixed")
    entry = subject.bundle.models[subject.model]
    if Path(entry.file).parent.name:
        raise RecipeError("the weights lie beside the ONNX file", OTHERWISE)
    shutil.copyfile(subject.bundle.path(entry.file), place / "model.onnx")
    written.labels(place / "labels.txt", subject)
    for name in ("run.sh", "README.md"):
        written.fill(f"jetson_inference/{name}", place / name, subject, program=PROGRAMS[task])
