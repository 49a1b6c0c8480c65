"""How an engine is run while it is measured. Two measurements with different knobs must not be compared."""

from typing import Dict

from ..system.failures import BundleError

DEFAULTS = {"transfers": True, "spin_wait": False, "cuda_graph": False, "overlap": True}
# What trtexec 8 to 10 does without a flag; trtexec 11 has the opposite of the first three.


def of(plan: Dict[str, object]) -> Dict[str, bool]:
    """The knobs of a plan."""
    asked = plan.get("benchmark") or {}
    knobs: Dict[str, bool] = {}
    for name, default in DEFAULTS.items():
        value = asked.get(name, default) if isinstance(asked, dict) else None
        if not isinstance(value, bool):
            raise BundleError("plan.json: benchmark.%s must be true or false" % name)
        knobs[name] = value
    return knobs
