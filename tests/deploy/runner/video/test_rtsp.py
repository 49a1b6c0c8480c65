"""A stream of RTSP: damaged packets are no end of it, and a server that is gone is one message."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jetpress.deploy.runner.system.failures import DeviceError
from jetpress.deploy.runner.video import commands
from jetpress.deploy.runner.video.frames import Decoder
from jetpress.deploy.runner.video.picture import Picture
from tests.deploy.runner.video.conftest import FRAMES, make

SYSTEM = "/usr/bin/python3"
"""GStreamer's bindings are packages of the system."""
HAS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
PICTURE = Picture("images", 24, 32, "rgb", "stretch", 1.0, 114, True, 1.0, [0.0], [1.0])


def test_a_damaged_stream_goes_on_and_a_server_that_is_gone_is_said(clip: Path, tmp_path: Path) -> None:
    del clip  # skips where there is no ffmpeg
    if not Path(SYSTEM).exists() or subprocess.run([SYSTEM, "-c", HAS], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no RTSP server here: apt install python3-gi gir1.2-gst-rtsp-server-1.0")
    film = make(tmp_path / "film.mp4", "-c:v", "libx264", "-bf", "0", "-g", "15")
    words = [SYSTEM, str(Path(__file__).with_name("rtsp_server.py")), str(film), "0.002"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    source = commands.source_of(f"rtsp://127.0.0.1:{server.stdout.readline().strip()}/s", real_time=False)
    decoder = Decoder("ffmpeg", source, PICTURE)
    try:
        for _ in range(30):
            frame = decoder.read()
            assert frame is not None
            assert frame.pixels.shape == (24, 32, 3)
        decoder.said.seek(0)
        assert b"error while decoding" in decoder.said.read()
        server.kill()
        with pytest.raises(DeviceError, match=r"rtsp://\S+ breaks off after \d+ frames: ") as gone:
            list(iter(decoder.read, None))
        assert decoder.frames < FRAMES
        assert "the camera went away" in gone.value.hint
    finally:
        decoder.close()
        server.kill()
        server.wait()
        server.stdout.close()
