"""Graphs run by name, in portions that they take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import session

WEIGHT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def graph(batch: int | str, inner: str = "hidden") -> onnx.ModelProto:
    """``scores = relu(x w + shift)`` and ``size``, of ``x [batch, 3]`` and ``shift [batch, 4]``, INT32."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Cast", ["shift"], ["shift_float"], to=1),
        helper.make_node("Add", ["product", "shift_float"], [inner]),
        helper.make_node("Relu", [inner], ["scores"]),
        helper.make_node("ReduceSum", ["scores", "axes"], ["size"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3]),
        helper.make_tensor_value_info("shift", onnx.TensorProto.INT32, [batch, 4]),
    ]
    outputs = [
        helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [batch, 4]),
        helper.make_tensor_value_info("size", onnx.TensorProto.FLOAT, [batch]),
    ]
    constants = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(np.array([1]), "axes")]
    made = helper.make_graph(nodes, "test", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(count: int) -> tuple[session.Array, session.Array]:
    rng = np.random.default_rng(count)
    return rng.standard_normal((count, 3)).astype(np.float32), rng.integers(-3, 3, (count, 4))


def expected(x: session.Array, shift: session.Array) -> session.Array:
    return np.asarray(np.maximum(x @ WEIGHT + shift, 0))


@given(batch=st.sampled_from(["n", 1, 2, 5, 8]), count=st.integers(1, 9), at_once=st.integers(1, 10))
def test_every_sample_comes_back_once_and_in_order(batch: int | str, count: int, at_once: int) -> None:
    model, given_ = graph(batch), samples(count)
    run, found, sizes = session.load(model), list[session.Array](), list[int]()
    for real, feed in session.feeds(model, given_, at_once):
        assert feed["x"].shape[0] == (batch if isinstance(batch, int) else real)
        assert feed["shift"].dtype == np.int32  # from NumPy's INT64
        found.append(session.cut(run(feed)["scores"], real))
        sizes.append(real)
    assert np.allclose(np.concatenate(found), expected(*given_), atol=1e-5)
    portion = batch if isinstance(batch, int) else at_once
    assert sizes == [min(portion, count - start) for start in range(0, count, portion)]


def test_a_portion_is_filled_up_with_its_own_first_sample() -> None:
    x, shift = samples(5)
    last = list(session.feeds(graph(3), (x, shift), 1))[-1]
    assert last[0] == 2
    assert np.array_equal(last[1]["x"], x[[3, 4, 3]])


def test_tensors_are_taken_as_arrays_are() -> None:
    given_ = samples(3)
    ((real, feed),) = session.feeds(graph("n"), [torch.from_numpy(one) for one in given_], 3)
    assert real == 3
    assert np.array_equal(feed["x"], given_[0])


@pytest.mark.parametrize("inner", ["hidden", "block[0]", "a*b?"])
def test_inner_tensors_are_shown_behind_the_outputs(inner: str) -> None:
    model = graph("n", inner)
    ((_, feed),) = session.feeds(model, samples(2), 2)
    found = session.load(model, shown=[inner, "scores"])(feed)
    assert list(found) == ["scores", "size", inner]
    assert np.array_equal(np.maximum(found[inner], 0), found["scores"])
    assert [one.name for one in model.graph.output] == ["scores", "size"]  # what was given stays as it is


def test_every_tensor_can_be_shown() -> None:
    model = graph("n")
    ((_, feed),) = session.feeds(model, samples(2), 2)
    found = session.load(model, shown=session.tensors(model), optimise=False, threads=1)(feed)
    assert set(found) == {"product", "shift_float", "hidden", "scores", "size"}


def test_weights_may_lie_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(graph(2), path, save_as_external_data=True, size_threshold=60, location="model.onnx.data")
    assert (tmp_path / "model.onnx.data").is_file()
    run = session.load(path, shown=["hidden"])
    ((_, feed),) = session.feeds(path, samples(2), 1)
    assert np.allclose(run(feed)["scores"], expected(*samples(2)), atol=1e-5)
    assert np.array_equal(np.maximum(run(feed)["hidden"], 0), run(feed)["scores"])


def test_one_number_is_cut_to_an_array() -> None:
    assert session.cut(torch.tensor(3.0), 1).tolist() == [3.0]
    assert session.cut(np.arange(4), 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((np.zeros((2, 3), np.float32),), "1 inputs are given, and the graph takes 2"),
        ((np.zeros((2, 3), np.float32), np.zeros((1, 4), np.int32)), "different numbers of samples: x 2, shift 1"),
        ((np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)), "input 'shift' is float32"),
    ],
)  # fmt: skip
def test_other_inputs_are_refused(given_: tuple[session.Array, ...], said: str) -> None:
    with pytest.raises(StageError, match=said):
        list(session.feeds(graph("n"), given_, 2))


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({"x": np.zeros((2, 5), np.float32), "shift": np.zeros((2, 4), np.int32)}, r"x float32 \[2, 5\].*dimensions"),
        ({"x": np.zeros((2, 3)), "shift": np.zeros((2, 4), np.int32)}, r"x float64 \[2, 3\].*tensor\(double\)"),
        ({"x": np.zeros((2, 3), np.float32)}, r"\['shift'\]\) are missing"),
        ({"x": np.zeros((1, 3), np.float32), "shift": np.zeros((1, 4), np.int32)}, r"Got: 1 Expected: 2"),
    ],
)  # fmt: skip
def test_a_feed_that_does_not_fit_is_told_from_what_does(feed: session.Feed, said: str) -> None:
    with pytest.raises(StageError, match=said) as caught:
        session.load(graph(2))(feed)
    assert caught.value.hint == "it takes x tensor(float) [2, 3], shift tensor(int32) [2, 4]"


def test_a_graph_that_is_none_is_refused() -> None:
    broken = graph("n")
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(StageError, match=r"cannot load the graph.*NoSuchOperator"):
        session.load(broken)
    with pytest.raises(StageError, match="cannot load the graph"):
        session.load(graph("n"), shown=["nowhere"])
