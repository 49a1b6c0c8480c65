"""C++: a program for TensorRT and OpenCV, and two headers without either that go anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from jetpress.deploy.formats import written
from jetpress.deploy.formats.subject import Subject, require_tensorrt
from jetpress.deploy.runner.decode.heads import HEADS

TRIED = (
    "`decode.hpp` and `prepare.hpp` were compiled and run on a host: they find what `runner.pyz infer` "
    "finds, and prepare frames as the run's data was prepared. `main.cpp` and `engine.hpp` were compiled "
    "against NVIDIA's open headers of TensorRT 8.2 to 11.1. No board has run the program: not with "
    "TensorRT, and no camera (V4L2, CSI, RTSP)."
)


def write(subject: Subject, place: Path) -> None:
    """The program, its headers, engine and bundle."""
    require_tensorrt(subject, "the C++ example")
    written.engine_and_bundle(place, subject)
    headers(subject, place, prepares=True)
    shutil.copyfile(written.TEMPLATES / "cpp" / "engine.hpp", place / "engine.hpp")
    for name in ("main.cpp", "CMakeLists.txt", "README.md"):
        written.fill(f"cpp/{name}", place / name, subject)


def headers(subject: Subject, place: Path, *, prepares: bool) -> None:
    """``plan.hpp`` and what it needs: none of it is NVIDIA's."""
    for name in ("decode.hpp", "prepare.hpp")[: 1 + prepares]:
        shutil.copyfile(written.TEMPLATES / "cpp" / name, place / name)
    head = HEADS[str(subject.rules["head"])] if subject.rules else None
    written.fill("cpp/plan.hpp", place / "plan.hpp", subject, head=head, prepares=prepares)
