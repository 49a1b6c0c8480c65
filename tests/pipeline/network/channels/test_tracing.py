"""Networks that search: how much they give depends on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model
from torchvision.ops import nms

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network import channels
from jetpress.pipeline.network.channels import tracing
from tests.pipeline.network.channels.test_channels import IMAGE, Net, conv


def best(self: Any, x: Tensor) -> Any:
    scores = self.b(self.a(x)).flatten()
    return scores[scores > 0].topk(1).values


SEARCHES: dict[str, Callable[[Any, Tensor], Any]] = {
    "aten.index.Tensor": best,
    "aten.nonzero.default": lambda self, x: self.b(self.a(x)).flatten().gt(0).nonzero(),
    "aten.where.default": lambda self, x: torch.where(self.b(self.a(x)).flatten() > 0)[0],
    "aten.masked_select.default": lambda self, x: (y := self.b(self.a(x))).masked_select(y > 0),
    "torchvision.nms.default": lambda self, x: nms(
        (y := self.b(self.a(x)).permute(0, 2, 3, 1).reshape(-1, 4)), y[:, 0], 0.5
    ),
    "aten._unique2.default": lambda self, x: self.b(self.a(x)).flatten().unique(),
}


@pytest.mark.parametrize("any_batch", [False, True])
@pytest.mark.parametrize("operator", SEARCHES)
def test_a_search_is_refused_before_anything_else(operator: str, any_batch: bool) -> None:
    module = Net(SEARCHES[operator], a=conv(3, 8), b=conv(8, 4)).eval()
    with pytest.raises(StageError, match=rf"^Net searches: .*\({operator}\)") as error:
        channels.analyse(module, (torch.randn(IMAGE),), any_batch)
    assert str(error.value.hint).startswith("prune the part before that")


@pytest.mark.parametrize(
    "run",
    [
        lambda self, x: self.b(self.a(x))[x[:, 0, 0, 0] < 9],
        lambda self, x: self.b(self.a(x)[:, :, torch.ones(8, dtype=torch.bool)]),
        lambda self, x: self.b(self.a(x)[:, :, torch.arange(4)]),
        lambda self, x: self.b(self.a(x)) * torch.where(self.b.bias < 99)[0].sum(),
    ],
    ids=["mask of the input", "mask of nothing", "positions", "positions in a parameter"],
)
def test_what_other_weights_do_not_change_is_cut(run: Callable[[Any, Tensor], Any]) -> None:
    module, x = Net(run, a=conv(3, 8), b=conv(8, 4)).eval(), (torch.randn(IMAGE),)
    graph = channels.analyse(module, x)
    smaller, _ = channels.cut(module, x, graph, {"a.weight": [1, 2]})
    assert smaller(*x).shape[1:2] == (4,)


@pytest.mark.parametrize("name", ["fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"])
def test_a_whole_detector_is_told_what_to_do(name: str) -> None:
    detector = get_model(name, weights=None, weights_backbone=None, num_classes=3).eval()
    with pytest.raises(StageError, match="searches: how much it gives depends on what it is shown"):
        channels.analyse(detector, (torch.rand(1, 3, 128, 128),))


def test_where_the_export_fails_its_listing_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    module = Net(lambda self, x: self.a(x) if self.a(x).sum() > 0 else x, a=conv(3, 3)).eval()
    with pytest.raises(StageError, match="cannot be traced"):
        tracing.exported(module, (torch.randn(IMAGE),))
    assert capfd.readouterr().err == ""
