"""Every TensorRT name that the runner uses exists in the version that it runs on, or is asked for first."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.deploy.api.names import RECEIVERS, VERSIONS, functions_of, is_hasattr, names, walk

RUNNER = Path(__file__).parents[4] / "deploy" / "runner"
FILES = (
    "backends/tensorrt.py",
    "tensorrt/build.py",
    "tensorrt/dla.py",
    "tensorrt/errors.py",
    "tensorrt/io.py",
    "tensorrt/session.py",
)

# Questions whose answer chooses a behaviour without touching a name of its own.
CHOICES = {("trt.BuilderFlag", "FP16"), ("self.trt", "IProgressMonitor")}


@pytest.fixture(scope="module")
def trees() -> list[ast.Module]:
    return [ast.parse((RUNNER / name).read_text()) for name in FILES]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_exists(trees: list[ast.Module], version: str) -> None:
    assert walk(trees, names(version)).missing == []


def test_tensorrt_rtx_has_every_name(trees: list[ast.Module]) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    classes = {name: set(dir(getattr(trt, name))) for name in dir(trt)}
    assert walk(trees, {"trt": set(dir(trt)), **classes}).missing == []


def test_the_walk_sees_every_object(trees: list[ast.Module]) -> None:
    """An object renamed in the runner would no longer be checked; this notices."""
    used = set().union(*(walk(trees, names(version)).used for version in VERSIONS))
    assert {kind for kind, _ in used} >= set(RECEIVERS.values()) - {"ITimingCache"}
    assert ("ITimingCache", "serialize") in used
    assert len(used) > 70
    reached = set().union(*(walk(trees, names(version)).seen for version in VERSIONS))
    assert reached == set(functions_of(trees)) - {"_leave", "open_backend"}, (
        "an unreached function is an unchecked one"
    )


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("engine.num_bindings", {"10.3", "11.1"}),
        ("if hasattr(engine, 'num_bindings'):\n            engine.num_bindings", set()),
        ("if hasattr(engine, 'num_io_tensors'):\n            engine.num_bindings", {"10.3", "11.1"}),
        ("if not hasattr(engine, 'num_bindings'):\n            return\n        engine.num_bindings", set()),
        ("return engine.num_io_tensors if hasattr(engine, 'num_io_tensors') else engine.num_bindings", set()),
        ("trt.BuilderFlag.FP16", {"11.1"}),
        ("self.context.execute_async_v3(0)", {"8.2"}),
        ("[helper(engine) for _ in range(2)]", {"10.3", "11.1"}),
        ("trt.nonsense", {"8.2", "10.3", "11.1"}),
    ],
)
def test_the_walk_can_fail(code: str, bad: set[str]) -> None:
    text = f"""
def helper(engine):
    engine.get_binding_name(0)
class Session:
    def run(self, trt, engine, config):
        {code}
"""
    tree = ast.parse(text)
    assert {version for version in ("8.2", "10.3", "11.1") if walk([tree], names(version)).missing} == bad


def test_every_question_is_needed(trees: list[ast.Module]) -> None:
    """Answer each `hasattr` wrongly, one at a time: some version must then meet a name that it lacks."""
    questions = [node for tree in trees for node in ast.walk(tree) if is_hasattr(node)]
    assert len(questions) >= 12
    idle = {
        (ast.unparse(node.args[0]), node.args[1].value)  # type: ignore[attr-defined]
        for node in questions
        if not any(
            walk(trees, names(version), {id(node): wrong}).missing
            for version in VERSIONS
            for wrong in (True, False)
        )
    }
    assert idle == CHOICES
