"""How the runner speaks: JSON lines on standard output for programs, prose on standard error for people."""

import json
import math
import sys
from typing import Dict


def emit(event: str, **fields: object) -> Dict[str, object]:
    """Print one event as one line of strict JSON (no NaN), at once; return it."""
    record = {name: plain(value) for name, value in dict(fields, event=event).items()}
    sys.stdout.write(json.dumps(record, sort_keys=True, allow_nan=False) + "\n")
    sys.stdout.flush()
    return record


def tell(text: str) -> None:
    """One line for people."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


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
