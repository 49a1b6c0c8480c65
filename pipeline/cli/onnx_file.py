"""jetpress engine"""

from __future__ import annotations

import argparse
import json
from typing import Literal

from jetpress.pipeline.cli.arguments import Commands, command, completed


def add(commands: Commands) -> None:
    """From a file in hand."""
    text = "from an ONNX file in hand to an engine (or a bundle) and a report, without a recipe"
    added = command(commands, "engine", _engine, text, works_long=True)
    completed(added.add_argument("model", metavar="MODEL.onnx", help="any ONNX file"), "file")
    added.add_argument("--target", default="host", metavar="T", help="what to build for (default: host)")
    added.add_argument("--device", metavar="USER@HOST", help="where to build and measure (default: here)")
    added.add_argument(
        "--precision", choices=("fp32", "fp16", "int8", "fp8"), help="default: the target's own"
    )
    added.add_argument(
        "--calibrate",
        metavar="IMAGES|FILE.npz|FILE.py:FUNCTION",
        help="real inputs: a folder of images, arrays by the names of inputs, or a function that gives them",
    )
    added.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=SIZES",
        help="input=1x3x640x640, or MIN:OPT:MAX for several sizes (any axis); repeatable",
    )
    added.add_argument(
        "--prune",
        type=_share,
        metavar="SHARE|auto",
        help="of the multiply-adds to remove, without training; auto: the most that keeps budget.agreement percent of "
        "the file's answers; needs --calibrate, and accuracy is not known then",
    )
    _of_images(added.add_argument_group("images", "(pixel / SCALE - MEAN) / STD"))
    _of_ends(added.add_argument_group("ends of the graph"))
    added.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of a recipe's tables export, quantize, equivalence, build, benchmark, budget (with --prune: prune, "
        "too); repeatable",
    )


def _share(text: str) -> float | Literal["auto"]:
    return "auto" if text == "auto" else float(text)


def _of_images(images: argparse._ArgumentGroup) -> None:
    """How an image becomes an input."""
    images.add_argument(
        "--mean", default="0", metavar="M[,M,M]", help="subtracted after scaling (default: 0)"
    )
    images.add_argument("--std", default="1", metavar="S[,S,S]", help="divided by (default: 1)")
    images.add_argument("--scale", type=float, default=255.0, help="pixels are divided by it (default: 255)")
    images.add_argument("--colour", default="rgb", choices=("rgb", "bgr"), help="order (default: rgb)")
    images.add_argument(
        "--fit",
        default="stretch",
        choices=("stretch", "crop", "letterbox", "letterbox-corner"),
        help="how an image gets the input's size (default: stretch)",
    )


def _of_ends(ends: argparse._ArgumentGroup) -> None:
    """What the engine takes and gives."""
    ends.add_argument(
        "--input", default="network", choices=("network", "uint8_nhwc"), help="camera frames in"
    )
    ends.add_argument(
        "--output",
        default="scores",
        choices=("scores", "softmax", "argmax", "detections"),
        help="softmax, argmax: over axis 1 of the first output; detections: after --head",
    )
    ends.add_argument(
        "--head",
        metavar="KIND",
        help="how a detector's outputs are read: yolox, yolov8, ... (`jetpress docs detection`); the runner then "
        "finds detections, or the graph does with --output detections",
    )


def _engine(options: argparse.Namespace) -> int:
    from jetpress.benchmarks.report.headline import shown
    from jetpress.pipeline.recipe.onnx_run import pixels, sizings
    from jetpress.pipeline.run_onnx import engine

    report = engine(
        options.model,
        options.target,
        options.device,
        precision=options.precision,
        calibration=options.calibrate,
        shapes=sizings(options.shape),
        pixels=pixels(options.mean, options.std, options.scale, options.colour, options.fit),
        input=options.input,
        output=options.output,
        head=options.head,
        prune=options.prune,
        settings=options.set,
    )
    if options.json:
        print(json.dumps(report.to_dict()))
    return shown(report).exit_code
