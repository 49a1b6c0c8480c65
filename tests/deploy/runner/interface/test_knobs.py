"""What ``benchmark`` asks for: overlap, CUDA graphs, spinning, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.cuda import gpu
from tests.deploy.api import fake
from tests.deploy.runner.plans import PLAN, events
from tests.deploy.runner_bundles import bundle

KNOBS = {"transfers": True, "spin_wait": False, "cuda_graph": False, "overlap": True}


@pytest.mark.parametrize("version", ["8.2", "10.3", "11.1"])
@pytest.mark.parametrize(
    "asked",
    [{}, {"cuda_graph": True}, {"spin_wait": True}, {"transfers": False}, {"overlap": False},
     {"transfers": False, "cuda_graph": True, "spin_wait": True}],
    ids=lambda asked: "+".join(asked) or "defaults",
)  # fmt: skip
def test_knobs(
    version: str,
    asked: dict[str, bool],
    board: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each knob does what it says, is named in the result, and outputs stay those of an untimed run."""
    board(version)
    made: list[fake.Gpu] = []
    monkeypatch.setattr(gpu, "connect", lambda: made.append(fake.Gpu()) or made[-1])
    plan = {**PLAN, "benchmark": {**PLAN["benchmark"], **asked}}
    place = bundle(tmp_path / "b", batch="n", **plan)
    assert main(["build", "--bundle", str(place)]) == 0
    assert main(["bench", "--bundle", str(place), "--seconds", "0.02"]) in (0, 7)
    result = events(capsys)["result"][0]
    knobs = {**KNOBS, **asked}
    assert {name: result["knobs"][name] for name in KNOBS} == knobs
    device = made[-1]
    assert device.graphs == (2 if knobs["cuda_graph"] else 0), "one graph a model"
    slots = 2 if knobs["overlap"] else 1
    assert device.spinning == [knobs["spin_wait"]] * 6 * slots * 2
    assert device.streams == 6
    parts = {"h2d", "compute", "d2h", "enqueue"} if knobs["transfers"] else {"compute", "enqueue"}
    assert set(result["parts"]) == parts
    assert result["latency"]["median"] == pytest.approx(0.375 if knobs["transfers"] else 0.125)
    assert not any("other outputs" in reason for reason in result["reasons"])


def test_a_knob_that_is_no_truth_value_is_refused(board: Any, tmp_path: Path) -> None:
    board("8.5")
    plan = {**PLAN, "benchmark": {"cuda_graph": "yes"}}
    assert main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **plan))]) == 2


def test_overlap_has_two_runs_under_way_and_no_overlap_has_one() -> None:
    from jetpress.deploy.runner.tensorrt.session import ONE_BY_ONE, Run

    order: list[str] = []

    class Watched(Run):
        def start(self, *_: Any) -> None:
            order.append("start")

        def times(self, moving: bool) -> tuple[float, ...]:
            order.append("end")
            return 1.0, 2.0, 3.0, 0.5

    from jetpress.deploy.runner.tensorrt.session import Session

    for depth, wanted in ((1, "start end " * 3), (2, "start start end start end end")):
        session = object.__new__(Session)
        session.knobs = dict(ONE_BY_ONE)
        session.uploads = session.downloads = []
        session.enqueue = lambda: True
        session.slots = [Watched(fake.Gpu(), {}, False) for _ in range(depth)]
        order.clear()
        found = session.block(0.0, 3)
        assert " ".join(order) == wanted.strip()
        assert found == {"h2d": [1.0] * 3, "compute": [2.0] * 3, "d2h": [3.0] * 3, "enqueue": [0.5] * 3,
                         "latency": [6.0] * 3}  # fmt: skip


@pytest.mark.parametrize("modern", [True, False], ids=["CUDA 11.4 and newer", "CUDA 10.2"])
def test_a_graph_is_captured_once_and_launched(modern: bool) -> None:
    """The C calls in their order; a real libcudart has all of them (next test), a GPU to run them is not here."""
    from jetpress.deploy.runner.cuda import graphs

    class Function:
        def __init__(self, name: str, calls: list[str]) -> None:
            self.name, self.calls = name, calls

        def __call__(self, *_: Any) -> int:
            self.calls.append(self.name)
            return 0

    class Library:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def __getattr__(self, name: str) -> Any:
            if name == "cudaGraphInstantiateWithFlags" and not modern:
                raise AttributeError(name)
            function = Function(name, self.calls)
            setattr(self, name, function)
            return function

    library = Library()
    launch = graphs.capture(library, 7, lambda: library.calls.append("enqueue") or True)
    assert launch() is True
    assert launch() is True
    made = "cudaGraphInstantiateWithFlags" if modern else "cudaGraphInstantiate"
    assert library.calls == [
        "cudaStreamBeginCapture", "enqueue", "cudaStreamEndCapture", made, "cudaGraphLaunch", "cudaGraphLaunch",
    ]  # fmt: skip


def test_a_real_libcudart_has_the_calls_of_graphs() -> None:
    from jetpress.deploy.runner.cuda import graphs

    paths = gpu.cudart_paths()
    if not paths:
        pytest.skip("no libcudart here")
    library = graphs.load(paths)
    for name in ("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphLaunch", "cudaStreamWaitEvent",
                 "cudaGraphInstantiateWithFlags"):  # fmt: skip
        assert hasattr(library, name)


def test_without_a_gpu_a_real_libcudart_says_so() -> None:
    """The C calls reach the library with the right arguments, and its refusal becomes one sentence."""
    from jetpress.deploy.runner.cuda import graphs
    from jetpress.deploy.runner.system.failures import DeviceError

    paths = gpu.cudart_paths()
    if not paths or Path("/dev/nvidia0").exists():
        pytest.skip("no libcudart here, or a GPU")
    with pytest.raises(DeviceError, match=r"cudaStreamBeginCapture failed with CUDA error \d+"):
        graphs.capture(graphs.load(paths), 0, lambda: pytest.fail("nothing was begun"))
