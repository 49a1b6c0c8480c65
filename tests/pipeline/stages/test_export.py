"""What is asked for is what is in the file, and the file is nothing but the network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxscript import rewriter
from torch import Tensor
from torchvision.ops import deform_conv2d

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.graph.exporting import opset_of, to_onnx
from jetpress.pipeline.graph.simplify import RULES
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.store.facts.onnx_file import TensorSpec
from tests.equivalence.networks import (
    IMAGE,
    LOWERED,
    Branches,
    FixedBatch,
    Length,
    TurnedAttention,
    Warp,
    checkpoint,
    network,
    onnx_of,
)
from tests.pipeline.graph.outputs import outputs


def worst(made: Network, proto: onnx.ModelProto, batch: int = 1) -> float:
    """Largest difference to PyTorch over the largest value."""
    inputs = models.example_inputs(made.model.inputs, batch)
    with torch.no_grad():
        expected = models.outputs_of(made.module(*inputs))
    found = outputs(proto, {one.name: x.numpy() for one, x in zip(made.model.inputs, inputs, strict=True)})
    return max(
        float(np.abs(a.numpy() - b).max() / np.abs(a.numpy()).max())
        for a, b in zip(expected, found, strict=True)
    )


def operators(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


@pytest.mark.parametrize(
    ("name", "opset"), [("cnn", 13), ("cnn", 18), ("segmenter", 13), ("transformer", 20)]
)
def test_asked_is_delivered_and_equal(name: str, opset: int) -> None:
    proto = onnx_of(name, opset=opset)
    assert opset_of(proto) == opset
    assert worst(network(name), proto) < 1e-5
    assert operators(proto)["BatchNormalization"] == 0
    assert operators(proto)["HardSwish"] == (name == "cnn" and opset == 18)


def test_open_batch_without_layer_normalization() -> None:
    proto = onnx_of("transformer", opset=17, ir_version=8, dynamic_batch=True, lower=LOWERED)
    assert (opset_of(proto), proto.ir_version) == (17, 8)
    assert operators(proto)["LayerNormalization"] == 0
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in (1, 3, 8):
        assert worst(network("transformer"), proto, batch) < 1e-5


def test_several_inputs_and_a_dict_of_outputs() -> None:
    made = network("two_inputs", ("scores", "again", "positive"))
    proto = to_onnx(made.module, made.model.inputs, made.model.outputs, ExportConfig(opset=13, batch=2))
    assert [value.name for value in proto.graph.input] == ["image", "kind"]
    assert [value.name for value in proto.graph.output] == ["scores", "again", "positive"]
    assert worst(made, proto, 2) < 1e-5


def test_wrong_number_of_output_names() -> None:
    with pytest.raises(RecipeError, match="names 2 outputs, and the network has 1"):
        to_onnx(Warp(), (IMAGE,), ("maps", "more"), ExportConfig())


def test_a_name_used_twice() -> None:
    with pytest.raises(RecipeError, match="use a name twice"):
        to_onnx(Warp(), (IMAGE,), ("input",), ExportConfig())


def test_an_operator_in_the_way_is_named() -> None:
    with pytest.raises(StageError, match=r"opset 13 cannot say .*\n.*GridSample") as error:
        to_onnx(Warp(), (IMAGE,), (), ExportConfig(opset=13))
    assert "export.opset above 13" in error.value.hint


def test_a_batch_that_forward_fixes_is_not_passed_off_as_open() -> None:
    with pytest.raises(StageError, match="open batch was asked for, and forward fixes it at 2"):
        to_onnx(FixedBatch(), (IMAGE,), (), ExportConfig(dynamic_batch=True))


@pytest.mark.parametrize("made", [Length(), TurnedAttention()], ids=["len(x)", "turned attention"])
def test_an_open_batch_that_takes_a_second_look(made: torch.nn.Module) -> None:
    proto = to_onnx(made, (IMAGE,), (), ExportConfig(opset=13, dynamic_batch=True))
    for batch in (1, 3):
        (image,) = models.example_inputs((IMAGE,), batch)
        (found,) = outputs(proto, {"input": image.numpy()})
        with torch.no_grad():
            assert np.allclose(found, made(image).numpy(), atol=1e-6)


def test_no_type_is_lost_in_attention() -> None:
    """Without it a CastLike would stay, which TensorRT 8.5 lacks."""
    found = operators(to_onnx(TurnedAttention(), (IMAGE,), (), ExportConfig(opset=17)))
    assert (found["Softmax"], found["CastLike"]) == (1, 0)


def test_every_rule_of_the_exporters_own_optimizer_but_one() -> None:
    assert len(RULES) == len(rewriter._DEFAULT_REWRITE_RULES) - 1


class Contracted(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("B C H W, B D H W -> B C D", x, x)


def test_letters_of_einsum_are_those_that_tensorrt_takes(tmp_path: Path) -> None:
    inputs = (InputConfig(shape=(3, 4, 5)),)
    proto = to_onnx(Contracted(), inputs, (), ExportConfig())
    equations = [node.attribute[0].s.decode() for node in proto.graph.node if node.op_type == "Einsum"]
    assert equations == ["abcd,aecd->abe"]
    assert (
        worst(Network(Contracted(), ModelConfig(builder="einsum", inputs=inputs), DataConfig()), proto) < 1e-5
    )
    path = tmp_path / "model.onnx"
    for equation, taken in ((equations[0], True), ("aBcd,aecd->aBe", False)):
        proto.graph.node[0].attribute[0].s = equation.encode()
        path.write_bytes(proto.SerializeToString())
        for target in ("xavier", "thor"):
            assert preflight(path, TARGETS[target], trial=False).ok == taken


class Deformed(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return deform_conv2d(x, x.new_zeros(1, 18, 4, 4), x.new_ones(2, 3, 3, 3), padding=1)


def test_an_operator_that_is_younger_than_the_opset() -> None:
    """DeformConv came with opset 19; TensorRT has it since 10.1."""
    inputs = (InputConfig(shape=(3, 4, 4)),)
    for opset in (13, 18):
        with pytest.raises(StageError, match=r"DeformConv .* since opset 19") as error:
            to_onnx(Deformed(), inputs, (), ExportConfig(opset=opset))
        assert "export.opset = 19" in error.value.hint
    proto = to_onnx(Deformed(), inputs, (), ExportConfig(opset=19))
    assert [node.op_type for node in proto.graph.node].count("DeformConv") == 1


def test_a_network_that_does_not_export() -> None:
    with pytest.raises(StageError, match="PyTorch cannot export Branches to ONNX") as error:
        to_onnx(Branches(), (IMAGE,), (), ExportConfig())
    assert "branch on the values" in error.value.hint


def test_stage_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    saved = checkpoint(network("cnn"), tmp_path / "checkpoint")
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(export(ExportConfig(opset=17, ir_version=8, lower=()), saved, tmp_path / name))
    one, two = ((artifact.path / "model.onnx").read_bytes() for artifact in made)
    assert one == two
    assert made[0].facts == made[1].facts
    facts = made[0].facts
    assert (facts.opset, facts.ir_version, facts.bytes) == (17, 8, len(one))
    assert facts.inputs == (TensorSpec("input", "float32", (1, 3, 16, 16)),)
    assert facts.outputs == (TensorSpec("output", "float32", (1, 10)),)

    proto = onnx.load_from_string(one)
    assert facts.nodes == len(proto.graph.node)
    for secret in (b"/work", b"site-packages", b"torch", str(Path.home()).encode(), str(tmp_path).encode()):
        assert secret not in one
    assert not proto.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert {"stem.0/Conv", "body.0/Conv", "head/Gemm"} <= set(names)
    assert {"stem.0.weight", "body.0.bias", "head.weight"} <= {one.name for one in proto.graph.initializer}


def test_trained_zeros_survive_batchnorm() -> None:
    made = network("cnn")
    with torch.no_grad():
        made.module.get_parameter("body.0.weight")[:, ::2] = 0
    proto = to_onnx(made.module, made.model.inputs, (), ExportConfig())
    weight = next(
        onnx.numpy_helper.to_array(one) for one in proto.graph.initializer if one.name == "body.0.weight"
    )
    assert not weight[:, ::2].any()
    assert weight[:, 1::2].all()
    assert worst(made, proto) < 1e-5


@pytest.mark.parametrize(
    ("name", "opset"), [("cnn", 13), ("cnn", 18), ("segmenter", 13), ("transformer", 20)]
)
def test_tensorrt_rtx_parses_and_builds(name: str, opset: int) -> None:
    trt = pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed: pip install 'jetpress[rtx]'"
    )
    proto = onnx_of(name, opset=opset)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    definition = builder.create_network(0)
    parser = trt.OnnxParser(definition, logger)
    assert parser.parse(proto.SerializeToString()), [
        str(parser.get_error(i)) for i in range(parser.num_errors)
    ]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(definition, config)
    assert engine is not None
    assert engine.nbytes > 1000
