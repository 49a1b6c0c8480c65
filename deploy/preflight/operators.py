"""Which ONNX operators a TensorRT takes: the rows of operators.json, chosen by version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

from jetpress.deploy.errors import RecipeError

READS = ("operators.json",)
Version = tuple[int, int]
NEWEST = "11.1"
"""The last version whose table was read; a test holds it to operators.json."""

_LOWER = "write it as primitives: jetpress does so by itself (export.lower names it for this target)"
_PAIRS = "quantize with QuantizeLinear and DequantizeLinear pairs instead, symmetric INT8"
_ON_CPU = "give what it selects from as an output, and select on the CPU"
REMEDIES = {
    **dict.fromkeys(("LayerNormalization", "HardSwish", "Gelu", "Mish", "CastLike", "Trilu"), _LOWER),
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"), _PAIRS
    ),
    **dict.fromkeys(("NonZero", "Compress", "Unique"), _ON_CPU),
    "GroupNormalization": "export at opset 17: PyTorch then writes InstanceNormalization, Mul and Add",
    "GridSample": "a fixed grid is a Gather with constant indices and weights; a computed one needs a plugin",
    "Einsum": "write it as Transpose, Reshape and MatMul",
    "RoiAlign": "end the network at the feature maps, or load a plugin",
    "MaxUnpool": "upsample with Resize or ConvTranspose",
    "AffineGrid": "compute the grid outside the network, or as MatMul with constant coordinates",
    "Swish": "write it as x * sigmoid(x): export below opset 24",
    "RMSNormalization": "write it as primitives: export below opset 23",
    "Attention": "export below opset 23: PyTorch then writes MatMul and Softmax",
}
"""What to do about an operator that is not taken, where more can be said than to replace it."""
SHIPPED_PLUGINS = ("EfficientNMS_TRT", "BatchedNMSDynamic_TRT", "BatchedNMS_TRT")
"""Nodes that exporters for TensorRT write, and that its own plugin library has had since 8.0."""


class Source(TypedDict):
    """Where one version's rows come from; operators.json also names the address."""

    derived: bool


class Facts(TypedDict):
    """operators.json: versions in the order in which they came, and what changed with each."""

    sources: dict[str, Source]
    opset: dict[str, list[int]]
    operators: dict[str, dict[str, list[str] | None]]


@dataclass(frozen=True)
class Row:
    """What a TensorRT says of one operator that it takes."""

    types: frozenset[str]
    """As TensorRT writes them: FP32, FP16, INT8 ..."""
    restriction: str = ""


@dataclass(frozen=True)
class Table:
    """All operators that one TensorRT version takes."""

    name: str
    """The version that was read: the newest known that is not newer than the one asked for."""
    derived: bool
    """Made from an older version's table and the changelog, because NVIDIA published none."""
    opsets: tuple[int, int]
    rows: dict[str, Row]

    @property
    def version(self) -> Version:
        """For comparing with."""
        return parse(self.name)


def parse(version: str) -> Version:
    """``8.5.2`` as ``(8, 5)``."""
    major, minor, *_ = (*version.split("."), "0")
    return int(major), int(minor)


@cache
def table(tensorrt: str) -> Table:
    """The table for a TensorRT version such as ``10.13.3``.

    Raises:
        RecipeError: the version is older than any that is known.
    """
    facts = _facts()
    name = _newest(list(facts["sources"]), parse(tensorrt))
    if name is None:
        raise RecipeError(
            f"TensorRT {tensorrt} is not known", f"the oldest is {next(iter(facts['sources']))}"
        )
    rows = {}
    for op, history in facts["operators"].items():
        since = _newest(list(history), parse(name))
        row = history[since] if since is not None else None
        if row is not None:
            types, *restriction = row
            rows[op] = Row(frozenset(types.split()), "".join(restriction))
    changed = _newest(list(facts["opset"]), parse(tensorrt))
    assert changed is not None  # the first opset is that of the first version
    oldest, newest = facts["opset"][changed]
    return Table(name, facts["sources"][name]["derived"], (oldest, newest), rows)


@cache
def since(op: str) -> str:
    """The first known TensorRT that takes an operator; empty where none does."""
    history = _facts()["operators"].get(op, {})
    return next((version for version, row in history.items() if row is not None), "")


def remedy(op: str) -> str:
    """What to do about an operator that a TensorRT does not take."""
    return REMEDIES.get(op, "replace this layer in the network, or load a plugin of this name on the board")


def _newest(known: list[str], limit: Version) -> str | None:
    """The newest known version that is not newer than ``limit``."""
    fitting = [version for version in known if parse(version) <= limit]
    return max(fitting, key=parse, default=None)


@cache
def _facts() -> Facts:
    facts: Facts = json.loads((Path(__file__).parent / "operators.json").read_text())
    return facts
