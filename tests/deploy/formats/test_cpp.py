"""The headers that need nothing of NVIDIA's, compiled and run: the same detections and inputs as the run's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats import cpp, package, subject
from jetpress.deploy.runner.decode.detections import detections
from jetpress.deploy.runner.decode.heads import HEADS, Head
from jetpress.pipeline.data.placing import Sample, fitted
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from tests.deploy.formats import runs

COMPILER = shutil.which("g++") or shutil.which("c++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler here")
SCORES = ("each", "object", "softmax", "label")
FITS = ("stretch", "crop", "letterbox")
SIZE, CLASSES = (64, 96), 3
Array = NDArray[Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.a_run(tmp_path_factory.mktemp("cpp"), "detection", "host", *runs.GREY)


@pytest.fixture(scope="module")
def program(run: Path) -> Path:
    place = run / "headers"
    place.mkdir()
    cpp.headers(subject.read(run, "cpp"), place, prepares=True)
    words = ["-std=c++11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{place}"]
    harness, made = Path(__file__).parent / "harness.cpp", place / "harness"
    subprocess.run([str(COMPILER), *words, str(harness), "-o", str(made)], check=True)
    return made


def numbers(values: Sequence[Any]) -> str:
    return " ".join([str(len(values)), *(f"{one:.9g}" for one in values)])


def told(rules: Mapping[str, Any], head: Head, size: tuple[int, int], classes: int) -> str:
    whole = head.outputs[0] == "whole"
    flags = [whole, head.outputs[0] == "boxes", head.classes_first, head.corners, head.shares]
    counts = [rules[name] for name in ("candidates", "detections", "first_label")]
    words = [*map(int, flags), SCORES.index(head.scores), numbers(head.strides)]
    words += [
        f"{rules['score']:.9g}",
        f"{rules['iou']:.9g}",
        *counts,
        classes,
        *size,
        numbers(rules["levels"]),
    ]
    return " ".join(map(str, words))


def fed(outputs: Sequence[Array]) -> str:
    rows = [f"{numbers(one.shape)} {numbers(one.ravel())}" for one in outputs]
    return " ".join([str(len(outputs)), *rows])


def answered(program: Path, what: str, cases: Sequence[str]) -> list[Array]:
    given = "\n".join([str(len(cases)), *cases])
    done = subprocess.run([str(program), what], input=given, capture_output=True, text=True, check=True)
    lines, found = done.stdout.splitlines(), list[Array]()
    while lines:
        count = int(lines.pop(0))
        found.append(np.array([line.split() for line in lines[:count]], np.float64).reshape(count, 6))
        del lines[:count]
    return found


def raw(head: Head, draw: np.random.Generator) -> list[Array]:
    """Outputs of one image as a network with this head gives them."""
    anchors = sum((SIZE[0] // one) * (SIZE[1] // one) for one in head.strides) or 150
    extra = {"each": CLASSES, "object": 1 + CLASSES, "softmax": CLASSES + 1, "label": 2}[head.scores]
    centre = draw.uniform(0, SIZE, (anchors, 2))[:, ::-1]
    extent = draw.uniform(5, 40, (anchors, 2))
    boxes = np.concatenate([centre, centre + extent] if head.corners else [centre, extent], 1)
    if head.strides:
        boxes = np.concatenate([draw.normal(size=(anchors, 2)), draw.normal(size=(anchors, 2))], 1)
    if head.shares:
        boxes /= np.array([SIZE[1], SIZE[0]] * 2)
    scores = draw.normal(size=(anchors, extra)) if head.scores == "softmax" else draw.random((anchors, extra))
    if head.scores == "label":
        scores[:, 1] = draw.integers(0, CLASSES, anchors)
    parts = {"boxes": boxes, "scores": scores.T if head.classes_first else scores}
    whole = np.concatenate([boxes, scores], 1)
    parts["whole"] = whole.T if head.classes_first else whole
    return [parts[name].astype(np.float32) for name in head.outputs]


def test_every_head_gives_the_detections_of_the_runner(program: Path) -> None:
    draw, cases, expected = np.random.default_rng(0), list[str](), list[Array]()
    for name, head in HEADS.items():
        for levels in ((), (100, 50)) if not head.strides else ((),):
            outputs = raw(head, draw)
            names = tuple(f"out{at}" for at in range(len(outputs)))
            rules = asdict(DetectionRules(0.3, 0.5, 60, 40, 1, levels, name, names, SIZE, CLASSES))
            batch = {one: array[None] for one, array in zip(names, outputs, strict=True)}
            ((boxes, scores, labels),) = detections(batch, rules)
            expected.append(np.concatenate([boxes, scores[:, None], labels[:, None]], 1))
            cases.append(f"{told(rules, head, SIZE, CLASSES)} {fed(outputs)}")
    found = answered(program, "decode", cases)
    assert sum(map(len, expected)) > 200
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-4)


def test_the_rules_of_a_package_give_what_infer_gives(program: Path, run: Path, tmp_path: Path) -> None:
    out = runs.inferred(run, tmp_path / "out")
    boxes, scores = (np.load(out / f"outputs-compressed{end}.npy") for end in ("", "-1"))
    found = answered(program, "plan", [fed(pair) for pair in zip(boxes, scores, strict=True)])
    expected = json.loads((out / "detections-compressed.json").read_text())
    assert sum(map(len, found)) > 10
    for one, row in zip(found, expected, strict=True):
        assert one[:, 5].tolist() == row["labels"]
        np.testing.assert_allclose(one[:, :4], row["boxes"], atol=2e-3)
        np.testing.assert_allclose(one[:, 4], row["scores"], atol=2e-5)


@pytest.mark.parametrize("fit", FITS)
def test_a_frame_becomes_the_input_as_in_training(program: Path, fit: str, tmp_path: Path) -> None:
    """torchvision rounds to whole pixels; one of 255 may be another."""
    draw = np.random.default_rng(1)
    small = torch.from_numpy(draw.integers(0, 256, (1, 3, 9, 13)).astype(np.float32))
    for height, width, size in (
        (90, 121, (48, 64)),
        (50, 33, (48, 64)),
        (61, 97, (48, 48)),
        (48, 64, (48, 64)),
    ):
        frame = torch.nn.functional.interpolate(small, (height, width))[0].to(torch.uint8)
        wanted = fitted(Sample(frame, {}), size, fit, 0.875).image.numpy().astype(np.float32)
        bgr = np.ascontiguousarray(frame.numpy().transpose(1, 2, 0)[..., ::-1])
        (tmp_path / "frame").write_bytes(bgr.tobytes())
        for swapped in (0, 1):
            given = f"{FITS.index(fit)} {size[0]} {size[1]} {swapped} 0 {width} {height}"
            words = [str(program), "prepare", str(tmp_path / "frame"), str(tmp_path / "input")]
            subprocess.run(words, input=given, text=True, check=True)
            made = np.frombuffer((tmp_path / "input").read_bytes(), np.float32).reshape(3, *size)
            pixels = (made * 0.5 + 0.5) * 255
            apart = np.abs(pixels - (wanted[::-1] if swapped else wanted))
            assert apart.max() < 1.01, (height, width, size)
            assert apart.mean() < 0.05, (height, width, size)


def test_it_is_for_tensorrt(run: Path) -> None:
    with pytest.raises(RecipeError, match="runs TensorRT engines, and this run is for ONNX Runtime"):
        package(run, "cpp")
    assert not (run / "packages" / "cpp").exists()
    assert not list((run / "packages").glob(".*"))


@pytest.mark.parametrize(
    ("kind", "file", "headers"),
    [
        ("cpp", "main.cpp", ("NvInfer.h", "cuda_runtime_api.h", "opencv2/videoio.hpp")),
        ("deepstream", "parser.cpp", ("nvdsinfer_custom_impl.h",)),
    ],
)
def test_what_needs_nvidias_headers_compiles_where_they_are(
    kind: str, file: str, headers: Sequence[str], tmp_path: Path
) -> None:
    """On a board they are there; elsewhere the compiler's own CPATH names where TensorRT's and DeepStream's open ones
    and CUDA's lie."""
    flags = ["-std=c++14", "-fsyntax-only", "-Wall", "-Wextra"]
    flags += [f"-isystem{one}" for one in ("/usr/include/opencv4", "/usr/local/cuda/include")]
    probe = "".join(f"#include <{one}>\n" for one in headers)
    words = [str(COMPILER), *flags, "-xc++", "-"]
    if subprocess.run(words, input=probe, text=True, capture_output=True, check=False).returncode:
        pytest.skip(f"the compiler finds no {', '.join(headers)}: CPATH=FOLDER:FOLDER says where they are")
    for task in ("detection", "classification"):
        place = package(runs.a_run(tmp_path / task, task, "orin-nano"), kind)
        done = subprocess.run(
            [str(COMPILER), *flags, str(place / file)], text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert not re.search(rf"{place}/\S+:\d+:\d+: warning", done.stderr), done.stderr
