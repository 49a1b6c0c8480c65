"""What a node uses that its operator has only in a newer opset, from ONNX's own schemas.

No TensorRT refuses a model for its opset. It fails, or computes something else, at the operator whose definition
changed; where a node uses nothing that came later, the definitions mean the same.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import AttributeProto, defs
from onnx.helper import get_attribute_value

from jetpress.deploy.preflight.node import Node


def needs_newer(node: Node, opset: int, newest: int, taken: Collection[str] = ()) -> str:
    """Why a node of ``opset`` is more than ``newest`` can say; empty where it is not.

    Args:
        taken: attributes, and ``inputs``, that the older reader takes all the same.
    """
    try:
        new = defs.get_schema(node.op, opset, node.domain)
        old = defs.get_schema(node.op, newest, node.domain)
    except (defs.SchemaError, TypeError):  # TypeError: an opset that is no opset number
        return ""  # the operator table says whether the operator is there at all
    if new.since_version == old.since_version:
        return ""
    more = len(node.inputs) > old.max_input and "inputs" not in taken
    if more or len(node.outputs) > old.max_output:
        return f"it has an input or output that came with opset {new.since_version}"
    for name, value in node.attributes.items():
        if name in taken:
            continue
        default = new.attributes[name].default_value if name in new.attributes else None
        if name not in old.attributes and not (default and default.name and _same(default, value)):
            return f"its attribute {name} came with opset {new.since_version}"
    return ""


def _same(default: AttributeProto, value: object) -> bool:
    known = get_attribute_value(default)
    return bool((known.decode() if isinstance(known, bytes) else known) == value)
