"""Submodules may be called as anything that a module may be called: also as members of the graph that is traced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

import jetpress
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig


def legal(name: str) -> bool:
    """Whether PyTorch takes it; names with two underscores around are Python's."""
    try:
        nn.Module().add_module(name, nn.Identity())
    except KeyError:
        return False
    return not (name.startswith("__") and name.endswith("__"))


GRAPH = fx.GraphModule(nn.Module(), fx.Graph())
NAMES = sorted(filter(legal, {*dir(fx.GraphModule), *vars(GRAPH)}))


class Layers(nn.Module):
    """A layer of each name, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 1)
        for name in NAMES:
            self.add_module(name, nn.Conv2d(8, 8, 1))
        self.leave = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for name in NAMES:
            x = torch.relu(self.get_submodule(name)(x)) + 0.1 * x
        return self.leave(x)  # type: ignore[no-any-return]


class WithAWidth(Layers):
    """Its code names a width: pruned it lives on as its graph."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).reshape(len(x), 8, 4, 4)
        for name in NAMES:
            x = torch.relu(self.get_submodule(name)(x)) + 0.1 * x
        return self.leave(x)  # type: ignore[no-any-return]


def test_there_are_such_names() -> None:
    assert {"code", "graph", "recompile", "_code", "print_readable"} <= set(NAMES)


@pytest.mark.parametrize("kind", [Layers, WithAWidth])
def test_they_are_pruned_trained_and_exported(kind: type[Layers]) -> None:
    model, x = kind(), torch.randn(2, 3, 4, 4)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    model(x).sum().backward()
    optimizer.step()
    slim = jetpress.prune(model, x, ratio=0.5, channel_multiple=1)
    assert slim.removed
    assert slim.pruning.as_graph == (kind is WithAWidth)
    slim.prune_optimizer(optimizer)
    assert len(optimizer.state) == len(optimizer.param_groups[0]["params"]) == 2 * (len(NAMES) + 2)
    proto = to_onnx(slim.module, (InputConfig((3, 4, 4)),), (), ExportConfig(opset=17, batch=2))
    names = {one.name for one in proto.graph.initializer}
    before = "network." if slim.pruning.as_graph else ""  # its own names are taken
    assert {f"{before}{name}.weight" for name in NAMES} <= names
    assert not any(name.startswith("network.enter") for name in names)
    (found,) = session.load(proto)({"input": x.numpy()}).values()
    assert np.allclose(found, slim.module.eval()(x).detach().numpy(), atol=1e-5)
