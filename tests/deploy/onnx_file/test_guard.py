"""What the guard lets pass, and that its skeleton is the same model. What it refuses: tests/attacks."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from jetpress.deploy.errors import TrustError
from jetpress.deploy.onnx_file import wire
from jetpress.deploy.onnx_file.guard import Limits, check_bytes, check_onnx
from tests.attacks.onnx_files import model, outside, write


def test_good_files_pass(tmp_path: Path) -> None:
    inner = numpy_helper.from_array(np.zeros((3, 4), np.float32), "a")
    path = write(tmp_path, model(inner, outside("weights/w.bin", 4, 16)))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(bytes(20))
    found = check_onnx(path)
    assert (found.nodes, found.external) == (1, (tmp_path / "weights" / "w.bin",))
    check_onnx(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert check_bytes(model(inner).SerializeToString()).nodes == 1


def test_another_file(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"SHA-256 .* expected 00"):
        check_onnx(write(tmp_path, model()), "00")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(size=10), "allowed are 1 to 10"),
        (Limits(nodes=2), "more than 2 nodes"),
        (Limits(fields=9), "more than 9 fields"),
        (Limits(depth=1), "deeper than 1 levels"),
        (Limits(elements=11), "12 elements"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, said: str) -> None:
    inner = numpy_helper.from_array(np.zeros((3, 4), np.float32), "a")
    with pytest.raises(TrustError, match=said):
        check_onnx(write(tmp_path, model(inner, nodes=3)), limits=limits)


@pytest.mark.parametrize(
    ("content", "said"),
    [(bytes(11), "holds 11"), (bytes(13), "holds 13"), (b"", "holds 0")],
)
def test_a_tensor_holds_what_it_says(tmp_path: Path, content: bytes, said: str) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    tensor.raw_data = content
    with pytest.raises(TrustError, match=said):
        check_onnx(write(tmp_path, model(tensor)))


KINDS = [np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_]


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 60), max_size=3), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_skeleton_is_the_same_model(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[type, list[int], bool]]
) -> None:
    tensors = []
    for at, (kind, shape, raw) in enumerate(wanted):
        array = np.random.default_rng(at).integers(0, 100, shape).astype(kind)
        made = numpy_helper.from_array(array, f"w{at}")
        if not raw and kind in (np.float32, np.float64, np.int64, np.int32):
            made = helper.make_tensor(f"w{at}", made.data_type, shape, array.ravel().tolist())
        tensors.append(made)
    inner = helper.make_node("Constant", [], ["c"], value=tensors[0])
    proto = model(*tensors)
    proto.graph.node.append(inner)
    path = write(tmp_path_factory.mktemp("same"), proto)
    found = check_onnx(path)
    again = onnx.load_model_from_string(found.content)
    load_external_data_for_model(again, str(path.parent))
    for one, other in zip(proto.graph.initializer, again.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
    np.testing.assert_array_equal(
        numpy_helper.to_array(proto.graph.node[1].attribute[0].t),
        numpy_helper.to_array(again.graph.node[1].attribute[0].t),
    )
    assert [one.name for one in again.graph.node] == [one.name for one in proto.graph.node]
    assert len(found.content) < 20_000 + sum(
        40 * np.prod(shape, dtype=int) for _, shape, raw in wanted if not raw
    )


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_end_in_a_verdict(content: bytes) -> None:
    with suppress(TrustError):
        check_bytes(content)


@given(st.integers(1, 1000), st.one_of(st.binary(max_size=300), st.integers(0, 2**64 - 1)))
def test_fields_are_read_as_they_are_written(number: int, content: bytes | int) -> None:
    data = wire.encode(number, content)
    ((found, kind, begin, at, end),) = wire.fields(data, 0, len(data))
    assert (found, begin) == (number, 0)
    if isinstance(content, int):
        assert (kind, at) == (wire.VARINT, content)
    else:
        assert (kind, data[at:end]) == (wire.BYTES, content)
