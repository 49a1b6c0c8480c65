"""Markdown tables, a line as soon as it is known, and CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def title(*cells: str) -> None:
    """The head of a table."""
    row(*cells)
    row(*["---"] * len(cells))


def row(*cells: object) -> None:
    """One line: figures with two digits, the rest as it is."""
    shown = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
    print("| " + " | ".join(shown) + " |", flush=True)


def percent(share: float | None) -> str:
    """With two digits; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f}"


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The result, and CPU seconds of this process: others work on the machine too."""
    began = time.process_time()
    return call(*arguments), time.process_time() - began
