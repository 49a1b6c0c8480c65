"""A module in hand becomes a checked file for a target; a file is held against a module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import jetpress
from jetpress.deploy.errors import RecipeError, StageError
from tests.pipeline.functions.small import convolutions, images


@pytest.mark.parametrize(("target", "opset"), [("nano", 13), ("xavier", 17), ("orin-nano", 18)])
def test_a_module_is_exported_for_a_target(tmp_path: Path, target: str, opset: int) -> None:
    module = convolutions().train().double()
    made = jetpress.export(module, images(), tmp_path / "new" / "slim.onnx", target=target)
    assert (made.opset, made.target) == (opset, target)
    assert onnx.load(made.path).opset_import[0].version == opset
    assert made.equality.same
    assert made.equality.max_relative is not None
    assert made.equality.max_relative < 1e-4
    assert module.training
    assert next(module.parameters()).dtype == torch.float64
    assert [one.name for one in made.path.parent.iterdir()] == ["slim.onnx"]
    said = str(made)
    assert f"opset {opset}, " in said
    assert f"for {target}\nPyTorch = ONNX Runtime within " in said


def test_keys_are_those_of_a_recipe(tmp_path: Path) -> None:
    made = jetpress.export(
        convolutions(), {"camera": images()}, tmp_path / "a.onnx", target="orin-nano", outputs=["classes"],
        input="uint8_nhwc", output="argmax", dynamic_batch=True, max_batch=4, mean=[0.5] * 3, std=[0.25] * 3,
    )  # fmt: skip
    (taken,), (given,) = made.inputs, made.outputs
    assert (taken.name, taken.dtype, taken.shape) == ("camera", "uint8", (1, 16, 16, 3))
    assert taken.profile is not None
    assert taken.profile.max[0] == 4
    assert given.name == "classes"
    with pytest.raises(RecipeError, match=r"no key 'export.dynamic'") as caught:
        jetpress.export(convolutions(), images(), tmp_path / "b.onnx", dynamic=True)
    assert "dynamic_batch" in caught.value.hint


def test_what_cannot_be_exported_leaves_no_file(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(x)[1]

    with pytest.raises(StageError):
        jetpress.export(Odd(), images(), tmp_path / "odd.onnx", target="xavier")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RecipeError, match="does not take float32"):
        jetpress.export(convolutions(), torch.zeros(1, 4, 8, 8), tmp_path / "odd.onnx")


def test_equivalent_says_whether_and_where(tmp_path: Path) -> None:
    module, path = convolutions(), tmp_path / "a.onnx"
    jetpress.export(module, images(), path)
    assert jetpress.equivalent(module, path, [images(3), (images(2), torch.zeros(2))])
    with torch.no_grad():
        module.get_parameter("3.weight").mul_(1.1)
    found = jetpress.equivalent(module, path, images())
    assert not found
    assert "'3'" in found.words  # the module that differs first
    with pytest.raises(RecipeError, match="no file"):
        jetpress.equivalent(module, tmp_path / "none.onnx", images())


def test_check_takes_a_file_or_a_module(tmp_path: Path) -> None:
    found = jetpress.check(convolutions(), images(), target="nano")
    assert found.ok
    assert str(found).startswith("ok   Sequential.onnx should run on nano")
    node = onnx.helper.make_node("Unheard", ["x"], ["y"], domain="own")
    value = [onnx.helper.make_tensor_value_info(name, 1, [1, 2]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid("own", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), tmp_path / "own.onnx")
    assert not jetpress.check(tmp_path / "own.onnx", target="nano").ok
    with pytest.raises(RecipeError, match="exporting it"):
        jetpress.check(convolutions(), target="nano")


def test_what_a_compiler_or_a_parallel_training_lays_around_is_taken_off(tmp_path: Path) -> None:
    module = convolutions()
    made = jetpress.export(nn.DataParallel(torch.compile(module)), images(), tmp_path / "a.onnx")  # type: ignore[arg-type]
    feed = {"input": images(1).numpy()}
    from jetpress.pipeline.graph import session

    (got,) = session.load(made.path)(feed).values()
    expected = module.eval()(images(1)).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
