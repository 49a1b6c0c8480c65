"""The runner on a device behind a real sshd: a build survives its host, what disturbs a benchmark is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from jetpress.deploy.device import device as devices
from jetpress.deploy.device import remote_runner, ssh
from jetpress.deploy.errors import DeviceError, RecipeError, TrustError
from jetpress.deploy.pack import pack
from jetpress.pipeline.engine.place import clock_offset
from jetpress.pipeline.flow.devices import video_digest
from jetpress.pipeline.flow.measured import benchmark, session
from jetpress.pipeline.recipe.configs import Place, Timing
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BudgetConfig
from jetpress.pipeline.stages.bench import bench
from jetpress.pipeline.stages.build import build
from jetpress.pipeline.store.artifact import Bundle, Measurement
from jetpress.pipeline.store.facts.device import MeasurementFacts
from tests.deploy import power_board, sshd
from tests.deploy.device.test_device import until
from tests.deploy.runner_bundles import bundle, seal, slow_to_build

needs_sshd = pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
ROOT = Path(__file__).parents[3]
IDENTITY = {"board": "test", "tensorrt": "", "onnxruntime": "x"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with (
        pytest.MonkeyPatch.context() as patch,
        sshd.running(
            tmp_path_factory.mktemp("sshd") / "s", {"PATH": path, "OMP_NUM_THREADS": "1"}
        ) as running,
    ):
        patch.setenv(ssh.CONFIG, str(running.config))
        yield running


def packed(folder: Path, *, slow: bool = False) -> Bundle:
    place = bundle(folder / (("dead" if slow else "beef") * 16))
    if slow:
        onnx.save(slow_to_build(steps=90), place / "dense.onnx")
    pack(place / "runner.pyz")
    seal(place)
    return Bundle(place)


HOST = """
import sys
from pathlib import Path
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.stages.build import build
from jetpress.pipeline.store.artifact import Bundle
build(Place(sys.argv[1], {identity!r}), Bundle(Path(sys.argv[2])), Path(sys.argv[3]))
"""


@needs_sshd
def test_a_build_survives_kill_9_of_its_host_and_is_not_done_again(
    server: sshd.Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = packed(tmp_path, slow=True)
    (tmp_path / "first").mkdir()
    command = [sys.executable, "-c", HOST.format(identity=IDENTITY), server.name, str(made.path)]
    running = server.home / ".jetpress" / "running"
    with subprocess.Popen([*command, str(tmp_path / "first")], cwd=ROOT, stderr=subprocess.DEVNULL) as host:
        # compressed is built, dense (seconds of constant folding) has begun
        assert until(lambda: any("dense: building" in f.read_text() for f in running.glob("*/err")), 60)
        host.kill()
    pid = next(running.glob("*/pid")).read_text()
    assert Path(f"/proc/{pid}").exists(), "the build goes on without its host"
    (tmp_path / "second").mkdir()
    engine = build(Place(server.name, IDENTITY), made, tmp_path / "second")
    said = capsys.readouterr().err
    assert "an earlier run started it" in said
    log = (tmp_path / "second" / "build.log").read_text()
    assert log.count("building with") == 2, "each model once, in the one build that there was"
    assert "fits" not in log
    stamp = json.loads((tmp_path / "second" / "engine.json").read_text())
    assert (stamp["backend"], stamp["version"]) == (engine.facts.backend, engine.facts.version)
    assert {name: one["size"] for name, one in stamp["models"].items()} == engine.facts.bytes
    assert list(running.iterdir()) == []
    # Nothing outside the working folder, and nothing at all after `clean`.
    assert [path.name for path in server.home.iterdir()] == [".jetpress"]
    device = devices.open(server.name)
    assert device.clean().files > 5
    device.close()
    assert list(server.home.iterdir()) == []


def test_the_application_is_measured_on_a_video_that_is_sent(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed here: it makes and decodes the video of this test")
    film, made, here = tmp_path / "film.mkv", packed(tmp_path), Place(None, IDENTITY)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=30:duration=1"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *picture, str(film)], check=True)
    for name in ("engine", "numbers"):
        (tmp_path / name).mkdir()
    engine = build(here, made, tmp_path / "engine")
    short = BenchmarkConfig(seconds=0.2, runs=11, sessions=1, video=str(film), streams=2)
    numbers = bench(Timing(here, short, 0, video_digest(str(film))), made, engine, tmp_path / "numbers")
    told = session(numbers).application
    assert {(one.model, one.side_by_side) for one in told} == {
        (model, way) for model in ("compressed", "dense") for way in (False, True)
    }
    assert {one.streams for one in told} == {2}
    assert video_digest("/dev/video0") == video_digest("rtsp://camera/stream") == video_digest(None) == ""
    with pytest.raises(RecipeError, match=r"benchmark\.video = 'none\.mp4' is no file"):
        video_digest("none.mp4")


MEASURES = """
import json, sys
from pathlib import Path
from jetpress.pipeline.recipe.configs import Place, Timing
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig
from jetpress.pipeline.stages.bench import bench
from jetpress.pipeline.stages.build import build
from jetpress.pipeline.store.artifact import Bundle
place, root, settings = Place(sys.argv[1], {identity!r}), Path(sys.argv[2]), json.loads(sys.argv[3])
for name in ("engine", "numbers"):
    (root / name).mkdir()
bundle = Bundle(Path(sys.argv[4]))
bench(Timing(place, BenchmarkConfig(**settings)), bundle, build(place, bundle, root / "engine"), root / "numbers")
"""


@needs_sshd
@pytest.mark.parametrize("lives", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_power_modes_are_measured_over_ssh_and_the_mode_comes_back_when_the_host_dies(
    lives: bool, tmp_path: Path
) -> None:
    if os.geteuid():
        pytest.skip("power modes are root's")
    board, made = power_board.make(tmp_path / "board"), packed(tmp_path)
    settings = {"seconds": 0.2, "runs": 11, "sessions": 1, "power_modes": "7W"}
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "JETPRESS_BOARD": str(board)}
    with sshd.running(tmp_path / "sshd", {**environment, "OMP_NUM_THREADS": "1"}) as server:
        lease = server.home / ".jetpress" / "power-mode.json"
        words = [sys.executable, "-c", MEASURES.format(identity=IDENTITY), server.name, str(tmp_path)]
        words += [json.dumps(settings), str(made.path)]
        with subprocess.Popen(words, cwd=ROOT, env={**os.environ, ssh.CONFIG: str(server.config)}) as host:
            if lives:
                assert host.wait() == 0
            else:
                assert until(lambda: power_board.mode(board) == "7W", 60)
                host.kill()
        assert until(lambda: power_board.mode(board) == "15W")
        assert until(lambda: not lease.exists())
    if lives:
        found = session(Measurement(tmp_path / "numbers", MeasurementFacts((), "")))
        judged = benchmark(found, BudgetConfig(watts=8))
        assert judged is not None
        assert judged.power_choice is not None
        assert judged.power_choice.mode == "7W"
        assert [(one.name, one.watts) for one in judged.power_modes] == [("7W", 6.0)]


@needs_sshd
def test_another_device_state_is_another_build(server: sshd.Server, tmp_path: Path) -> None:
    made = packed(tmp_path)
    for number, identity in enumerate((IDENTITY, {**IDENTITY, "tensorrt": "10.3"})):
        (tmp_path / str(number)).mkdir()
        build(Place(server.name, identity), made, tmp_path / str(number))
    logs = [(tmp_path / name / "build.log").read_text() for name in ("0", "1")]
    assert logs[0].count("building with") == 2
    assert (
        logs[1].count("fits") == 2
    )  # the engines are there; the runner itself judges whether they still fit


def test_the_runners_exit_codes_are_our_failures(tmp_path: Path) -> None:
    made = packed(tmp_path)
    device = devices.open(None, tmp_path / "device")
    folder = device.put(made.path, "bundle")
    (Path(folder) / "model.onnx").unlink()
    shutil.copy(made.path / "dense.onnx", Path(folder) / "model.onnx")
    with pytest.raises(TrustError, match=r"build on local: .*expected .* bytes"):
        remote_runner.run(device, folder, "build", "--bundle", folder)
    with pytest.raises(DeviceError, match="no engine was built"):
        remote_runner.run(device, device.put(made.path, "whole"), "bench", "--bundle", str(made.path))


@needs_sshd
def test_the_two_clocks_are_laid_side_by_side(server: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    device = devices.open(server.name)
    offset, unsure = clock_offset(device)  # the test device is this machine: its clock is ours
    assert abs(offset) <= unsure + 1
    assert unsure < 2000
    honest = time.time
    monkeypatch.setattr(time, "time", lambda: honest() - 5)
    assert clock_offset(device)[0] == pytest.approx(5000, abs=unsure + 500)
    device.close()
