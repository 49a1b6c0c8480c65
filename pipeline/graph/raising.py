"""A graph of an older opset at the one that passes are written for: ONNX's own converter, its result checked."""

from __future__ import annotations

import onnx
from onnx import version_converter

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph.exporting import opset_of
from jetpress.pipeline.graph.trace import cause


def raised(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """``proto`` at ``opset``, or as it is where it is newer.

    Raises:
        StageError: an operator of it means something else there, and nobody has written what.
    """
    own = opset_of(proto)
    if own >= opset:
        return proto
    try:
        made = version_converter.convert_version(proto, opset)
        onnx.checker.check_model(made)
    except Exception as error:  # its errors have no common base
        raise StageError(
            f"the file is at opset {own}, and ONNX cannot bring it to {opset}: {cause(error)}",
            f"export it again at opset {opset} or newer",
        ) from error
    return made
