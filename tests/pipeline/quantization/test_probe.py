"""What each layer loses alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from jetpress.pipeline.graph.session import Array, Feed
from jetpress.pipeline.quantization import calibrate
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.outputs import balanced
from jetpress.pipeline.quantization.probe import ORDERED, Probe
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[B, 4] x) => (float[B, 4] z) {
  y = MatMul (x, v)
  z = MatMul (y, w)
}"""


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_layers_are_put_in_order_by_few_samples(batch: int) -> None:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT.replace("B,", f"{batch},"))
    weights = {name: rng.standard_normal((4, 4)).astype(np.float32) for name in "vw"}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(one, name) for name, one in weights.items())
    for number, node in enumerate(proto.graph.node):
        node.name = f"layer{number}"
    proto = onnx.shape_inference.infer_shapes(proto)
    feeds: list[Feed] = [{"x": rng.standard_normal((batch, 4)).astype(np.float32)} for _ in range(20)]
    judged, seen = balanced(proto, feeds), list[int]()

    def scores(graph: onnx.ModelProto, some: Sequence[Feed]) -> Array:
        seen.append(len(some))
        return judged(graph, some).reshape(len(some) * batch, -1)

    subject = Subject(proto, DIALECTS["onnxruntime"])
    probe = Probe(QuantizeConfig(), subject, scores, feeds)
    ranges = calibrate.ranges(calibrate.look(proto, subject.tensors(), feeds), "max", subject.dialect, 99.99)
    found = probe.sensitivity(subject.names, ranges)
    assert seen == [20, *[-(-ORDERED // batch)] * 2]
    assert set(found) == {"layer0", "layer1"}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(0 < error < 1 for error in found.values())
