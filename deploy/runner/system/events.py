"""How the runner speaks: JSON lines on standard output for programs, prose on standard error for people."""

import json
import math
import os
import sys
from typing import Dict


class Unheard(Exception):
    """Standard output is closed, full or read by nobody: no event, and no failure, can be told there."""


def stand() -> None:
    """Give a process the three streams that it was started without: a file opened later would become one of them,
    and whatever a library prints would go into it."""
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process


def deafen() -> None:
    """Nothing more goes to standard output; what is left in its buffer would fail once more at the end."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process


def put(text: str) -> None:
    """To standard output, at once."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (
        AttributeError,
        OSError,
        ValueError,
    ) as error:  # None, or closed, is what Python makes of a closed one
        raise Unheard(getattr(error, "strerror", None) or "it is closed")


def emit(event: str, **fields: object) -> Dict[str, object]:
    """Print one event as one line of strict JSON (no NaN), at once; return it."""
    record = {name: plain(value) for name, value in dict(fields, event=event).items()}
    put(json.dumps(record, sort_keys=True, allow_nan=False) + "\n")
    return record


def tell(text: str) -> None:
    """One line for people; where nobody can read it, the work goes on."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process


def plain(value: object) -> object:
    """Records as objects. JSON has no NaN and no Infinity, and a reader must not meet either."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
