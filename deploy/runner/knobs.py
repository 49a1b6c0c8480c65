"""How an engine is run while it is measured. Two measurements with different knobs must not be compared."""

from typing import Any, Dict

from .failures import BundleError

DEFAULTS = {"transfers": True, "spin_wait": False, "cuda_graph": False, "overlap": True}
# What trtexec 8 to 10 does without a flag; trtexec 11 has the opposite of the first three.


def of(plan: Dict[str, Any]) -> Dict[str, bool]:
    """The knobs of a plan."""
    asked = plan.get("benchmark") or {}
    found = {name: asked.get(name, default) for name, default in DEFAULTS.items()}
    for name, value in found.items():
        if not isinstance(value, bool):
            raise BundleError("plan.json: benchmark.%s must be true or false" % name)
    return found
