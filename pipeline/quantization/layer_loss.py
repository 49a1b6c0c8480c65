"""What each layer loses by INT8: how far the outputs move when it alone is quantized."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from jetpress.deploy.console import progress
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.quantization.dialect import Array
from jetpress.pipeline.quantization.judge import error


def sensitivity(
    names: Sequence[str],
    alone: Callable[[str], onnx.ModelProto],
    scores: Callable[[onnx.ModelProto, Sequence[Feed]], Array],
    feeds: Sequence[Feed],
    expected: Array,
) -> dict[str, float]:
    """Layer -> relative error of the scores, largest first.

    Args:
        alone: the graph with only this layer quantized.
        scores: what counts of a graph's outputs.
        expected: scores of the graph without any, ``[samples, ...]``.
    """
    found = {}
    with progress("sensitivity of layers", len(names)) as line:
        for name in names:
            found[name] = error(expected, scores(alone(name), feeds))
            line.step()
    return dict(sorted(found.items(), key=lambda one: -one[1]))
