"""Hostile ONNX files, made when they are needed: paths that escape the folder, and bombs.

Each ``ESCAPES`` entry fills a folder and gives the model in it; beside the folder lies a file that nobody may
read. Each ``BOMBS`` entry gives the bytes of a model that is small on disk and not in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from jetpress.deploy.onnx_file.wire import encode

SECRET = "secret.bin"


def outside(location: str, offset: object = 0, length: object = 16, name: str = "w") -> TensorProto:
    """A tensor of four floats that claims to lie at ``location``."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(*tensors: TensorProto, nodes: int = 1) -> onnx.ModelProto:
    """``y = x`` with these initializers."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    made = [helper.make_node("Identity", ["x"], [f"y{i}"], name=f"n{i}") for i in range(nodes)]
    y = helper.make_tensor_value_info("y0", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph(made, "g", [x], [y], list(tensors)))


def write(folder: Path, proto: onnx.ModelProto) -> Path:
    """The model in a folder of its own."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def _with(location: str, **facts: object) -> Callable[[Path], Path]:
    return lambda folder: write(folder, model(outside(location, **facts)))  # type: ignore[arg-type]


def _linked(make: Callable[[Path, Path], object], location: str = "w.bin") -> Callable[[Path], Path]:
    def attack(folder: Path) -> Path:
        path = write(folder, model(outside(location)))
        make(folder.parent / SECRET, folder / location.split("/")[0])
        return path

    return attack


def _sparse(folder: Path) -> Path:
    proto = model()
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    proto.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=outside(f"../{SECRET}"), indices=indices, dims=[8])
    )
    return write(folder, proto)


def _attribute(folder: Path) -> Path:
    proto = model()
    constant = helper.make_node("Constant", [], ["c"], value=outside(f"../{SECRET}"))
    proto.graph.node.append(constant)
    return write(folder, proto)


def _subgraph(folder: Path) -> Path:
    proto = model()
    inner = helper.make_graph([], "then", [], [], [outside(f"../{SECRET}")])
    proto.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    return write(folder, proto)


def _function(folder: Path) -> Path:
    proto = model()
    constant = helper.make_node("Constant", [], ["c"], value=outside(f"../{SECRET}"))
    opset = helper.make_opsetid("", 17)
    proto.functions.append(helper.make_function("local", "f", [], ["c"], [constant], [opset]))
    return write(folder, proto)


def _split(folder: Path) -> Path:
    """A Constant whose tensor comes in two halves: parsers merge them into one that leads outside."""
    whole = outside(f"../{SECRET}")
    first, second = TensorProto(), TensorProto()
    first.CopyFrom(whole)
    del first.external_data[:]
    first.ClearField("data_location")
    first.ClearField("dims")
    second.data_location = TensorProto.EXTERNAL
    second.external_data.extend(whole.external_data)
    attribute = encode(1, b"value") + encode(20, 4)
    attribute += encode(5, first.SerializeToString()) + encode(5, second.SerializeToString())
    node = encode(2, b"c") + encode(4, b"Constant") + encode(5, attribute)
    path = write(folder, model())
    path.write_bytes(path.read_bytes() + encode(7, encode(1, node)))
    return path


def _twice(folder: Path) -> Path:
    tensor = outside("w.bin")
    tensor.external_data.add(key="location", value=f"../{SECRET}")
    (folder.mkdir(exist_ok=True), (folder / "w.bin").write_bytes(bytes(16)))
    return write(folder, model(tensor))


def _model_link(folder: Path) -> Path:
    path = write(folder, model())
    link = folder / "link.onnx"
    link.symlink_to(path)
    return link


def _model_pipe(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


def _zero(secret: Path, place: Path) -> None:
    place.symlink_to("/dev/zero")


# A model from bytes and an empty base folder need no files: see the test.
ESCAPES: dict[str, Callable[[Path], Path]] = {
    "parent": _with(f"../{SECRET}"),
    "bare parent": _with(".."),
    "absolute": _with("/etc/passwd"),
    "absolute, two slashes": _with("//etc/passwd"),
    "absolute, three slashes": _with("///etc/passwd"),
    "down and up": _with(f"a/../../{SECRET}"),
    "symlink file": _linked(lambda secret, place: place.symlink_to(secret)),
    "symlink folder": _linked(lambda secret, place: place.symlink_to(secret.parent), f"data/{SECRET}"),
    "hard link": _linked(lambda secret, place: os.link(secret, place)),
    "sparse values": _sparse,
    "offset beyond the end": _linked(lambda secret, place: place.write_bytes(bytes(15))),
    "fifo": _linked(lambda secret, place: os.mkfifo(place)),
    "/dev/zero": _linked(_zero),
    "/dev/zero by name": _with("/dev/zero"),
    "constant in a node": _attribute,
    "initializer of a subgraph": _subgraph,
    "constant in a function": _function,
    "two halves of a tensor": _split,
    "two locations": _twice,
    "itself": _with("model.onnx", offset=0),
    "memory address": _with("*/_ORT_MEM_ADDR_/*", offset=4096),
    "negative offset": _with("model.onnx", offset=-16),
    "offset that overflows": _with("model.onnx", offset=2**63),
    "length in hex": _with("model.onnx", length="0x10"),
    "backslash": _with(f"..\\{SECRET}"),
    "drive": _with("C:secret"),
    "empty": _with(""),
    "folder itself": _with("."),
    "NUL": _with("w\0.bin"),
    "missing": _with("missing.bin"),
    "model behind a link": _model_link,
    "model is a pipe": _model_pipe,
}


def _nested(levels: int) -> bytes:
    """Graphs in graphs, deeper than protobuf itself would write."""
    graph = b""
    for _ in range(levels):
        graph = encode(1, encode(4, b"If") + encode(5, encode(6, graph) + encode(20, 5)))
    return encode(7, graph)


def _nested_type(levels: int) -> bytes:
    kind = encode(1, b"")
    for _ in range(levels):
        kind = encode(4, encode(1, kind))
    return encode(7, encode(11, encode(1, b"x") + encode(2, kind)))


def _dimensions() -> bytes:
    huge = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**31, 2**31])
    return model(huge).SerializeToString()


def _claims() -> bytes:
    claims = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**31 - 1], raw_data=b"1234")
    return model(claims).SerializeToString()


def _fill() -> bytes:
    """16 GiB of zeros, made by whoever folds constants."""
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [2**16, 2**16])
    proto = model(shape)
    proto.graph.node.append(helper.make_node("ConstantOfShape", ["s"], ["filled"]))
    proto.graph.output.append(helper.make_tensor_value_info("filled", TensorProto.FLOAT, None))
    return proto.SerializeToString()


def _dense() -> bytes:
    proto = model()
    one = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    at = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(onnx.SparseTensorProto(values=one, indices=at, dims=[2**31, 2**10]))
    return proto.SerializeToString()


def _self_reference() -> bytes:
    proto = model()
    proto.graph.node.append(helper.make_node("Add", ["loop", "x"], ["loop"]))
    return proto.SerializeToString()


def _recursive_function() -> bytes:
    """A function that calls itself twice: who expands it never ends."""
    proto = model()
    calls = [
        helper.make_node("f", ["a"], ["b"], domain="local"),
        helper.make_node("f", ["b"], ["c"], domain="local"),
    ]
    proto.functions.append(
        helper.make_function("local", "f", ["a"], ["c"], calls, [helper.make_opsetid("local", 1)])
    )
    proto.graph.node.append(helper.make_node("f", ["x"], ["z"], domain="local"))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    return proto.SerializeToString()


def _doubling_functions() -> bytes:
    """Thirty functions, each calls the next twice: 10^9 nodes for who expands them."""
    proto = model()
    opset = [helper.make_opsetid("local", 1), helper.make_opsetid("", 17)]
    for at in range(30):
        inner = (
            {"op_type": f"f{at + 1}", "domain": "local"} if at < 29 else {"op_type": "Identity", "domain": ""}
        )
        calls = [
            helper.make_node(inner["op_type"], [one], [two], domain=inner["domain"])
            for one, two in (("a", "b"), ("b", "c"))
        ]
        proto.functions.append(helper.make_function("local", f"f{at}", ["a"], ["c"], calls, opset))
    proto.graph.node.append(helper.make_node("f0", ["x"], ["z"], domain="local"))
    proto.opset_import.append(opset[0])
    return proto.SerializeToString()


def _duplicates() -> bytes:
    same = [helper.make_tensor("w", TensorProto.FLOAT, [1], [float(i)]) for i in range(1000)]
    return model(*same).SerializeToString()


def _packed() -> bytes:
    """64 MiB of one-byte numbers: eight times that in memory."""
    tensor = encode(1, 64 * 2**20) + encode(2, 7) + encode(7, bytes(64 * 2**20)) + encode(8, b"w")
    return encode(7, encode(5, tensor))


BOMBS: dict[str, Callable[[], bytes]] = {
    "2^31 by 2^31": _dimensions,
    "2^31 elements in 4 bytes": _claims,
    "fill 2^32": _fill,
    "sparse 2^41": _dense,
    "10^6 nodes": lambda: encode(
        7, encode(1, encode(1, b"x") + encode(2, b"y") + encode(4, b"Relu")) * 10**6
    ),
    "depth 1000": lambda: _nested(1000),
    "type depth 1000": lambda: _nested_type(1000),
    "2 GiB field": lambda: b"\x3a" + b"\xff\xff\xff\xff\x07" + bytes(100),
    "2^64 field": lambda: b"\x3a" + b"\xff" * 9 + b"\x01" + bytes(100),
    "self-reference": _self_reference,
    "recursive function": _recursive_function,
    "doubling functions": _doubling_functions,
    "duplicate names": _duplicates,
    "10^7 empty fields": lambda: encode(7, encode(2, b"g")) + b"\x72\x00" * 10**7,
    "packed numbers": _packed,
    "group": lambda: b"\x3b" * 1000,
    "endless number": lambda: b"\xff" * 1000,
    "no graph": lambda: encode(1, 8),
}
