"""A program of its own: a model on stdin, its inferred shapes on stdout, in bounded memory.

Functions of the model are left out: ONNX would expand them wherever they are called, and they may call each
other.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

MOST_MEMORY = 4 * 2**30


def inner(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    """What is known of the values in the graphs of nodes: branches and bodies."""
    for node in graph.node:
        for attribute in node.attribute:
            for body in (
                [attribute.g, *attribute.graphs] if attribute.HasField("g") or attribute.graphs else ()
            ):
                yield from (*body.value_info, *body.output)
                yield from inner(body)


def main() -> int:
    """Read, infer, write the shapes alone."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    import onnx

    model = onnx.ModelProto.FromString(sys.stdin.buffer.read())
    del model.functions[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError):
        inferred = onnx.shape_inference.infer_shapes(model)
    answer = onnx.GraphProto(value_info=[*inferred.graph.value_info, *inner(inferred.graph)])
    sys.stdout.buffer.write(answer.SerializeToString())
    return 0


if __name__ == "__main__":
    sys.exit(main())
