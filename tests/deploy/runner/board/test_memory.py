"""Memory that is shared: the workspace on a board, and zero copy beside copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.board import memory
from tests.deploy.api import fake
from tests.deploy.runner.plans import PLAN, events
from tests.deploy.runner_bundles import bundle


@pytest.mark.parametrize(
    ("asked", "fits", "code", "tried"),
    [(None, 9999, 0, [1000]), (None, 300, 0, [1000, 500, 250]), (256, 100, 5, [256]),
     (None, 10, 5, [1000, 500, 250, 125])],
    ids=["half of what is free", "halved until it fits", "as the plan says", "too little for anything"],
)  # fmt: skip
def test_the_workspace_on_a_board(
    asked: int | None, fits: int, code: int, tried: list[int], board: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What TensorRT takes by itself is all the memory of the GPU, which there is the CPU's, too."""
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/proc/meminfo").write_text(
        "MemTotal: 8000000 kB\nMemAvailable: 2048000 kB\nSwapFree: 0 kB\n"
    )
    (tmp_path / "root/proc/swaps").write_text(
        "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 5\n"
    )
    monkeypatch.setenv("JETPRESS_BOARD", str(tmp_path / "root"))
    trt = board("8.5")
    trt.FITS_MB = fits
    plan = {**PLAN, "workspace_mb": asked, "models": {"one": {"file": "model.onnx"}}}
    assert main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **plan))]) == code
    assert [value[1] >> 20 for _, name, value in trt.CALLS if name == "set_memory_pool_limit"] == tried
    found = events(capsys)
    if code:
        assert "mkswap" in found["error"][0]["hint"]
        assert "nvzramconfig" in found["error"][0]["hint"]
    else:
        assert found["engine"][0]["workspace_mb"] == tried[-1]


def test_a_build_that_may_not_fit_is_said_before() -> None:
    free = memory.Memory(free=1000, swap=200, zram=False)
    assert memory.warning(10 << 20, 500, free) == ""
    assert "take 1700 MiB (an estimate), and 1000 MiB are free" in memory.warning(200 << 20, 500, free)
    assert "nvzramconfig" not in memory.advice(free)
    assert "mkswap" not in memory.advice(free._replace(swap=8192))


@pytest.mark.parametrize("sessions", [1, 2])
def test_with_and_without_copies_are_measured_beside_each_other(
    sessions: int,
    board: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jetpress.deploy.runner.system import processes
    from tests.deploy.runner_schema import faults

    def inside(words: list[str]) -> dict[str, Any]:
        """The session that is a process of its own elsewhere: the fake is in this one."""
        main(words)
        return {"engines": events(capsys)["session"][0]["engines"]}

    monkeypatch.setattr(processes, "run", inside)
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)
    board("10.3")
    timing = {**PLAN["benchmark"], "memory": "mapped", "sessions": sessions}
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "benchmark": timing})
    assert main(["build", "--bundle", str(place)]) == 0
    assert {event["model"] for event in events(capsys)["engine"]} == {"compressed", "dense"}
    assert main(["bench", "--bundle", str(place), "--seconds", "0.05", "--out", str(tmp_path)]) in (0, 7)
    told = json.loads((tmp_path / "bench.json").read_text())
    assert [fault for event in told for fault in faults(event)] == []
    found = {event["model"]: event for event in told if event["event"] == "result"}
    assert {name: one["knobs"]["memory"] for name, one in found.items()} == {
        "compressed": "copied", "dense": "copied", "compressed-mapped": "mapped", "dense-mapped": "mapped",
    }  # fmt: skip
    assert set(found["compressed-mapped"]["parts"]) == {"compute", "enqueue"}, "nothing is copied"
    assert set(found["compressed"]["parts"]) == {"h2d", "compute", "d2h", "enqueue"}
    assert not any("other outputs" in reason for one in found.values() for reason in one["reasons"])
    ratios = {(event["of"], event["against"]): event["ratio"] for event in told if event["event"] == "ratio"}
    assert set(ratios) == {
        ("compressed", "dense"),
        ("compressed-mapped", "compressed"),
        ("dense-mapped", "dense"),
    }
    assert ratios["dense-mapped", "dense"] == pytest.approx(3.0)  # one of three equal parts


def test_zero_copy_is_for_memory_that_is_shared(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board("10.3")
    facts = fake.Gpu().facts()
    monkeypatch.setattr(fake.Gpu, "facts", lambda _: {**facts, "integrated": False})
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "benchmark": {"memory": "mapped", "sessions": 1}})
    assert main(["build", "--bundle", str(place)]) == 0
    assert main(["bench", "--bundle", str(place)]) == 5
    assert 'memory = "mapped" is for a GPU' in events(capsys)["error"][0]["what"]
