"""One operator at work in a graph, and what is known of a tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from onnx import defs

from jetpress.deploy.onnx_file.skeleton import BITS

T = TypeVar("T")


@dataclass(frozen=True)
class Value:
    """Element type (as in TensorProto.DataType; 0: unknown) and shape of one tensor."""

    kind: int = 0
    shape: tuple[int | None, ...] | None = None
    """None where even the rank is unknown; None for each open dimension."""

    @property
    def bytes(self) -> int:
        """Size with every open dimension taken as 1."""
        return -(-math.prod(d or 1 for d in self.shape or ()) * BITS.get(self.kind, 32) // 8)

    @property
    def open(self) -> bool:
        """Whether a dimension is left to the run."""
        return self.shape is None or None in self.shape


UNKNOWN = Value()


@dataclass(frozen=True)
class Node:
    """One operator at work."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(repr=False)
    """Plain values, of any kind: the file may be anybody's. Nodes of graphs follow in the graph's list."""

    @property
    def module(self) -> str:
        """The PyTorch module: exporters put it before the last slash of the name."""
        return self.name.strip("/").rpartition("/")[0]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where the inputs stand, by the names that ONNX gives them."""
        return {formal: at for at, formal in enumerate(_formal_inputs(self.op)) if at < len(self.inputs)}

    def input(self, at: int | str) -> str:
        """Name of an input, by position or formal name; empty where it is left out."""
        index = self.positions.get(at, len(self.inputs)) if isinstance(at, str) else at
        return self.inputs[index] if index < len(self.inputs) else ""

    def formal(self, at: int) -> str:
        """What ONNX calls the input at a position, in backquotes."""
        return next((f"`{name}`" for name, place in self.positions.items() if place == at), str(at))

    def integer(self, name: str, default: int) -> int:
        """An attribute.

        Raises:
            TypeError: it is something else.
        """
        value = self.attributes.get(name)
        return default if value is None else _only(int, [value])[0]

    def integers(self, name: str) -> list[int]:
        """An attribute with several; empty where it is left out. Raises TypeError like `integer`."""
        return _only(int, self.attributes.get(name))

    def texts(self, name: str) -> list[bytes]:
        """The same of texts, as the file has them."""
        return _only(bytes, self.attributes.get(name))


def _only(kind: type[T], values: object) -> list[T]:
    """``values`` if it is a list of this kind."""
    if values is None:
        return []
    if isinstance(values, list) and all(isinstance(value, kind) for value in values):
        return values
    raise TypeError(f"not a list of {kind.__name__}")


def _formal_inputs(op: str) -> list[str]:
    try:
        return [entry.name for entry in defs.get_schema(op).inputs]
    except defs.SchemaError:
        return []
