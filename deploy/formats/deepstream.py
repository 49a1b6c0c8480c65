"""NVIDIA DeepStream: configuration of Gst-nvinfer, and a parser of the outputs in C++.

Gst-nvinfer computes ``net-scale-factor * (x - offset)``: an offset for each channel, but one factor, always in float
(read in the sources of DeepStream 6.2: nvdsinfer_conversion.cu writes floats whatever the input's type, and so does
Gst-nvdspreprocess). So a network whose ``std`` differs by channel gets its normalisation into the graph here, and one
that takes uint8 frames is refused.
"""

from __future__ import annotations

from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats import cpp, graph, written
from jetpress.deploy.formats.subject import Subject, require_tensorrt

TRIED = (
    "The parser was compiled against the headers of DeepStream 6.2 and 9.1, its reading of the outputs was run on "
    "a host and finds what `runner.pyz infer` finds; where the graph was given other ends, ONNX Runtime "
    "computes the same with both. Every key of the configuration is in DeepStream's documentation and in the "
    "parser of 9.1's own sources. No machine with DeepStream has run it."
)
COLOURS = {"rgb": 0, "bgr": 1, "grey": 2}
MODES = {"fp32": 0, "int8": 1, "fp16": 2}
TYPES = {"detection": 0, "classification": 1, "segmentation": 2}
"""``network-type``; 100: the outputs are handed on as they are."""
OTHER = 100
BLACK = "Letterboxed frames have a black border; in training it is grey ({border})."
FITS = {
    "crop": "The whole frame is stretched to the network's size: Gst-nvinfer does not crop its middle, as the run did.",
    "letterbox": BLACK,
    "letterbox-corner": BLACK,
}


def write(subject: Subject, place: Path) -> None:
    """Configuration, parser, labels, engine and bundle."""
    require_tensorrt(subject, "DeepStream")
    image, task = subject.image, subject.task
    if image.in_graph:
        raise RecipeError(
            f"input {image.tensor.name} takes uint8 frames, and DeepStream gives every network floats",
            'set export.input = "network" and run again (trained networks are kept): the package normalises',
        )
    if task == "segmentation" and subject.ends_with == "argmax":
        raise RecipeError(
            "the graph ends with class numbers, and DeepStream's segmentation reads shares of classes",
            'set export.output = "softmax" and run again',
        )
    pixels_in = not _expressible(subject)
    shares_out = task == "segmentation" and subject.ends_with == "scores"
    onnx = graph.adapted(subject, pixels_in=pixels_in, shares_out=shares_out)
    written.engine_and_bundle(place, subject, onnx)
    written.labels(place / "labels.txt", subject, ";" if task == "classification" else "\n")
    parsed = task in ("detection", "classification")
    if parsed:
        cpp.headers(subject, place, prepares=False)
        for name in ("parser.cpp", "Makefile"):
            written.fill(f"deepstream/{name}", place / name, subject)
    known = _settings(subject, pixels_in)
    written.fill("deepstream/config_infer.txt", place / "config_infer.txt", subject, **known)
    if task != "segmentation":
        written.fill("deepstream/deepstream_app.txt", place / "deepstream_app.txt", subject, **known)
    told = {
        "batch": subject.batches[2],
        "parsed": parsed,
        "search": _search(subject),
        "differs": _differs(subject, pixels_in, shares_out),
    }
    written.fill("deepstream/README.md", place / "README.md", subject, **told)


def _expressible(subject: Subject) -> bool:
    """Whether one factor and offsets by channel say it; of which channel an offset of BGR is was not confirmed."""
    image = subject.image
    return len(set(image.std)) == 1 and (image.colour != "bgr" or len(set(image.mean)) == 1)


def _settings(subject: Subject, pixels_in: bool) -> dict[str, object]:
    image, task = subject.image, subject.task
    factor = 1.0 if pixels_in else 1 / (image.scale * image.std[0])
    offsets = [0.0] * image.channels if pixels_in else [image.scale * one for one in image.mean]
    return {
        "onnx": subject.bundle.models[subject.model].file,
        "batch": subject.batches[2],
        "mode": MODES.get(subject.precision, 2),
        "type": TYPES.get(task, OTHER),
        "colour": COLOURS[image.colour],
        "normalised": "normalised by the graph" if pixels_in else "normalised here",
        "factor": f"{factor:.9g}",
        "offsets": ";".join(f"{one:.9g}" for one in offsets),
        "lines": _lines(subject),
    }


def _lines(subject: Subject) -> list[str]:
    """What depends on the task. A detector's own search is complete, so nothing is clustered after it."""
    names = ";".join(one.name for one in subject.outputs)
    library = "custom-lib-path=libjetpress_parser.so"
    if subject.task == "detection":
        score = subject.rules["score"] if subject.rules else 0.0
        return [
            f"num-detected-classes={subject.class_count}",
            f"output-blob-names={names}",
            "parse-bbox-func-name=JetpressDetections",
            library,
            "# The parser searches as the run did, suppression included: nothing is left to cluster.",
            "cluster-mode=4",
            "",
            "[class-attrs-all]",
            f"pre-cluster-threshold={score:g}",
            "topk=-1",
        ]
    if subject.task == "classification":
        parser = [library, "parse-classifier-func-name=JetpressClass"]
        return [f"output-blob-names={names}", "classifier-threshold=0", *parser]
    if subject.task == "segmentation":
        return [f"output-blob-names={names}", f"num-detected-classes={subject.class_count}",
                "segmentation-threshold=0", "segmentation-output-order=0"]  # fmt: skip
    return [f"output-blob-names={names}", "output-tensor-meta=1"]


def _search(subject: Subject) -> str:
    if subject.task == "detection" and subject.rules:
        rules = subject.rules
        return (
            f"The parser reads the head `{rules['head']}` and searches as the run did: score above {rules['score']:g}, "
            f"overlap of at most {rules['iou']:g}, at most {rules['detections']} boxes. These are in `plan.hpp`."
        )
    if subject.task in TYPES:
        return ""
    return "Nothing of DeepStream reads these outputs: they come as `NvDsInferTensorMeta` (`output-tensor-meta`)."


def _differs(subject: Subject, pixels_in: bool, shares_out: bool) -> list[str]:
    """What is not as the run measured it, in sentences."""
    said = ["Frames are scaled without smoothing (`scaling-filter=1`); in training they are smoothed."]
    if subject.image.fit in FITS:
        said.append(FITS[subject.image.fit].format(border=subject.image.border))
    ends = [
        "takes pixels and normalises (`std` differs by channel, and Gst-nvinfer has one factor)"
    ] * pixels_in
    ends += ["ends with a softmax over the classes, which Gst-nvinfer needs"] * shares_out
    if ends:
        said.append(
            f"The graph of `bundle/` {' and '.join(ends)}; otherwise it is the run's. Its engine is built anew."
        )
    return said
