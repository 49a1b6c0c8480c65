from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jetpress.pipeline.engine.trials import with_qdq
from jetpress.pipeline.graph import exporting
from jetpress.pipeline.graph.layers import REST, costs, owners_of
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from studies.resnet_cifar import resnet


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.qkv, self.up = (
            nn.Conv2d(3, 24, 4, 4, groups=3),
            nn.Linear(24, 72),
            nn.ConvTranspose2d(24, 5, 2, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).chunk(3, -1)
        mixed = (q @ k.transpose(1, 2)).softmax(-1) @ v
        return self.up(mixed.transpose(1, 2).unflatten(2, (8, 8)))


@pytest.mark.parametrize("module", [resnet(8), Attention()], ids=["resnet", "attention"])
@pytest.mark.parametrize("batch", [1, 3])
def test_multiply_accumulates_are_those_that_torch_counts(module: nn.Module, batch: int) -> None:
    proto = exporting.to_onnx(
        module.eval(),
        (InputConfig((3, 32, 32)),),
        (),
        ExportConfig(opset=17, dynamic_batch=True, max_batch=8),
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(batch, 3, 32, 32))
    found = costs(proto, {proto.graph.input[0].name: (batch, 3, 32, 32)})
    assert 2 * sum(one.macs for one in found.values()) == counter.get_total_flops()


def test_what_a_layer_moves() -> None:
    proto = exporting.to_onnx(resnet(8).eval(), (InputConfig((3, 32, 32)),), (), ExportConfig(opset=17))
    owners = owners_of(proto)
    found = costs(proto, {proto.graph.input[0].name: (1, 3, 32, 32)})
    first = found["conv1"]
    assert first.activations == 3 * 32 * 32 + 16 * 32 * 32
    assert first.weights == 16 * 3 * 9
    assert list(found) == [name for name in dict.fromkeys(owners.values()) if name != REST]


def test_a_layer_in_eight_bits_costs_the_same() -> None:
    proto = exporting.to_onnx(resnet(8).eval(), (InputConfig((3, 32, 32)),), (), ExportConfig(opset=17))
    inputs = {proto.graph.input[0].name: (1, 3, 32, 32)}
    quantized = with_qdq(proto, "onnxruntime")
    assert costs(quantized, inputs) == costs(proto, inputs)
