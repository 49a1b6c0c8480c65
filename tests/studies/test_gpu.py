"""The script for a machine with a GPU, without one: what it does next, and that nothing is measured twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from studies import gpu, gpu_steps

ROOT = Path(__file__).parents[2]


def test_the_script_is_bash() -> None:
    assert subprocess.run(["bash", "-n", ROOT / "studies" / "gpu.sh"]).returncode == 0


def test_all_that_is_promised_is_a_step() -> None:
    able = {"environment": {"result": {"unable": {}}}}
    names = [step.name for step in gpu.steps(Path("work"), small=False, known=able)]
    for network in ("resnet50", "detector"):
        assert {f"pytorch {network} {how}" for how in gpu.COMPILED} <= set(names)
        at = names.index(f"files {network}")
        engines = {
            f"{target} {network} {precision}" for target in gpu.BACKENDS for precision in ("fp16", "int8")
        }
        assert set(names[at + 1 : at + 5]) == engines


def test_nothing_is_made_for_a_runtime_that_does_not_build_here() -> None:
    unable = {"environment": {"result": {"unable": {"rtx": "no SM90"}}}}
    names = [step.name for step in gpu.steps(Path("work"), small=False, known=unable)]
    assert "gpu resnet50 fp16" in names
    assert not [name for name in names if name.startswith("rtx")]
    assert not [
        step for step in gpu.steps(Path("work"), small=False, known={}) if step.name.startswith("files")
    ]


def test_what_is_known_is_not_done_again_and_failures_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def step(name: str, code: str, *needed_by: str) -> gpu_steps.Step:
        return gpu_steps.Step(name, 20.0, (sys.executable, "-c", code), needed_by)

    say = "open({!r}, 'a').write({!r}); print('library says', 1); print('{{\"ms\": 1}}')"
    log = str(tmp_path / "log")
    plan = [step("files", say.format(log, "f"), "host"), step("host", say.format(log, "h")),
            step("gpu", "raise SystemExit('no GPU here')"), step("slow", "import time; time.sleep(60)")]  # fmt: skip
    monkeypatch.setattr(gpu_steps, "LEAST_S", 0.0)
    plan[3] = gpu_steps.Step("slow", 0.2, plan[3].argv)
    (out := tmp_path / "out").mkdir()
    gpu_steps.done(out / "gpu.json", lambda known: plan, 60.0, None)
    found = json.loads((out / "gpu.json").read_text())
    assert found["host"]["result"] == {"ms": 1}
    assert "no GPU here" in found["gpu"]["error"]
    assert found["slow"]["error"] == "not done in 0 s"
    (other := tmp_path / "other").mkdir()
    plan.pop()
    gpu_steps.done(other / "gpu.json", lambda known: plan, 60.0, out / "gpu.json")
    assert Path(log).read_text() == "fh"
    assert set(json.loads((other / "gpu.json").read_text())) == set(found)
    assert "host: known" in capsys.readouterr().out
