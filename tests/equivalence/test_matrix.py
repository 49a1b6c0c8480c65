"""The matrix: families x {dense, pruned, 2:4, INT8} x opset {13, 17, 20}, each held against PyTorch; and FP16.

The exporter is slow, so each variant is traced once at 18, from which 13 and 17 are made, and once at 20.
``studies/opsets.py`` and ``studies/coverage.py`` run every network there is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.targets import find
from jetpress.pipeline.graph import fp16_layers, tolerance
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.exporting import checked as _checked
from jetpress.pipeline.graph.exporting import opset_of, to_opset
from jetpress.pipeline.graph.exporting import tidy as _tidy
from jetpress.pipeline.graph.simplify import simplify
from jetpress.pipeline.graph.trace import trace
from jetpress.pipeline.network import channels, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.quantization import calibrate
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.sparse.masks import best_mask
from jetpress.pipeline.sparse.rule import sparse_layers
from jetpress.pipeline.stages import equivalence
from tests.equivalence.networks import LOWERED, network

FAMILIES = ("cnn", "transformer", "segmenter")
VARIANTS = ("dense", "pruned", "2:4")
OPSETS = (13, 17, 20)


def inputs_of(made: Network, count: int) -> tuple[Tensor, ...]:
    return models.example_inputs(made.model.inputs, count, seed=3)


@cache
def variant(family: str, kind: str) -> Network:
    made = network(family)
    if kind == "pruned":
        graph = channels.analyse(made.module, inputs_of(made, 2))
        removal = {group.name: list(range(group.units // 2)) for group in graph.groups if group.units > 1}
        made.module, step = channels.cut(made.module, inputs_of(made, 2), graph, removal)
        assert step["units"], "nothing was pruned"
    if kind == "2:4":
        with torch.no_grad():
            for weight in eligible(made):
                weight.masked_fill_(~best_mask(weight), 0)
    made.module.eval()
    return made


def eligible(made: Network) -> list[Tensor]:
    """Weights of convolutions and products with a multiple of 4 input channels."""
    other = {id(layer.weight) for layer in made.module.modules() if isinstance(layer, nn.ConvTranspose2d)}
    weights = [
        weight for weight in made.module.parameters() if weight.ndim in (2, 4) and id(weight) not in other
    ]
    return [weight for weight in weights if weight.shape[1] % 4 == 0]


@cache
def traced(family: str, kind: str, opset: int) -> bytes:
    """Simplified, at PyTorch's own opset; what follows changes it in place, so each starts from these bytes."""
    made = variant(family, kind)
    model = trace(made.module, made.model.inputs, (), opset)
    simplify(model)
    return ir.to_proto(model).SerializeToString()


@cache
def exported(family: str, kind: str, opset: int) -> bytes:
    model = ir.from_proto(onnx.load_from_string(traced(family, kind, max(opset, 18))))
    config = ExportConfig(opset=opset, lower=LOWERED if opset < 18 else ())
    return _checked(to_opset(model, variant(family, kind).model.inputs, config)[0]).SerializeToString()


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_is_the_network(family: str, kind: str, opset: int) -> None:
    made, proto = variant(family, kind), onnx.load_from_string(exported(family, kind, opset))
    assert opset_of(proto) == opset
    given = cases(inputs_of(made, 8), 1, edges=True)
    found = equivalence.compare(made, proto, given, tolerance.LIMITS["fp32"])
    assert max(one.max_relative for one in found) < 1e-5
    if kind == "2:4":
        layers = [one for one in sparse_layers(proto) if one.eligible]
        assert len(layers) >= len(eligible(made)) > 0
        assert all(one.is_2_4 for one in layers)


BOARDS = {13: "nano", 17: "xavier", 20: "orin-nano"}
"""Opset -> a board whose TensorRT reads it."""


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_and_the_boards_tables_take_it(family: str, opset: int, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(exported(family, "dense", opset))
    found = preflight(tmp_path / "model.onnx", find(BOARDS[opset]), precision="fp16", trial=False)
    assert found.ok, found.problems


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_and_so_is_the_file_in_fp16(family: str, kind: str) -> None:
    made, proto = variant(family, kind), onnx.load_from_string(exported(family, kind, 20))
    halved, facts = fp16_layers.to_fp16(proto, cases(inputs_of(made, 8), 1, edges=True))
    _tidy(halved, None)
    assert len(facts.fp32) == 0
    given = cases(inputs_of(made, 8), 1, edges=True)
    found = equivalence.compare(made, _checked(halved), given, tolerance.LIMITS["fp16"])
    assert max(one.max_relative for one in found) > 1e-6, "it was not rounded"


IN_INT8 = [(family, "dense", opset) for family in FAMILIES for opset in OPSETS] + [
    (family, "2:4", 17) for family in FAMILIES
]
WRITTEN = {13: "tensorrt8", 17: "tensorrt", 20: "onnxruntime"}
"""Opset -> the dialect of a runtime that takes it."""


@pytest.mark.parametrize(("family", "kind", "opset"), IN_INT8)
def test_and_in_int8(family: str, kind: str, opset: int) -> None:
    """Ranges from the same images; what INT8 adds is noise, and the limits say how much of it."""
    made, proto = variant(family, kind), onnx.load_from_string(exported(family, kind, opset))
    (images,) = inputs_of(made, 16)
    weights = {id(one) for one in eligible(made)}
    sparse = tuple(name for name, one in made.module.named_parameters() if id(one) in weights)
    subject = Subject(proto, DIALECTS[WRITTEN[opset]], masked=sparse if kind == "2:4" else ())
    feeds = [{proto.graph.input[0].name: one[None].numpy()} for one in images]
    seen = calibrate.look(proto, subject.tensors(), feeds, counted=False)
    quantized = subject.graph(calibrate.ranges(seen, "max", subject.dialect))
    assert opset_of(quantized) == opset
    given = cases((images,), 1, edges=False)  # INT8 is not judged outside of its ranges
    found = equivalence.compare(made, quantized, given, tolerance.LIMITS["int8"])
    assert max(one.max_relative for one in found) > 1e-4, "it was not rounded"
    if kind == "2:4":
        layers = [one for one in sparse_layers(quantized) if one.eligible]
        assert len(layers) >= len(weights) > 0
        assert all(one.is_2_4 for one in layers)
