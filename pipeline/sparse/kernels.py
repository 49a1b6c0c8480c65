"""What became of the 2:4 layers in the engine: what TensorRT found, what it chose, and what that was worth.

The speed-up is that of the sparse engine against an engine of the same file built without sparse kernels, both
measured in one session. It is told only where TensorRT chose sparse kernels: a difference between two engines
without any is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jetpress.benchmarks.report.record.changes import SparseEngine
from jetpress.benchmarks.report.record.networks import Ratio

TWIN = "not-sparse"
"""Name of the engine without sparse kernels."""


def of_engine(built: Mapping[str, Any], speed: Ratio | None = None, invalid: bool = False) -> SparseEngine:
    """For the report.

    Args:
        built: the stamp's entry of the sparse engine.
        speed: against the engine without sparse kernels; None where they were not measured side by side.
        invalid: whether the benchmark is.
    """
    said = (built.get("findings") or {}).get("sparsity") or {}
    chosen = said.get("chosen", built.get("sparse_layers"))
    why = ""
    if chosen == 0:
        why = "TensorRT chose sparse kernels for no layer"
    elif chosen is None:
        why = "the engine does not tell whether sparse kernels were chosen"
    elif speed is None:
        why = "it was not measured beside an engine without sparse kernels"
    elif invalid:
        why = "the benchmark is invalid"
    return SparseEngine(
        found=said.get("eligible"),
        chosen=chosen,
        chosen_layers=tuple(said.get("chosen_layers", ())),
        speed=None if why else speed,
        why=why,
    )
