"""Frames a second over watts, a point for each power mode, as SVG: a board has no library for plots."""

from typing import NamedTuple, Optional, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, BELOW, ABOVE, RIGHT = 640, 400, 64, 48, 24, 24
STYLE = "font: 13px sans-serif; fill: #222"


class Point(NamedTuple):
    """What the chosen network does in one mode."""

    name: str
    frames_per_s: float
    watts: Optional[float]
    millijoules: Optional[float]
    celsius: Optional[float] = None


def svg(points: Sequence[Point], budget: Optional[float]) -> str:
    """The whole file; a line where the budget of watts is."""
    known = [one for one in points if one.watts is not None]
    across = max([one.watts or 0.0 for one in known] + [budget or 0.0, 1.0]) * 1.05
    up = max([one.frames_per_s for one in known] + [1.0]) * 1.05

    def x(watts: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * watts / across

    def y(rate: float) -> float:
        return HEIGHT - BELOW - (HEIGHT - BELOW - ABOVE) * rate / up

    lines = [_line(x(0), y(0), x(across), y(0), "#222"), _line(x(0), y(0), x(0), y(up), "#222")]
    for part in (0.25, 0.5, 0.75, 1.0):
        watts, rate = part * across / 1.05, part * up / 1.05
        lines += [
            _text(x(watts), y(0) + 18, "%.3g" % watts, "middle"),
            _text(x(0) - 8, y(rate) + 4, "%.3g" % rate, "end"),
        ]
        lines += [
            _line(x(watts), y(0), x(watts), y(up), "#eee"),
            _line(x(0), y(rate), x(across), y(rate), "#eee"),
        ]
    if budget:
        lines += [
            _line(x(budget), y(0), x(budget), y(up), "#c00"),
            _text(x(budget) + 4, y(up) + 10, "budget", "start"),
        ]
    for one in known:
        place = (x(one.watts or 0.0), y(one.frames_per_s))
        lines.append('<circle cx="%.1f" cy="%.1f" r="5" fill="#06c"/>' % place)
        told = one.name if one.millijoules is None else "%s, %.3g mJ" % (one.name, one.millijoules)
        before = place[0] > WIDTH / 2  # a name is longer than what is left beside the last point
        aside = (place[0] - 9, "end") if before else (place[0] + 9, "start")
        lines.append(_text(aside[0], place[1] + 4, told, aside[1]))
    lines += [
        _text(LEFT, HEIGHT - 10, "watts of the board", "start"),
        _text(8, 14, "frames a second", "start"),
    ]
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" style="%s">'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head % (WIDTH, HEIGHT, WIDTH, HEIGHT, STYLE), ground] + lines + ["</svg>"]) + "\n"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>' % (x1, y1, x2, y2, colour)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return '<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>' % (x, y, anchor, escape(words))
