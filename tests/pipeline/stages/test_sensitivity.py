"""What a group is worth is what its removal does, and nothing is left changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jetpress.pipeline.data import loading
from jetpress.pipeline.network import channels, models
from jetpress.pipeline.pruning.allocate import lowest
from jetpress.pipeline.pruning.curves import Curves, measure, opened
from jetpress.pipeline.pruning.statistics import judged
from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.stages.sensitivity import sensitivity
from jetpress.pipeline.store.artifact import Checkpoint
from tests.pipeline import small


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return small.start(tmp_path_factory.mktemp("start"))


def test_every_group_is_measured_and_put_back(start: Checkpoint, tmp_path: Path) -> None:
    network = models.load(start)
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    graph = channels.analyse(network.module, models.example_inputs(network.model.inputs))
    ranked = judged("l2", network, graph)
    found = measure(network, graph, ranked, SensitivityConfig(multiple=2, images=16))
    assert set(found.groups) == {group.name for group in graph.groups}
    for group in graph.groups:
        points = found.groups[group.name]
        assert points[0] == (group.units, 0.0)
        assert len(points) > 1
        assert all(lost >= 0 for _, lost in points)
        assert all(kept * group.width // group.units % 2 == 0 for kept, _ in points[1:])
        losses = found.losses(group)
        assert losses.shape == (group.units,)
        assert losses[-1] == 0
        assert (np.diff(losses) <= 1e-12).all()
    assert all(torch.equal(value, before[key]) for key, value in network.module.state_dict().items())
    made = sensitivity(SensitivityConfig(multiple=2, images=16), start, tmp_path)
    assert made.facts.groups == {n: tuple(points) for n, points in found.groups.items()}
    scores, curves = opened(made)
    assert {name: list(one) for name, one in scores.items()} == {n: list(one) for n, one in ranked.items()}
    assert curves.blocks == found.blocks
    assert [list(curves.losses(g)) for g in graph.groups] == [list(found.losses(g)) for g in graph.groups]


def test_it_is_what_the_cut_network_gives(start: Checkpoint) -> None:
    """Zeros in place of a cut: the same outputs, with BatchNorm on the statistics of the batch."""
    network = models.load(start)
    inputs = models.example_inputs(network.model.inputs)
    graph = channels.analyse(network.module, inputs)
    ranked = judged("l2", network, graph)
    found = measure(network, graph, ranked, SensitivityConfig(multiple=2, images=16))
    images = loading.calibration(loading.load(network.data, network.seed, network.task), 16)
    for group in graph.groups:
        kept, lost = found.groups[group.name][1]
        smaller, _ = channels.cut(network.module, inputs, graph, lowest(group, ranked[group.name], kept))
        with torch.no_grad():
            for module in (network.module, smaller):
                module.train().get_submodule("drop").eval()
            dense, cut = (module(*images) for module in (network.module, smaller))
        expected = (dense - cut).square().sum() / dense.square().sum()
        assert lost == pytest.approx(float(expected), rel=1e-3, abs=1e-6)
        assert lost > 0


def test_losses_between_and_below_what_was_measured() -> None:
    group = channels.Group("a", 8, 8, {("a", 0): np.arange(8)[:, None]}, ("a",))
    losses = Curves({"a": [(8, 0.0), (6, 1.0), (4, 0.5), (2, 3.0)]}).losses(group)
    assert losses[7] == 0
    assert losses[5] == 1.0
    assert losses[6] == 0.5
    assert losses[3] == 1.0, "fewer channels are never better"
    assert losses[2] == 2.0
    assert losses[0] == 12.0
