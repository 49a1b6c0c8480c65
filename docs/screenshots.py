"""Pictures of a run's report as a browser shows it: `python -m docs.screenshots RUN [FOLDER]`.

RUN is the folder of a finished run (or the name of one), FOLDER where the pictures go (docs/images). Chromium must be
installed; it is shown the page from a file and fetches nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from jetpress.pipeline.summary import find_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIGHT, DARK = 1, 0
"""Chromium's numbers of the colour schemes that a page is told its reader prefers."""
COLOURS = 128
"""Of a picture: text and drawings need no more, and a file stays below 200 kB."""


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    width: int
    height: int
    """Of the window in CSS pixels; what is empty below is cut off."""
    scheme: int
    hidden: str
    """CSS selector of what is left out."""


SHOTS = (
    Shot("report", 1280, 1500, LIGHT, "nav, #comparison ~ section, footer, details"),
    Shot(
        "report-predictions",
        1280,
        1900,
        LIGHT,
        "header, section:not(#disagreements, #classes), footer, details",
    ),
    Shot("report-layers", 1280, 2000, LIGHT, "header, section:not(#layer-times, #rounds), footer, details"),
    Shot("report-phone-dark", 390, 2400, DARK, "nav, section:not(#benchmark), footer, details"),
)


def take(shot: Shot, page: str, browser: str, folder: Path) -> Path:
    """Write ``folder/NAME.png``.

    Args:
        shot: which.
        page: HTML of the report.
        browser: its program.
        folder: where to.
    """
    style = f"<style>{shot.hidden} {{ display: none !important; }}</style></head>"
    with tempfile.TemporaryDirectory() as scratch:
        source, picture = Path(scratch, "report.html"), Path(scratch, "shot.png")
        source.write_text(page.replace("</head>", style, 1), encoding="utf-8")
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={scratch}/profile",
            f"--blink-settings=preferredColorScheme={shot.scheme}", f"--window-size={shot.width},{shot.height}",
        ]  # fmt: skip
        command = [browser, *options, f"--screenshot={picture}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        whole = Image.open(picture).convert("RGB")
    cut = whole.crop((0, 0, whole.width, _end(whole) + 24))
    target = folder / f"{shot.name}.png"
    cut.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        target, optimize=True
    )
    return target


def _end(picture: Image.Image) -> int:
    """The row below which there is nothing but the colour of the last one."""
    last = Image.new("RGB", picture.size, picture.getpixel((0, picture.height - 1)))
    box = ImageChops.difference(picture, last).getbbox()
    return box[3] if box else picture.height


def main(arguments: list[str]) -> int:
    """Take them all."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None or not arguments:
        print(__doc__ if browser else f"none of {', '.join(BROWSERS)} is installed", file=sys.stderr)
        return 2
    folder = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    page = (find_run(arguments[0]) / "report.html").read_text(encoding="utf-8")
    for shot in SHOTS:
        made = take(shot, page, browser, folder)
        print(f"{made}  {made.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
