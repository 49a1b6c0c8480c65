"""The pages of DeepStream, Triton and ROS 2 name what lies in a package, and what its configuration says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from jetpress.deploy.formats import package
from tests.deploy.formats import runs
from tests.docs.commands import fences
from tests.test_prose import ROOT

PAGES = {"deepstream": "deepstream", "triton": "triton", "isaac-ros": "ros2"}
NAMED = re.compile(r"(?<![\w./$-])(?:\./)?([\w/]+(?:\.launch)?\.(?:sh|txt|py))\b")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    run = runs.a_run(tmp_path_factory.mktemp("pages"), "detection", "orin-nano")
    return {kind: package(run, kind) for kind in PAGES}


@pytest.mark.parametrize("kind", PAGES)
def test_every_file_that_a_page_types_is_in_the_package(kind: str, packages: Mapping[str, Path]) -> None:
    text = "".join(fences(f"docs/{PAGES[kind]}.md", "sh")).replace("digits", "detection")
    named = set(NAMED.findall(text))
    assert "build.sh" in named
    assert [name for name in sorted(named) if not (packages[kind] / name).is_file()] == []


def test_what_the_pages_say_of_the_configuration_is_in_it(packages: Mapping[str, Path]) -> None:
    infer = (packages["deepstream"] / "config_infer.txt").read_text()
    page = (ROOT / "docs/deepstream.md").read_text()
    assert "`cluster-mode=4`" in page
    assert "cluster-mode=4\n" in infer
    app = (packages["deepstream"] / "deepstream_app.txt").read_text()
    assert "output-file=out.mp4\n" in app
    assert "enc-type=1\n" in app
    assert "make" in page
    assert "libjetpress_parser.so:" in (packages["deepstream"] / "Makefile").read_text()
    config = (packages["triton"] / "models/detection/config.pbtxt").read_text()
    triton = (ROOT / "docs/triton.md").read_text()
    for key in ("max_batch_size", "instance_group", "model_warmup"):
        assert f"`{key}`" in triton
        assert key in config
    decoder = (packages["isaac-ros"] / "decoder.py").read_text()
    assert '"detections/image"' in decoder
    launch = next(packages["isaac-ros"].glob("*.launch.py")).read_text()
    ros = (ROOT / "docs/ros2.md").read_text()
    for name in re.findall(r"(\w+):=", ros):
        assert f'DeclareLaunchArgument("{name}"' in launch or name in ("image_size", "output_encoding"), name
