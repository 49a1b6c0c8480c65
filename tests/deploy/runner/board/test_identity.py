"""Which engine and which timings are whose: module, TensorRT, power mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.board.identity import Board, part_number
from tests.deploy.runner.plans import PLAN, events
from tests.deploy.runner_bundles import bundle


def test_another_tensorrt_is_refused_before_loading(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    place = bundle(tmp_path / "b", batch="n", **PLAN)
    assert main(["build", "--bundle", str(place)]) == 0
    trt = board("10.3")
    trt.Runtime.deserialize_cuda_engine = None
    assert main(["infer", "--bundle", str(place)]) == 5
    error = events(capsys)["error"][0]
    assert "8.5.0" in error["what"]
    assert "10.3.0" in error["what"]
    assert "build" in error["hint"]


@pytest.mark.parametrize(
    ("compatible", "part"),
    [
        (["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"], "p3448-0000"),
        (["nvidia,p2972-0000", "nvidia,p2822-0000+p2888-0001", "nvidia,tegra194"], "p2888-0001"),
        (["nvidia,p3768-0000+p3767-0003-super", "nvidia,p3767-0003", "nvidia,tegra234"], "p3767-0003"),
        (["nvidia,p3767-0004", "nvidia,tegra234"], "p3767-0004"),
        (["raspberrypi,4-model-b"], None),
        ([""], None),
    ],
)
def test_the_part_number_is_the_modules_not_the_carriers(compatible: list[str], part: str | None) -> None:
    assert part_number(compatible) == part


def test_a_board_that_the_bundle_is_not_for(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    target = {"name": "xavier-nx", "tensorrt": "8.2.1", "compute_capability": [7, 2]}
    place = bundle(tmp_path / "b", batch="n", **{**PLAN, "target": target})
    assert main(["build", "--bundle", str(place)]) == 5
    what = events(capsys)["error"][0]["what"]
    assert "7.2" in what
    assert "8.7" in what
    assert not (place / "engines").exists()
    assert main(["build", "--bundle", str(place), "--other-device"]) == 0
    assert "made for TensorRT 8.2.1, here is 8.5.0" in capsys.readouterr().err


def test_a_damaged_timing_cache_is_not_opened(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    place = bundle(tmp_path / "b", batch="n", **PLAN)
    assert main(["build", "--bundle", str(place)]) == 0
    (cache,) = (Path.home() / ".jetpress" / "timings").glob("*/timing.cache")
    cache.write_bytes(b"9.9.9")
    capsys.readouterr()
    assert main(["build", "--bundle", str(place), "--force"]) == 0
    assert [event["timing_cache_reused"] for event in events(capsys)["engine"]] == [False, True]


def test_timings_are_shared_by_bundles_and_kept_apart_by_version(
    board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reused = []
    for at, version in enumerate(("8.5", "8.5", "10.3", "10.3")):
        board(version)
        place = bundle(tmp_path / str(at), batch="n", **PLAN)
        assert main(["build", "--bundle", str(place)]) == 0
        said = capsys.readouterr()
        told = [json.loads(line) for line in said.out.splitlines()]
        reused.append([event["timing_cache_reused"] for event in told if event["event"] == "engine"])
        # 8.5 has no progress monitor: what is known is how long it took last time
        assert ("the last build here took" in said.err) == (version == "8.5")
        stamp = json.loads((place / "engines" / "engine.json").read_text())
        assert f"tensorrt-{version}" in stamp["timing_cache"]["file"]
    assert reused == [[False, True], [True, True], [False, True], [True, True]]


def test_engines_and_timings_are_of_a_module_and_its_power_mode(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was chosen at 15 W is not used at MAXN, nor an Orin NX's on an Orin Nano: both are called Orin."""
    trees = tmp_path / "board/proc/device-tree"
    trees.mkdir(parents=True)
    monkeypatch.setenv("JETPRESS_BOARD", str(tmp_path / "board"))
    place = bundle(tmp_path / "b", batch="n", **PLAN)

    def build(part: str, mode: str, command: str = "build") -> tuple[int, list[dict[str, Any]]]:
        board("10.3")
        (trees / "compatible").write_text(f"nvidia,p3768-0000+{part}-super\0nvidia,tegra234\0")
        monkeypatch.setattr(Board, "power_mode", lambda _: mode)
        code = main([command, "--bundle", str(place)])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    _, told = build("p3767-0003", "15W")
    stamp = told[-2]["stamp"]
    named = {name: stamp[name] for name in ("module", "multiprocessors", "memory_gb", "power_mode")}
    assert named == {"module": "p3767-0003", "multiprocessors": 8, "memory_gb": 8, "power_mode": "15W"}
    code, told = build("p3767-0003", "MAXN_SUPER", "infer")
    (failed,) = [event for event in told if event["event"] == "error"]
    assert (code, "power mode 15W" in failed["what"], "MAXN_SUPER" in failed["what"]) == (5, True, True)
    assert "bring 15W back" in failed["hint"]
    for part, mode, cached in (("p3767-0003", "MAXN_SUPER", False), ("p3767-0003", "MAXN_SUPER", True),
                               ("p3767-0001", "MAXN_SUPER", False)):  # fmt: skip
        engines = [event for event in build(part, mode)[1] if event["event"] == "engine"]
        assert [event["cached"] for event in engines] == [cached] * 2
        assert [event["timing_cache_reused"] for event in engines] == [False, True], "a cache for each"


def test_a_home_that_cannot_be_written_costs_the_timings_alone(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board("8.5")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert main(["build", "--bundle", str(bundle(tmp_path / "b", batch="n", **PLAN))]) == 0
    said = capsys.readouterr()
    assert "timings of kernels are not kept" in said.err
    assert '"timing_cache_reused": true' not in said.out
