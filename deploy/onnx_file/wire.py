"""The fields of a protobuf message, read from its bytes: nothing is built, so nothing can blow up.

An ONNX file is one protobuf message. Before a real parser sees it, :mod:`jetpress.deploy.onnx_file.guard` walks it
with this. ``INSIDE`` is the part of onnx.proto that it needs: which field of which message is a message again. Only
two things nest without end: graphs in attributes of nodes, and types in types.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Data = bytes | mmap.mmap
Field = tuple[int, int, int, int, int]
"""Number, wire type, where the field begins, where its content begins and ends (of a varint: its value)."""

# fmt: off
INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute", 12: "Value"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 14: "Type", 15: "Type",
                  22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Value": {2: "Type"},
    "Type": {4: "Element", 5: "Map", 9: "Element"},
    "Element": {1: "Type"},
    "Map": {2: "Type"},
}
TEXTS: dict[str, frozenset[int]] = {
    "Graph": frozenset({2}), "Node": frozenset({1, 2, 3, 4, 7}), "Attribute": frozenset({1}),
    "Tensor": frozenset({8}), "Value": frozenset({1}), "Function": frozenset({1, 4, 5, 10}),
}
"""Names. Parsers differ on those that are not UTF-8."""
# Parsers merge what should be there once and is there twice: each half may look harmless.
ONCE: dict[str, frozenset[int]] = {
    "Model": frozenset({7}), "Training": frozenset({1, 2}), "Attribute": frozenset({5, 6, 14, 22}),
    "Sparse": frozenset({1, 2}), "Tensor": frozenset({2, 8, 9, 14}), "Value": frozenset({2}),
    "Type": frozenset({4, 5, 9}), "Element": frozenset({1}), "Map": frozenset({2}),
    "Entry": frozenset({1, 2}),
}
# fmt: on


class WireError(ValueError):
    """The bytes are not a protobuf message."""


def varint(data: Data, at: int, end: int) -> tuple[int, int]:
    """The number at ``at``, and where the next thing begins."""
    if at < end and data[at] < 0x80:  # most are one byte
        return data[at], at + 1
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise WireError(f"a number at byte {at} does not end")


def fields(data: Data, at: int, end: int) -> Iterator[Field]:
    """Every field of the message in ``data[at:end]``.

    Raises:
        WireError: a field is longer than the message that holds it, or is none.
    """
    while at < end:
        begin = at
        key, at = varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = varint(data, at, end)
            yield number, wire, begin, value, value
            continue
        if wire == BYTES:
            length, at = varint(data, at, end)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise WireError(f"a field at byte {begin} has a type that ONNX does not use")
        if number == 0 or length > end - at:
            raise WireError(f"a field at byte {begin} says {length} bytes, and {end - at} are left")
        yield number, wire, begin, at, at + length
        at += length


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2**64 if value >= 2**63 else value


def encode(number: int, content: bytes | int) -> bytes:
    """A field: bytes, or a number that is not negative."""
    if isinstance(content, int):
        return _varint(number << 3 | VARINT) + _varint(content)
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
