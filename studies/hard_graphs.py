"""What the preflight says of graphs that are known to be hard, target by target.

    python -m studies.hard_graphs [--no-trial]

Each graph is made here. The last column is no table but TensorRT-RTX itself, where it is installed: the models
are really parsed and built for SM86. Where it and a table disagree, the table is to be looked at.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import trial
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.preflight.graph import inferred
from jetpress.deploy.preflight.verdict import Verdict
from jetpress.deploy.targets import find

TARGETS = ("nano", "xavier", "orin-nano", "thor", "thor-jp72")
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SAMPLE = ("x", FLOAT, [1, 4, 8, 8])
Described = tuple[str, int, list[Any] | None]


@dataclass(frozen=True)
class Hard:
    """A graph that some TensorRT cannot take, or takes otherwise than it looks."""

    name: str
    write: Callable[[Path], None]
    try_it: bool = True


def small(
    nodes: list[onnx.NodeProto],
    inputs: list[Described],
    outputs: list[Described],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
) -> Callable[[Path], None]:
    """Writes a model of a few nodes; ``constants`` are arrays."""

    def write(path: Path) -> None:
        graph = helper.make_graph(
            nodes,
            "hard",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        )
        imports = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=7 if opset < 15 else 8)
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString())

    return write


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    """A node named as jetpress names them."""
    return helper.make_node(op, inputs, outputs, name=f"net.{op.lower()}/{op}", **attributes)


def resize(opset: int = 13, **attributes: Any) -> Callable[[Path], None]:
    """A Resize to twice the size."""
    made = node("Resize", ["x", "", "scales"], ["y"], **attributes)
    scales = np.array([1, 1, 2, 2], np.float32)
    return small([made], [SAMPLE], [("y", FLOAT, [1, 4, 16, 16])], {"scales": scales}, opset)


def two_gibibytes(path: Path) -> None:
    """One matrix of 2.5 GiB in a file beside the model: a hole on disk, only its first row is written."""
    rows, columns = 32768, 20480
    weight = TensorProto(name="w", data_type=FLOAT, dims=[rows, columns], data_location=TensorProto.EXTERNAL)
    size = rows * columns * 4
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(size))):
        weight.external_data.add(key=key, value=value)
    made = node("MatMul", ["x", "w"], ["y"])
    x, y = (helper.make_tensor_value_info(name, FLOAT, [1, n]) for name, n in (("x", rows), ("y", columns)))
    graph = helper.make_graph([made], "large", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    path.write_bytes(model.SerializeToString())
    with (path.parent / "weights.bin").open("wb") as file:
        file.write(np.ones(columns * 4, np.float32).tobytes())
        file.truncate(size)


def hard_graphs() -> tuple[Hard, ...]:
    """The ten of the project's plan, some in several forms."""
    same, ends = ("y", FLOAT, [1, 4, 8, 8]), [("e", INT64, [1])]
    one = np.array([1], np.int64)
    scale, bias = np.ones(8, np.float32), np.zeros(8, np.float32)
    grid = ("g", FLOAT, [1, 8, 8, 2])
    volume, cut = ("x", FLOAT, [1, 4, 8, 8, 8]), ("y", FLOAT, ["a", "b", "c", "d"])
    a, b = ("a", FLOAT, [2, 3, 4]), ("b", FLOAT, [2, 4, 5])
    product = ("y", FLOAT, [2, 3, 5])
    layer_norm = node("LayerNormalization", ["x", "s", "b"], ["y"], axis=-1)
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2, 2])
    sliced = node("Slice", ["x", "b", "e", "a"], ["y"])
    argmax = node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    equations = ("bij,bjk->bik", "...ij,...jk->...ik", "BIJ,BJK->BIK")
    einsum = [node("Einsum", ["a", "b"], ["y"], equation=how) for how in equations]
    return (
        Hard("LayerNormalization (opset 17)", small([layer_norm], [SAMPLE], [same], {"s": scale, "b": bias})),
        Hard(
            "GridSample (16)",
            small([node("GridSample", ["x", "g"], ["y"])], [SAMPLE, grid], [same], opset=16),
        ),
        Hard("NonZero", small([node("NonZero", ["x"], ["y"])], [SAMPLE], [("y", INT64, [4, "n"])], opset=13)),
        Hard("ArgMax, INT64 output", small([argmax], [SAMPLE], [("y", INT64, [1, 8, 8])], opset=13)),
        Hard("HardSwish (14)", small([node("HardSwish", ["x"], ["y"])], [SAMPLE], [same], opset=14)),
        Hard(
            "Slice, end at run time",
            small([sliced], [SAMPLE, *ends], [cut], {"b": one * 0, "a": one}, opset=13),
        ),
        Hard(
            "Slice, axes at run time",
            small([sliced], [SAMPLE, ("a", INT64, [1])], [cut], {"b": one * 0, "e": one}, opset=13),
        ),
        Hard("MaxPool over 3 dimensions", small([pool], [volume], [("y", FLOAT, [1, 4, 7, 7, 7])], opset=13)),
        Hard(
            "MaxPool over 4 dimensions",
            small(
                [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2, 2, 2])],
                [("x", FLOAT, [1, 4, 4, 4, 4, 4])],
                [("y", FLOAT, [1, 4, 3, 3, 3, 3])],
                opset=13,
            ),
        ),
        Hard("Einsum bij,bjk->bik", small(einsum[:1], [a, b], [product], opset=13)),
        Hard("Einsum with an ellipsis", small(einsum[1:2], [a, b], [product], opset=13)),
        Hard("Einsum in capital letters", small(einsum[2:], [a, b], [product], opset=13)),
        Hard("Resize nearest", resize(mode="nearest")),
        Hard("Resize linear", resize(mode="linear")),
        Hard("Resize cubic", resize(mode="cubic")),
        Hard("Resize linear, antialias (18)", resize(18, mode="linear", antialias=1)),
        Hard("MatMul of 2.5 GiB, external data", two_gibibytes, try_it=False),
    )


def told(verdict: Verdict) -> str:
    """One cell: ok, or the first reason; doubts in brackets."""
    errors = [one for one in verdict.problems if one.level == "error" and one.op] or [
        one for one in verdict.problems if one.level == "error"
    ]
    warnings = [one for one in verdict.problems if one.level == "warning"]
    if errors:
        return f"NO: {errors[0].what}"
    return "ok" + "".join(f" ({one.what})" for one in warnings)


def tried(path: Path) -> str:
    """What TensorRT-RTX really does with it."""
    found = trial.attempt("tensorrt_rtx", inferred(guard.check_onnx(path)))
    if found is None:
        return "not installed"
    if found.ok:
        return f"{found.stage}s"
    why = found.error.rpartition("cannot parse model.onnx: ")[2][:120]
    return f"lacks it: {why}" if found.lacks else f"no: {why}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-trial", action="store_true", help="tables only")
    options = parser.parse_args()
    titles = [f"{name} ({find(name).tensorrt})" for name in TARGETS]
    print("| graph | " + " | ".join([*titles, "TensorRT-RTX here", "s"]) + " |")
    print("|---|" + "---|" * (len(TARGETS) + 2))
    for case in hard_graphs():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            case.write(path)
            start = time.monotonic()
            cells = [told(preflight(path, find(name), trial=False)) for name in TARGETS]
            seconds = (time.monotonic() - start) / len(TARGETS)
            cells.append(tried(path) if case.try_it and not options.no_trial else "not tried")
        row = [case.name, *cells, f"{seconds:.2f}"]
        print("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in row) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
