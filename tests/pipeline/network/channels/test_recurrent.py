"""Hidden units of recurrent layers: what is cut is the layer with those units' weights at zero; and what it costs."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from jetpress.pipeline.network import channels, models
from jetpress.pipeline.network.channels.graph import TracedNet, trace
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.costs import Sizes
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig

INPUT = (2, 5, 3)  # samples, steps, features


class Layer(nn.Module):
    """Between two linear layers."""

    def __init__(self, kind: type[nn.RNNBase], **arguments: Any) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(3, 6), kind(6, 8, batch_first=True, **arguments)
        ways = 2 if self.layer.bidirectional else 1
        self.last = nn.Linear(ways * (self.layer.proj_size or 8), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.first(x))[0])  # type: ignore[no-any-return]


class Cells(nn.Module):
    """Steps by hand, one cell after the other."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.a, self.b = nn.LSTMCell(3, 8), nn.GRUCell(8, 6)
        self.c, self.last = nn.RNNCell(6, 4, nonlinearity="relu"), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        state, b, c = None, None, None
        for k in range(x.shape[1]):
            state = self.a(x[:, k], state)
            b = self.b(state[0], b)
            c = self.c(b, c)
        return self.last(c)  # type: ignore[no-any-return]


class Last(nn.Module):
    """Reads the last state, which its own code cuts at a width that is a number."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.layer, self.last = nn.LSTM(3, 8, 2, batch_first=True, dropout=0.5), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(x)[1][0][-1].reshape(len(x), 8))  # type: ignore[no-any-return]


NETS: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    "lstm": (Layer, {"kind": nn.LSTM}, {"first.weight", "layer.weight_ih_l0"}),
    "gru": (Layer, {"kind": nn.GRU, "num_layers": 2}, {"first.weight", "layer.weight_ih_l0"}),
    "rnn": (Layer, {"kind": nn.RNN, "bias": False}, {"first.weight", "layer.weight_ih_l0"}),
    "bidirectional": (
        Layer,
        {"kind": nn.LSTM, "num_layers": 3, "bidirectional": True},
        {"first.weight", "layer.weight_ih_l0"},
    ),
    "projected": (
        Layer,
        {"kind": nn.LSTM, "proj_size": 4, "num_layers": 2, "bidirectional": True},
        {"first.weight", "layer.weight_ih_l0", "layer.weight_hr_l0"},
    ),
    "cells": (Cells, {}, {"a.weight_ih", "b.weight_ih", "c.weight_ih"}),
    "last state": (Last, {}, {"layer.weight_ih_l0"}),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    build, arguments, _ = NETS[name]
    return build(**arguments).eval()  # type: ignore[no-any-return]


def flops(module: nn.Module, x: Tensor) -> int:
    """What torch counts in double precision, where oneDNN does not hide the products."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(module).double()(x.double())
    return counter.get_total_flops() // 2


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", NETS)
def test_hidden_units_go(name: str) -> None:
    """Brute force: the dense network in which every number that belongs to a removed unit is zero."""
    module, x = built(name), torch.randn(INPUT)
    graph = channels.analyse(module, (x,))
    assert {group.name for group in graph.groups} == NETS[name][2]
    removal = {group.name: [1, group.units - 1] for group in graph.groups}
    smaller, step = channels.cut(module, (x,), graph, removal)
    assert not step["refused"]
    assert step["graph"] == (name == "last state")
    zeroed = copy.deepcopy(module)
    with torch.no_grad():
        for group in graph.groups:
            for (parameter, axis), indices in group.slices.items():
                gone = torch.from_numpy(indices[removal[group.name]].ravel())
                zeroed.get_parameter(parameter).index_fill_(axis, gone, 0)
        torch.testing.assert_close(smaller(x), zeroed(x), rtol=1e-4, atol=1e-5)
    again = channels.replay(built(name), (x,), step)
    again.load_state_dict(smaller.state_dict())
    torch.testing.assert_close(again(x), smaller(x))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", NETS)
def test_every_product_of_a_recurrent_layer_is_counted(name: str) -> None:
    """By the search for widths, dense and cut, and in a network's own size."""
    module, x = built(name), torch.randn(INPUT)
    graph = channels.analyse(module, (x,))
    sizes = Sizes(graph)
    assert sizes.layer_macs(sizes.dense).sum() == flops(module, x)
    removal = {group.name: [0] for group in graph.groups}
    smaller, _ = channels.cut(module, (x,), graph, removal)
    if not isinstance(smaller, TracedNet):
        assert sizes.layer_macs(sizes.after(removal)).sum() == flops(smaller, x)
    network = Network(module, ModelConfig("any.py:net", inputs=(InputConfig((5, 3)),)), DataConfig())
    assert models.measure(network).macs == flops(module, x[:1])


def test_attention_is_counted_where_inference_has_it_as_one_operator() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    network = Network(module, ModelConfig("any.py:net", inputs=(InputConfig((5, 8)),)), DataConfig())
    assert models.measure(network).macs == 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8


def test_steps_and_states_that_are_given_stay() -> None:
    """Channels as steps of a sequence: one step less is another function."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.layer = nn.Conv1d(3, 6, 1), nn.GRU(4, 8, batch_first=True)

        def forward(self, x: Tensor, state: Tensor) -> Tensor:
            return self.layer(self.first(x), state)[0]  # type: ignore[no-any-return]

    found = trace(Rows().eval(), (torch.randn(1, 3, 4), torch.zeros(1, 1, 8)))
    for name in ("first.weight", "layer.weight_ih_l0"):
        assert (found.labels.reason(found.tensors[name][0]) > 0).all()


def test_a_graph_trains_its_dropout_between_layers() -> None:
    module, x = built("last state"), torch.randn(INPUT)
    graph = channels.analyse(module, (x,))
    smaller, _ = channels.cut(module, (x,), graph, {"layer.weight_ih_l0": [0]})
    assert isinstance(smaller, TracedNet)
    assert torch.equal(smaller.eval()(x), smaller(x))
    torch.testing.assert_close(smaller(x[:1]), smaller(x)[:1])  # at any batch size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smaller.train()
        assert not torch.equal(smaller(x), smaller(x))
    assert np.isfinite(smaller(x).detach().numpy()).all()
