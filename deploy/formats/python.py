"""Python: one file that reads a camera, a file or a stream, and draws what the engine finds."""

from __future__ import annotations

from pathlib import Path

from jetpress.deploy.formats import written
from jetpress.deploy.formats.subject import Subject

TRIED = (
    "The example ran on a host with ONNX Runtime, on images and on a video file, and found what "
    "`runner.pyz infer` finds in the same frames; its syntax is Python 3.6's. No board has run it: not "
    "with TensorRT, and no camera (V4L2, CSI, RTSP)."
)


def write(subject: Subject, place: Path) -> None:
    """``example.py``, labels, engine and bundle."""
    written.engine_and_bundle(place, subject)
    written.labels(place / "labels.txt", subject)
    for name in ("example.py", "README.md"):
        written.fill(
            f"python/{name}", place / name, subject, served=False, batch="session.inputs[0].shape[0]"
        )
