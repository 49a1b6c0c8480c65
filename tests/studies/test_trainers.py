"""Weights out of a file whose BatchNorm was folded."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from jetpress.pipeline.pruning.norms import settle
from jetpress.pipeline.sparse.walking import traced
from studies.trainers import folded


class Layer(nn.Module):
    """As Ultralytics calls it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()  # type: ignore[no-any-return]


def network(classes: int) -> nn.Sequential:
    return nn.Sequential(Layer(3, 8), Layer(8, 16), nn.Conv2d(16, classes, 1)).eval()


def written(net: nn.Sequential, path: Path) -> Path:
    """The weights of ``net``, folded, by the names that an export gives them."""
    held = []
    for number, part in enumerate(net):
        fused = fuse_conv_bn_eval(part.conv, part.bn) if isinstance(part, Layer) else part
        inside = f"{number}.conv" if isinstance(part, Layer) else str(number)
        held += [
            numpy_helper.from_array(one.detach().numpy(), f"{inside}.{name}")
            for name, one in fused.named_parameters()
        ]
    onnx.save(helper.make_model(helper.make_graph([], "folded", [], [], held)), path)
    return path


def test_folded_weights_give_the_same_function_and_settle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, fresh, images = network(5), network(5), torch.randn(4, 3, 12, 12)
    for one in trained:
        if isinstance(one, Layer):
            one.bn.running_mean.normal_()  # type: ignore[union-attr]
            one.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.normal_(one.bn.weight)
            nn.init.normal_(one.bn.bias)
    assert folded.load(fresh, written(trained, tmp_path / "folded.onnx")) == []
    with torch.no_grad():
        wanted = trained(images)
        assert torch.allclose(fresh(images), wanted, atol=1e-5)
        settle(traced(fresh, [(images,)]), [(images,)])
        assert torch.allclose(fresh(images), wanted, atol=1e-5)
        fresh.train()  # statistics of the batch are those that it has now
        assert torch.allclose(fresh(images), wanted, atol=1e-4)


def test_a_head_for_other_classes_stays_as_built(tmp_path: Path) -> None:
    fresh = network(3)
    before = fresh[2].weight.clone()
    assert folded.load(fresh, written(network(5), tmp_path / "folded.onnx")) == ["2"]
    assert torch.equal(fresh[2].weight, before)
