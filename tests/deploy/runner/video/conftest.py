"""Short videos, made by ffmpeg, and a bundle with its engines; tests only read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from jetpress.deploy.runner.__main__ import main
from tests.deploy.runner_bundles import bundle

SIZE, RATE, SECONDS = "64x48", 30, 2
FRAMES = RATE * SECONDS


def make(path: Path, *words: str) -> Path:
    """A test picture as a video; the ending of the name says of which kind."""
    source = f"testsrc2=size={SIZE}:rate={RATE}:duration={SECONDS}"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", *words]
    subprocess.run([*command, str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed here: it makes and decodes the videos of these tests")
    return make(tmp_path_factory.mktemp("clip") / "clip.mkv")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one model, batch 2, with its engine."""
    folder = bundle(
        tmp_path_factory.mktemp("video") / "bundle",
        models={"compressed": {"file": "model.onnx", "sparse": False}},
    )
    assert main(["build", "--bundle", str(folder)]) == 0
    return folder
