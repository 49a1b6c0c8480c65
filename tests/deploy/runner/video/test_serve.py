"""The live view: what it answers, what it refuses, and what a browser shows."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jetpress.deploy.pack import pack
from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.video import live, serve
from tests.deploy.device.test_device import until

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def get(port: int, path: str, method: str = "GET", host: str = "localhost") -> tuple[int, bytes]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    asked.request(method, path, headers={"Host": host})
    answer = asked.getresponse()
    body = answer.read()
    asked.close()
    return answer.status, body


@pytest.fixture(scope="module")
def port(clip: Path, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The page of a clip that is played again and again, served by the packed runner."""
    pyz = tmp_path_factory.mktemp("serve") / "runner.pyz"
    pack(pyz)
    words = ["serve", "--bundle", place, "--video", clip, "--port", "0"]
    runner = subprocess.Popen([sys.executable, pyz, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    told = next(one for one in map(json.loads, runner.stdout) if one["event"] == "serving")
    assert told["loopback"]
    yield int(told["url"].rsplit(":", 1)[1].strip("/"))
    runner.kill()
    runner.wait()
    runner.stdout.close()


def test_the_page_its_state_and_its_frames(port: int) -> None:
    def state() -> dict[str, object]:
        return dict(json.loads(get(port, "/state")[1]))

    until(lambda: state()["frames_per_s"] is not None)
    told = state()
    assert told["network"] == "toy"
    assert told["classes"] == [*"abcde"]
    found = told["found"]
    assert isinstance(found, dict)
    assert sorted(found["labels"]) == [0, 1, 2, 3, 4]
    status, body = get(port, f"/frame.bmp?{told['number']}")
    picture = Image.open(BytesIO(body))
    assert (status, picture.size, picture.mode) == (200, (16, 16), "RGB")
    assert get(port, "/")[1].startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("path", "method", "host", "status"),
    [
        ("/", "POST", "localhost", 501),
        ("/", "PUT", "localhost", 501),
        ("/", "DELETE", "localhost", 501),
        ("/state", "GET", "rebound.example", 403),
        ("/../plan.json", "GET", "localhost", 404),
        ("/frame.bmp?999999999999999", "GET", "localhost", 404),
        ("/frame.bmp?x", "GET", "127.0.0.1:8000", 404),
    ],
)
def test_it_can_only_be_looked_at_and_only_from_here(
    port: int, path: str, method: str, host: str, status: int
) -> None:
    assert get(port, path, method, host)[0] == status


def test_a_browser_shows_it(port: int, tmp_path: Path) -> None:
    """Chromium draws the picture and fills in the numbers."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed here")
    words = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=4000",
    ]
    page = f"http://localhost:{port}/"
    done = subprocess.run([BROWSER, *words, "--dump-dom", page], capture_output=True, text=True, timeout=90)
    assert "frames a second" in done.stdout, done.stderr[-2000:]
    assert "toy on" in done.stdout
    assert '<p id="fault" role="status"></p>' in done.stdout


def test_a_port_that_is_taken_and_a_source_that_is_gone(
    port: int, clip: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code, said in (
        (["--video", str(clip), "--port", str(port)], 5, "cannot be had"),
        (["--video", "/dev/video99"], 5, "there is no camera"),
        (["--video", "/dev/null", "--port", "0"], 5, "gives no frame"),
    ):
        assert main(["serve", "--bundle", str(place), *words]) == code
        prose = capsys.readouterr().err
        assert said in prose
        assert prose.count("error:") == 1


def test_pictures_are_what_was_seen() -> None:
    draw = np.random.default_rng(0)
    shown = draw.integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(np.asarray(Image.open(BytesIO(live.bmp(shown)))), shown)
    mask = np.zeros((10, 14), np.uint8)
    mask[:2] = 1
    tinted = live.tinted(shown, mask)
    assert np.array_equal(tinted[1:], shown[1:])
    assert np.array_equal(tinted[0], shown[0] // 2 + live.COLOURS[1] // 2)


def test_names_of_this_machine() -> None:
    assert all(map(serve._local, ("localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "[::1]")))
    assert not any(map(serve._local, ("", "example.com", "localhost.example.com:80", "10.0.0.1")))
