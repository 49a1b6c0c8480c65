"""`bench --video`: what is counted, and what is refused with one message and nothing written."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.video import commands
from jetpress.deploy.runner.video.ahead import ahead
from jetpress.deploy.runner.video.picture import Picture, prepared
from tests.deploy.runner.video.conftest import FRAMES, make
from tests.deploy.runner_bundles import bundle, seal
from tests.deploy.runner_schema import faults

Told = list[dict[str, Any]]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Told, str]:
    capsys.readouterr()
    code = main(["bench", *map(str, words)])
    said = capsys.readouterr()
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [fault for event in events for fault in faults(event)] == []
    return code, [event for event in events if event["event"] in ("video", "error")], said.err


def test_every_frame_of_a_file_is_counted_once(
    clip: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--bundle", place, "--video", clip, "--streams", 3, "--out", tmp_path / "out")
    code, told, prose = run(capsys, *words)
    assert code == 0
    assert [one["side_by_side"] for one in told] == [False, True]
    for one in told:
        assert (one["frames"], one["streams"], one["batch"], one["dropped"]) == (3 * (FRAMES - 1), 3, 2, 0)
        assert set(one["stages"]) == {"decode", "prepare", "compute", "understand"}
        assert one["latency"]["n"] == one["frames"]
        assert one["stages"]["compute"]["n"] == -(-one["frames"] // 2)
        assert one["frames_per_s"] == pytest.approx(one["frames"] / one["seconds"])
        assert one["decode_alone_per_s"] > 0
    assert json.loads((tmp_path / "out" / "video.json").read_text()) == told
    assert "frames/s of the application" in prose


def test_who_is_late_drops_frames_of_a_live_source(
    clip: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import time

    from jetpress.deploy.runner.video import bench

    understood = bench.meaning
    monkeypatch.setattr(bench, "meaning", lambda *told: (time.sleep(0.2), understood(*told))[1])
    code, (one, _), prose = run(capsys, "--bundle", place, "--video", clip, "--real-time")
    assert code == 0
    assert one["live"]
    assert one["dropped"] > 20 > one["frames"]
    assert one["dropped"] + one["frames"] <= FRAMES
    assert "frames dropped" in prose


def test_one_message_and_nothing_written(
    clip: Path,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = make(tmp_path / "whole.mp4", "-c:v", "mpeg4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    stream = make(tmp_path / "whole.mkv", "-c:v", "mjpeg").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(stream[: len(stream) * 2 // 3])
    (tmp_path / "text.mp4").write_text("no video")
    out = tmp_path / "out"
    for source, code, words in (
        (tmp_path / "none.mp4", 2, "there is no video"),
        ("/dev/video99", 5, "there is no camera"),
        ("/dev/null", 5, "gives no frame"),
        (tmp_path / "text.mp4", 5, "gives no frame"),
        (tmp_path / "cut.mp4", 5, "gives no frame"),
        (tmp_path / "cut.mkv", 5, "breaks off after"),
        ("rtsp://127.0.0.1:9/none", 5, "nobody serves there"),
    ):
        ended, told, prose = run(capsys, "--bundle", place, "--video", source, "--out", out)
        assert ended == code, prose
        assert [one["event"] for one in told] == ["error"]
        assert words in prose
        assert prose.count("error:") == 1
        assert "Traceback" not in prose
        assert not out.exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    ended, _, prose = run(capsys, "--bundle", place, "--video", clip)
    assert (ended, "no ffmpeg is found here" in prose, "apt install ffmpeg" in prose) == (3, True, True)


@pytest.mark.parametrize(("decoder", "program"), [("ffmpeg", "ffmpeg"), ("gstreamer", "gst-launch-1.0")])
def test_a_busy_camera_and_a_missing_codec_are_said_by_the_decoders_own_words(
    decoder: str, program: str, tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A terminal that somebody has for himself is as busy as a camera: the kernel says EBUSY, to all but root."""
    whole = shutil.which(program)
    if whole is None:
        pytest.skip(f"{program} is not installed here")
    out = tmp_path / "out"
    if shutil.which("ffmpeg"):
        film = make(tmp_path / "film.avi", "-c:v", "mpeg4")
        film.write_bytes(film.read_bytes().replace(b"FMP4", b"ZZZ9"))
        code, _, prose = run(capsys, "--bundle", place, "--video", film, "--decoder", decoder, "--out", out)
        assert (code, "gives no frame" in prose, "its codec is missing" in prose) == (5, True, True)
        assert not out.exists()
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed here")
    nobody = tmp_path / "bin" / program
    nobody.parent.mkdir()
    drop = "" if os.geteuid() else "setpriv --reuid=65534 --clear-groups "
    nobody.write_text(f'#!/bin/sh\nexec {drop}{whole} "$@"\n')
    nobody.chmod(0o755)
    monkeypatch.setenv("PATH", f"{nobody.parent}:{os.environ['PATH']}")
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    Path(name).chmod(0o666)
    fcntl.ioctl(theirs, termios.TIOCEXCL)
    try:
        code, told, prose = run(
            capsys, "--bundle", place, "--video", name, "--decoder", decoder, "--out", out
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert (code, [one["event"] for one in told]) == (5, ["error"])
    assert f"{name} gives no frame" in prose
    assert "another program has the camera" in prose
    assert not out.exists()


def test_an_engine_of_another_head_is_refused(
    clip: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, change in enumerate(
        (
            {"outputs": [{"name": "boxes", "shape": [2, 9, 4], "dtype": "float32"}]},
            {"detection": {"score": 0.3, "iou": 0.5, "candidates": 9, "detections": 9, "first_label": 0,
                           "head": "yolov8", "reads": ["logits"], "size": [16, 16], "classes": 5}},
        )
    ):  # fmt: skip
        other = shutil.copytree(place, tmp_path / str(number))
        plan = json.loads((other / "plan.json").read_text())
        (other / "plan.json").write_text(json.dumps({**plan, **change}))
        shutil.move(other / "engines", tmp_path / f"engines{number}")
        seal(other)
        words = ("--bundle", other, "--engines", tmp_path / f"engines{number}", "--video", clip)
        code, _, prose = run(capsys, *words, "--out", tmp_path / "out")
        assert code in (2, 5)
        assert prose.count("error:") == 1
        assert not (tmp_path / "out").exists()


def test_a_network_without_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundle(tmp_path / "b", image=None)
    code, _, prose = run(capsys, "--bundle", folder, "--video", folder / "model.onnx")
    assert (code, "this network takes images" in prose) == (2, True)


@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_gstreamer_gives_the_frames_that_ffmpeg_gives(
    clip: Path, colour: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jetpress.deploy.runner.video.frames import Decoder

    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("GStreamer is not installed here")
    odd = Picture("images", 47, 63, colour, "stretch", 1.0, 114, True, 1.0, [0.0], [1.0])
    source = commands.source_of(str(clip), real_time=False)
    every = {}
    for name in ("ffmpeg", "gstreamer"):
        decoder = Decoder(name, source, odd)
        frames = [frame.pixels for frame in iter(decoder.read, None)]
        decoder.close()
        assert (len(frames), frames[0].shape) == (FRAMES, (47, 63, odd.channels))
        every[name] = np.stack(frames).astype(float)
    assert np.abs(every["ffmpeg"] - every["gstreamer"]).mean() < 16  # another filter, the same picture


def test_the_input_is_what_the_plan_says() -> None:
    draw = np.random.default_rng(0)
    frame = draw.integers(0, 256, (4, 6, 3), np.uint8)
    picture = Picture("x", 4, 6, "rgb", "stretch", 1.0, 0, False, 255.0, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    made = prepared([frame], picture, 2)
    expected = ((frame / 255.0 - picture.mean) / picture.std).transpose(2, 0, 1)
    assert made.shape == (2, 3, 4, 6)
    assert np.abs(made - expected).max() < 1e-5
    assert np.array_equal(prepared([frame], picture._replace(in_graph=True), 1), frame[None])


def test_stages_side_by_side_keep_order_and_tell_of_failures() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))

    def failing() -> Any:
        yield 1
        raise ValueError("in a thread")

    items = ahead(failing())
    assert next(items) == 1
    with pytest.raises(ValueError, match="in a thread"):
        next(items)
    given_up = ahead(iter(int, 1))
    next(given_up)
    given_up.close()  # its thread ends, too


def test_filters_place_frames_as_the_plan_says() -> None:
    picture = Picture("x", 32, 48, "rgb", "letterbox", 1.0, 114, True, 1.0, [0.0], [1.0])
    words = commands.command("ffmpeg", commands.Source(os.devnull, "file", False), picture)
    assert "pad=48:32:(ow-iw)/2:(oh-ih)/2:color=0x727272" in words[words.index("-vf") + 1]
    corner = picture._replace(fit="letterbox-corner")
    words = commands.command("ffmpeg", commands.Source(os.devnull, "file", False), corner)
    assert "pad=48:32:0:0" in words[words.index("-vf") + 1]
