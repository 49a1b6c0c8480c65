"""Small networks as others would give them: pruned ones, ONNX files, weights in every format; and their readers."""

from __future__ import annotations

import io
import json
import random
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

import jetpress
from jetpress.deploy.onnx_file.guard import check_bytes, check_onnx
from jetpress.pipeline.functions import saving
from jetpress.pipeline.network.checkpoints import Choice, load_weights
from studies.fuzz.mutations import changed_json

DESCRIPTION, WEIGHTS = "pruned.json", "weights.safetensors"
BYPASSED = b'{"blocks": ["block"]}'


class Block(nn.Module):
    """A convolution beside a shortcut: what may go as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, 4, height, width]`` to the same."""
        return x + torch.relu(self.conv(x))


class Small(nn.Module):
    """A convolution, a block and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        # what a large input takes is the network's own matter
        self.first = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.block = Block()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, 3, 8, 8]`` to ``[batch, 2]``."""
        scores: Tensor = self.head(self.block(torch.relu(self.first(x))).mean((2, 3)))
        return scores


@cache
def _slim() -> dict[str, bytes]:
    """The files of a network that lost channels."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        slim = jetpress.prune(Small().eval(), torch.zeros(1, 3, 8, 8), ratio=0.5, channel_multiple=1)
        jetpress.save(slim, folder)
        return {name: (Path(folder) / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)}


def histories() -> list[bytes]:
    """Channels cut; and a block bypassed after it."""
    told = json.loads(_slim()[DESCRIPTION])
    history = [*told["history"], {"blocks": ["block"]}]
    return [json.dumps(told).encode(), json.dumps({**told, "history": history}).encode()]


def changed_history(data: bytes, dice: random.Random) -> bytes | None:
    """Mostly in the history itself: all else is compared with what the history makes of the network.

    A cut in a graph is one of torch.export, which takes a second: it is asked for once in 5,000 times.
    """
    try:
        told = json.loads(data)
        if dice.random() < 0.3 or not isinstance(told, dict):
            new = changed_json(data, dice)
        else:
            history = changed_json(json.dumps(told["history"]).encode(), dice)
            new = history and json.dumps({**told, "history": json.loads(history)}).encode()
    except (KeyError, ValueError, RecursionError):
        return None
    return new if new is None or dice.random() < 0.0002 else new.replace(b'"graph": true', b'"graph": false')


def replay(data: bytes, folder: Path) -> None:
    """Load it beside the weights that belong to it, which are fewer without the block."""
    place = folder / ("without" if BYPASSED in data else "with")
    if not place.exists():
        place.mkdir()
        tensors = load_safetensors(_slim()[WEIGHTS])
        kept = {name: one for name, one in tensors.items() if place.name == "with" or "block" not in name}
        (place / WEIGHTS).write_bytes(save_safetensors(kept))
    (place / DESCRIPTION).write_bytes(data)
    saving.load(place, Small)


def models() -> list[bytes]:
    """Graphs with subgraphs, external data, sparse tensors, sequences and functions."""
    weights = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    small = numpy_helper.from_array(np.arange(4, dtype=np.int64), "s")
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=small)], "b", [], [out])
    test = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    packed = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    outside = TensorProto(name="w", data_type=1, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": "0", "length": "16"}.items():
        outside.external_data.add(key=key, value=value)
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [0, 3])
    values = helper.make_tensor("v", TensorProto.FLOAT, [2], [1.0, 2.0])
    graphs = [
        helper.make_graph([conv], "g", [image], [out], [weights]),
        helper.make_graph([conv, test], "g", [image], [out], [packed, small]),
        helper.make_graph([conv], "g", [image], [out], [outside]),
        helper.make_graph(
            [conv],
            "g",
            [image],
            [out],
            sparse_initializer=[helper.make_sparse_tensor(values, indices, [2, 2])],
        ),
        helper.make_graph([conv], "g", [helper.make_tensor_sequence_value_info("q", 1, [2])], [out]),
    ]
    made = [helper.make_model(graph) for graph in graphs]
    function = helper.make_function("d", "F", ["x"], ["y"], [conv], [helper.make_opsetid("", 17)])
    made[0].functions.append(function)
    return [model.SerializeToString() for model in made]


def guard(data: bytes, folder: Path) -> None:
    """Look it over as a file and in memory; what is let through must read as protobuf, and be no larger."""
    file, beside = folder / "model.onnx", folder / "w.bin"
    if not beside.exists():
        beside.write_bytes(bytes(16))
    file.write_bytes(data)
    skeleton = check_onnx(file)
    try:
        onnx.load_from_string(skeleton.content)
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
    if len(skeleton.content) > len(data) + 4096:
        raise AssertionError("the skeleton is larger than the file")
    if len(data) % 4 == 0:  # the same walk again
        check_bytes(data)


@cache
def _weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in nn.Linear(2, 2).state_dict().items()}


def weights() -> list[bytes]:
    """The same weights in every format, with what lies around them."""
    state = _weights()
    around = {
        "epoch": 3,
        "model": {f"module.{name}": one for name, one in state.items()},
        "score": np.float64(0.5),
    }
    found = [save_safetensors(state), b'{"weight_map": {"a": "b.safetensors"}}']
    for content, new in ((state, True), (around, True), (state, False), (around, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    arrays = io.BytesIO()
    np.savez(arrays, **{name: one.numpy() for name, one in state.items()})  # type: ignore[arg-type]
    return [*found, arrays.getvalue()]


_linear = cache(lambda: nn.Linear(2, 2))


def load(data: bytes, folder: Path) -> None:
    """Into the network that they are of."""
    file = folder / "weights.pt"
    file.write_bytes(data)
    load_weights(_linear(), file, Choice())
