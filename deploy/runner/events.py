"""How the runner speaks: JSON lines on standard output for programs, prose on standard error for people."""

import json
import math
import sys
from typing import Any, Dict, List


def emit(event: str, **fields: Any) -> Dict[str, Any]:
    """Print one event as one line of strict JSON (no NaN), at once; return it."""
    record = dict(fields, event=event)
    sys.stdout.write(json.dumps(_plain(record), sort_keys=True, allow_nan=False) + "\n")
    sys.stdout.flush()
    return record


def tell(text: str) -> None:
    """One line for people."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _plain(value: Any) -> Any:
    """JSON has no NaN and no Infinity, and a reader must not meet either."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        plain: List[Any] = [_plain(item) for item in value]
        return plain
    return value
