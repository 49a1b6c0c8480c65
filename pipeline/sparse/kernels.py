"""What became of the 2:4 layers in the engine: what TensorRT found, what it chose, and what that was worth.

The speed-up is that of the sparse engine against an engine of the same file built without sparse kernels, both
measured in one session. It is told only where TensorRT chose sparse kernels: a difference between two engines
without any is noise.
"""

from __future__ import annotations

from jetpress.benchmarks.report.record.changes import SparseEngine
from jetpress.benchmarks.report.record.networks import Ratio
from jetpress.pipeline.store.facts.device import BuiltEngine

TWIN = "not-sparse"
"""Name of the engine without sparse kernels."""


def of_engine(built: BuiltEngine, speed: Ratio | None = None) -> SparseEngine:
    """For the report.

    Args:
        built: the sparse engine.
        speed: against the engine without sparse kernels; None where they were not measured side by side.
    """
    said = built.findings.sparsity if built.findings else None
    chosen = said.chosen if said else built.sparse_layers
    why = ""
    if chosen == 0:
        why = "TensorRT chose sparse kernels for no layer"
    elif chosen is None:
        why = "the engine does not tell whether sparse kernels were chosen"
    elif speed is None:
        why = "it was not measured beside an engine without sparse kernels"
    elif speed.state == "unknown":
        why = "; ".join(speed.reasons)
    return SparseEngine(
        found=said.eligible if said else None,
        chosen=chosen,
        chosen_layers=said.chosen_layers if said else (),
        speed=None if why else speed,
        why=why,
    )
