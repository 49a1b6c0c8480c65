"""What became of the 2:4 layers in the engine: what TensorRT found, what it chose, and what that was worth.

The speed-up is that of the sparse engine against an engine of the same file built without sparse kernels, both
measured in one session. It is told only where TensorRT chose sparse kernels: a difference between two engines
without any is noise.
"""

from __future__ import annotations

from collections.abc import Iterable

from jetpress.deploy.device.events import Event, Ratio, Result
from jetpress.pipeline.store.facts.device import BuiltEngine

TWIN = "not-sparse"
"""Name of the engine without sparse kernels."""


def of_engine(built: BuiltEngine, events: Iterable[Event] = ()) -> dict[str, object]:
    """Facts for the report.

    Args:
        built: the sparse engine.
        events: of the benchmark; none where nothing was measured.

    Returns:
        ``found`` and ``chosen``: layers by TensorRT's count (None: it did not say), ``chosen_layers``: their names
        where it gave them, ``speed``: ``value``, ``low``, ``high`` or None, and ``why`` there is none.
    """
    said = built.findings.sparsity if built.findings else None
    chosen = said.chosen if said else built.sparse_layers
    told: dict[str, object] = {
        "found": said.eligible if said else None,
        "chosen": chosen,
        "chosen_layers": list(said.chosen_layers) if said else [],
        "speed": None,
        "why": "",
    }
    measured = list(events)
    ratio = next((event for event in measured if isinstance(event, Ratio) and event.against == TWIN), None)
    invalid = any(isinstance(event, Result) and event.verdict == "invalid" for event in measured)
    if chosen == 0:
        told["why"] = "TensorRT chose sparse kernels for no layer"
    elif chosen is None:
        told["why"] = "the engine does not tell whether sparse kernels were chosen"
    elif ratio is None:
        told["why"] = "it was not measured beside an engine without sparse kernels"
    elif invalid:
        told["why"] = "the benchmark is invalid"
    else:
        low, high = ratio.interval
        told["speed"] = {"value": ratio.ratio, "low": low, "high": high}
    return told
