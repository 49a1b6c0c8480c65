"""A picture of a sample, to draw its target into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#fabebe",
    "#008080", "#9a6324",
)  # fmt: skip
"""Colours that people tell apart (Trubetskoy 2017), in the order of the classes."""


class Drawn:
    """A picture that grows; with ``scale`` larger than the sample, whose pixels places are given in."""

    def __init__(self, image: Image.Image, scale: int = 1) -> None:
        from PIL import ImageDraw

        self.image, self._scale = image.convert("RGB"), scale
        self.image = self.image.resize((scale * image.width, scale * image.height))
        self._pen = ImageDraw.Draw(self.image)

    def box(self, sides: Sequence[float], label: int, words: str) -> None:
        """x1, y1, x2, y2 in pixels."""
        colour = PALETTE[label % len(PALETTE)]
        corners = [self._scale * float(side) for side in sides]
        self._pen.rectangle(corners, outline=colour, width=2)
        place = (corners[0] + 3, max(corners[1] + 1, 1))
        self._pen.rectangle(self._pen.textbbox(place, words), fill=colour)
        self._pen.text(place, words, fill=contrast(colour))

    def mask(self, classes: Any, void: int) -> None:
        """Class numbers ``[h, w]`` at any size; what has ``void`` is left as it is, class 0 is dark (Pascal VOC)."""
        from PIL import Image, ImageColor, ImageDraw

        width, height = self.image.size
        rows, columns = classes.shape
        classes = classes[np.arange(height)[:, None] * rows // height, np.arange(width) * columns // width]
        colours = np.array([ImageColor.getrgb(colour) for colour in ("black", *PALETTE)], np.uint8)
        numbers = np.where(classes <= 0, 0, (classes - 1) % len(PALETTE) + 1)
        over = Image.fromarray(colours[numbers])
        mixed = Image.blend(self.image, over, 0.5)
        self.image = Image.composite(
            mixed, self.image, Image.fromarray((classes != void).astype(np.uint8) * 255)
        )
        self._pen = ImageDraw.Draw(self.image)

    def point(self, x: float, y: float, label: int) -> None:
        """A dot."""
        x, y = self._scale * x, self._scale * y
        self._pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=PALETTE[label % len(PALETTE)])

    def words(self, text: str) -> None:
        """In the corner."""
        self._pen.text((3, 2), text, fill=PALETTE[0])


def contrast(colour: str) -> str:
    """Black or white, whichever is read better on a colour (ITU-R BT.601's luma)."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def undrawn(*_: object) -> None:
    """For targets that no picture shows."""
