"""The Python example finds what `infer` finds, frame by frame, and says in one message what is wrong."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetpress.deploy.formats import package
from tests.deploy.formats import runs

CASES: dict[str, tuple[str, Sequence[str]]] = {
    "int8": ("classification", ["build.precision=int8", "data.fit=stretch"]),
    "frames": ("detection", ["export.input=uint8_nhwc", "export.dynamic_batch=true", "export.batch=2"]),
    "decoded": ("detection", ["export.output=detections", *runs.GREY]),
    "masks": ("segmentation", runs.GREY),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("python")
    return {case: runs.a_run(root / case, task, "host", *told) for case, (task, told) in CASES.items()}


def example(place: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, str(place / "example.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_example_finds_what_infer_finds(case: str, made: Mapping[str, Path], tmp_path: Path) -> None:
    task, run = CASES[case][0], made[case]
    place = package(run, "python")
    code, said = example(
        place, runs.as_files(run, tmp_path / "frames"), "--json", str(tmp_path / "found.jsonl")
    )
    assert code == 0, said
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert len(found) == runs.COUNT
    out = runs.inferred(run, tmp_path / "out")
    outputs = np.load(out / "outputs-compressed.npy")
    if task == "classification":
        raised = np.exp(outputs - outputs.max(1, keepdims=True))
        assert [row["label"] for row in found] == outputs.argmax(1).tolist()
        expected = raised.max(1) / raised.sum(1)
        np.testing.assert_allclose([row["score"] for row in found], expected, rtol=1e-5)
    elif task == "segmentation":
        masks = outputs if outputs.ndim == 3 else outputs.argmax(1)
        assert np.array_equal([row["mask"] for row in found], masks)
        assert len(np.unique(masks)) > 1
    else:
        same_detections(found, expected_detections(out))


def expected_detections(out: Path) -> list[dict[str, Any]]:
    told = out / "detections-compressed.json"
    if told.exists():
        rows: list[dict[str, Any]] = json.loads(told.read_text())
        return rows
    boxes, scores, labels = (np.load(out / f"outputs-compressed{end}.npy") for end in ("", "-1", "-2"))
    return [
        {"boxes": b[s > 0].tolist(), "scores": s[s > 0].tolist(), "labels": n[s > 0].tolist()}
        for b, s, n in zip(boxes, scores, labels, strict=True)
    ]


def same_detections(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert sum(len(row["labels"]) for row in expected) > 10
    for row, other in zip(found, expected, strict=True):
        assert row["labels"] == other["labels"]
        np.testing.assert_allclose(row["boxes"], other["boxes"], atol=2e-3)
        np.testing.assert_allclose(row["scores"], other["scores"], atol=2e-5)


def test_bad_input_is_one_message(made: Mapping[str, Path], tmp_path: Path) -> None:
    place = package(made["frames"], "python", tmp_path / "p")
    code, said = example(place, "none.mp4", "--json", str(tmp_path / "none"))
    assert (code, said.count("error:")) == (1, 1)
    assert "none.mp4 gives no frame" in said
    assert "Traceback" not in said
    shutil.rmtree(place / "engine")
    shutil.copytree(made["masks"] / "engine", place / "engine")
    assert "was built from" in example(place, "none.mp4")[1]
    shutil.rmtree(place / "engine")
    assert "no engine was built here" in example(place, "none.mp4")[1]


def test_its_syntax_is_that_of_python_3_6_and_it_draws(made: Mapping[str, Path], tmp_path: Path) -> None:
    place = package(made["frames"], "python", tmp_path / "p")
    ast.parse((place / "example.py").read_text(), feature_version=(3, 6))
    shutil.rmtree(place / "engine")
    python3 = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # has ONNX Runtime
    built = subprocess.run(
        ["sh", str(place / "build.sh")], env=python3, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    pattern = runs.as_files(made["frames"], tmp_path / "frames")
    code, said = example(place, pattern, "--out", str(tmp_path / "drawn.mp4"))
    assert code == 0, said
    assert (tmp_path / "drawn.mp4").stat().st_size > 1000
