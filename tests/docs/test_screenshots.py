from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docs import screenshots
from docs.screenshots import DARK, LIGHT, Shot
from jetpress.benchmarks.report import record
from jetpress.benchmarks.report.render import render
from tests.benchmarks.runs import realistic

BROWSER = next((path for name in screenshots.BROWSERS if (path := shutil.which(name))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_pictures_of_a_report_in_both_schemes(tmp_path: Path) -> None:
    render(record.of(realistic()), tmp_path)
    page, means = (tmp_path / "report.html").read_text(), []
    for name, scheme in (("light", LIGHT), ("dark", DARK)):
        shot = Shot(name, 390, 900, scheme, "header, section:not(#disagreements), footer")
        made = screenshots.take(shot, page, str(BROWSER), tmp_path)
        assert made.stat().st_size < 200_000
        picture = Image.open(made).convert("L")
        assert picture.width == 390
        means.append(float(np.asarray(picture).mean()))
    assert means[0] > 128 > means[1]


def test_without_a_run_it_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert screenshots.main([]) == 2
    assert "docs.screenshots RUN" in capsys.readouterr().err or BROWSER is None


def test_the_pictures_of_the_docs_are_small() -> None:
    for shot in screenshots.SHOTS:
        picture = Path(screenshots.__file__).parent / "images" / f"{shot.name}.png"
        assert picture.stat().st_size < 200_000
