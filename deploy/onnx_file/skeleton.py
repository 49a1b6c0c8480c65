"""One walk over the bytes of an ONNX file: it counts, refuses bombs, and leaves large weights out.

What it gives is the *skeleton*: the same model whose large weights stay in the file, written as external
data of the model file itself. To read it takes no memory for the weights, and their sizes are known to be
true.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from jetpress.deploy.errors import TrustError
from jetpress.deploy.onnx_file.external import HINT, check_external
from jetpress.deploy.onnx_file.wire import (
    BYTES,
    INSIDE,
    ONCE,
    TEXTS,
    Data,
    Field,
    WireError,
    encode,
    fields,
    signed,
    varint,
)

KEPT = 4096
"""Bytes of a tensor up to which its data stays in the skeleton: shapes, axes, zero points."""
MOST_DIMENSIONS, LONGEST_TEXT, TEXT = 64, 4096, 8
# Bits of an element, by TensorProto.DataType.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
# Fields of a TensorProto whose bytes are the elements as NumPy reads them, and for which type that holds.
FLAT = {9: 0, 4: 1, 10: 11}
TYPED = frozenset({4, 5, 6, 7, 10, 11})
TEXT_DATA = 6


@dataclass(frozen=True)
class Limits:
    """What a file may hold. Vision networks stay far below; a bomb does not."""

    size: int = 2**31 - 1
    """Bytes: protobuf's own limit for one message."""
    nodes: int = 100_000
    depth: int = 32
    """Graphs inside of nodes inside of graphs, and types inside of types, in messages."""
    elements: int = 2**31
    """Of one tensor; of a sparse one when written out."""
    fields: int = 1_000_000
    """Of all messages: a node has about ten."""
    packed: int = 48 * 2**20
    """Bytes of numbers that take one byte in the file and eight in memory."""


@dataclass(frozen=True)
class Skeleton:
    """A model that may be opened."""

    path: Path
    content: bytes
    """The model without its large weights: these are external data, also where the file holds them itself."""
    size: int
    nodes: int
    external: tuple[Path, ...]
    """Files beside the model that hold weights."""


def walk(data: Data, path: Path | None, limits: Limits) -> Skeleton:
    """The skeleton of a model; ``path`` is None where it has no folder.

    Raises:
        TrustError: it is a bomb, or names what it may not.
        WireError, UnicodeDecodeError: it is no ONNX file, or a part of one.
    """
    name = path or Path("the model")
    walker = _Walker(data, name, path is not None, limits)
    content = walker.message("Model", 0, len(data), 0)
    if not walker.graphs:
        raise WireError("it holds no graph")
    whole = bytes(data[:]) if content is None else content
    return Skeleton(name, whole, len(data), walker.nodes, tuple(sorted(walker.external)))


@dataclass
class _Walker:
    data: Data
    path: Path
    has_folder: bool
    limits: Limits
    seen: int = 0
    nodes: int = 0
    graphs: int = 0
    packed: int = 0
    external: set[Path] = field(default_factory=set)

    def refuse(self, why: str) -> NoReturn:
        raise TrustError(f"{self.path} {why}", HINT)

    def message(self, kind: str, start: int, end: int, depth: int) -> bytes | None:
        """Check one message; what takes its place in the skeleton, or None where it stays as it is."""
        if depth > self.limits.depth:
            self.refuse(f"nests graphs or types deeper than {self.limits.depth} levels")
        if kind == "Tensor":
            return self.tensor(start, end)
        self.nodes += kind == "Node"
        self.graphs += kind == "Graph"
        inside, pieces, copied, dims = INSIDE[kind], list[bytes](), start, list[int]()
        for number, wire, begin, at, stop in self.fields(kind, start, end):
            if kind == "Sparse" and number == 3:
                dims += self.numbers(wire, at, stop)
            elif kind == "Attribute" and number == 8:
                self.numbers(wire, at, stop)
            elif number in inside:
                if wire != BYTES:
                    raise WireError(f"a number at byte {begin}, where a message belongs")
                new = self.message(inside[number], at, stop, depth + 1)
                if new is not None:
                    pieces += [self.data[copied:begin], encode(number, new)]
                    copied = stop
        self.elements(dims)
        return b"".join([*pieces, self.data[copied:end]]) if pieces else None

    def fields(self, kind: str, start: int, end: int) -> Iterator[Field]:
        """The fields of one message, counted, and none twice that belongs there once."""
        once, texts, met = ONCE.get(kind, frozenset()), TEXTS.get(kind, frozenset()), set()
        for one in fields(self.data, start, end):
            self.seen += 1
            if one[0] in met:
                self.refuse(f"has field {one[0]} of a {kind} at byte {one[2]} twice")
            if one[0] in once:
                met.add(one[0])
            if one[0] in texts and one[1] == BYTES:
                self.data[one[3] : one[4]].decode()
            if self.nodes > self.limits.nodes:
                self.refuse(f"has more than {self.limits.nodes} nodes")
            if self.seen > self.limits.fields:
                self.refuse(f"has more than {self.limits.fields} fields")
            yield one

    def numbers(self, wire: int, at: int, stop: int) -> list[int]:
        """The first numbers of a repeated field, packed or not."""
        if wire != BYTES:
            return [signed(at)]
        self.packed += stop - at
        if self.packed > self.limits.packed:
            self.refuse(f"writes more than {self.limits.packed >> 20} MiB of numbers in packed form")
        found: list[int] = []
        while at < stop and len(found) <= MOST_DIMENSIONS:
            value, at = varint(self.data, at, stop)
            found.append(signed(value))
        return found

    def elements(self, dims: list[int], kind: int = 1) -> int:
        """How many elements these dimensions make."""
        if kind not in BITS and kind != TEXT:
            self.refuse(f"has a tensor of element type {kind}, which ONNX does not know")
        if len(dims) > MOST_DIMENSIONS or any(size < 0 for size in dims):
            self.refuse(f"has a tensor of dimensions {dims[:9]}")
        if (count := math.prod(dims)) > self.limits.elements:
            self.refuse(f"has a tensor of {count} elements")
        return count

    def tensor(self, start: int, end: int) -> bytes | None:
        """Check that a tensor has the data that it says; move what is large out of the skeleton."""
        dims, kind, elsewhere, typed = list[int](), 0, 0, 0
        blobs, entries = list[Field](), dict[str, str]()
        for one in self.fields("Tensor", start, end):
            number, wire, _, at, stop = one
            if number == 1:
                dims += self.numbers(wire, at, stop)
            elif number == 2:
                kind = at
            elif number == 13:
                self.entry(entries, at, stop)
            elif number == 14:
                elsewhere = at
            elif number in FLAT and wire == BYTES:
                blobs.append(one)
            elif number in TYPED:
                typed += 1 if number == TEXT_DATA else 8 * len(self.numbers(wire, at, stop)) + 8 * (stop - at)
        count = self.elements(dims, kind)
        need = -(-count * BITS.get(kind, 0) // 8)
        if entries or elsewhere:
            self.outside(entries, need, alone=kind != TEXT and not blobs and not typed)
            return None
        if len(blobs) == 1 and not typed and FLAT[blobs[0][0]] in (0, kind):
            return self.moved(start, end, blobs[0], need)
        if count > typed + sum(stop - at for *_, at, stop in blobs):
            self.refuse(f"has a tensor at byte {start} that says {count} elements and does not hold them")
        return None

    def moved(self, start: int, end: int, blob: Field, need: int) -> bytes | None:
        """The tensor without its data, which the skeleton finds in the model file."""
        _, _, begin, at, stop = blob
        if stop - at != need:
            self.refuse(f"has a tensor at byte {start} that says {need} bytes and holds {stop - at}")
        if need <= KEPT:
            return None
        where = {"location": self.path.name, "offset": str(at), "length": str(need)}
        entries = [encode(13, encode(1, k.encode()) + encode(2, v.encode())) for k, v in where.items()]
        return b"".join([self.data[start:begin], self.data[stop:end], *entries, encode(14, 1)])

    def entry(self, entries: dict[str, str], start: int, end: int) -> None:
        """One key and value of external data."""
        texts = {1: "", 2: ""}
        for number, wire, begin, at, stop in self.fields("Entry", start, end):
            if wire != BYTES or stop - at > LONGEST_TEXT:
                raise WireError(f"no text at byte {begin}, where a path or a number belongs")
            texts[number] = self.data[at:stop].decode()
        if texts[1] in entries:
            self.refuse(f"names the {texts[1]} of a tensor's external data twice")
        entries[texts[1]] = texts[2]

    def outside(self, entries: dict[str, str], need: int, *, alone: bool) -> None:
        """External data must be all that a tensor has, and lie in a file in the model's folder."""
        if not alone:
            self.refuse("has a tensor with data inside the file and outside, or with text outside")
        if not self.has_folder:
            self.refuse(f"names a file, {entries.get('location', '')[:80]!r}, and has no folder")
        self.external.add(check_external(self.path, entries, need))
