"""Backends are found by their names, in a folder and in the zipapp, and what they use counts for a preflight."""

from __future__ import annotations

from docs.drawing import imports, modules
from jetpress.deploy.runner import backends

NAME = "jetpress.deploy.runner.backends"


def test_each_file_is_a_backend() -> None:
    assert backends.names() == ["onnxruntime", "tensorrt", "tensorrt_rtx"]


def test_what_is_read_is_all_that_a_backend_uses() -> None:
    folder = modules()[NAME].parent
    read = {path.resolve() for pattern in backends.READS for path in folder.glob(pattern)}
    todo, seen = [f"{NAME}.{one}" for one in backends.names()], set[str]()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += imports(name)
    assert {name for name in seen if modules()[name].resolve() not in read} == set()
