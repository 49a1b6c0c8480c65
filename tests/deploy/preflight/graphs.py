"""Small graphs, and what the preflight says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.preflight.verdict import Verdict
from jetpress.deploy.targets import find
from studies.hard_graphs import SAMPLE, hard_graphs, node, small

FLOAT, INT8, INT32, INT64, UINT8 = (
    1,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
)
SAME = ("y", FLOAT, [1, 4, 8, 8])
KERNEL = np.ones((4, 4, 3, 3), np.float32)
HARD = {case.name: case for case in hard_graphs()}


def verdict(
    folder: Path, *given: Any, target: str = "xavier", trial: bool | None = False, **more: Any
) -> Verdict:
    path = folder / "model.onnx"
    small(*given, **more)(path)
    return preflight(path, find(target), trial=trial)


def said(found: Verdict, level: str = "error") -> str:
    return " | ".join(f"{one.op}: {one.what}" for one in found.problems if one.level == level)


def conv(weight: str = "w", bias: str = "b") -> onnx.NodeProto:
    return node("Conv", ["x", weight, bias], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def quantized(
    weight: Any = None, zero: Any = None, bias: str = "b", scale: float = 0.1, stored: bool = False
) -> tuple[list[onnx.NodeProto], list[Any], list[Any], dict[str, Any]]:
    """A convolution whose weight comes through Q and DQ, or through DQ alone (``stored``)."""
    zero = np.zeros((), np.int8) if zero is None else zero
    constants = {"w": KERNEL.astype(np.int8) if stored else KERNEL, "s": np.float32(scale), "z": zero}
    nodes = [] if stored else [node("QuantizeLinear", ["w", "s", "z"], ["q"])]
    nodes += [node("DequantizeLinear", ["w" if stored else "q", "s", "z"], ["d"])]
    if bias == "dequantized":
        constants |= {"c": np.ones(4, np.int32), "i": np.int32(0)}
        nodes.append(
            helper.make_node("DequantizeLinear", ["c", "s", "i"], ["b"], name="net.bias/DequantizeLinear")
        )
    elif bias == "identity":
        constants["c"] = np.ones(4, np.float32)
        nodes.append(node("Identity", ["c"], ["b"]))
    else:
        constants["b"] = np.ones(4, np.float32)
    return [*nodes, conv("d")], [SAMPLE], [SAME], constants


def custom(domain: str, op: str) -> onnx.ModelProto:
    made = helper.make_node(op, ["x"], ["y"], domain=domain, name="net.head/op")
    x, y = (helper.make_tensor_value_info(name, FLOAT, [1, 4]) for name in "xy")
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(domain, 1)]
    return helper.make_model(helper.make_graph([made], "g", [x], [y]), opset_imports=imports, ir_version=7)
