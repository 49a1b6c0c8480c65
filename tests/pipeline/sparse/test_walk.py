"""Batches walk through a graph in step, no more of them at a time than fit into memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jetpress.pipeline.network.channels.graph import operator_name, trace
from jetpress.pipeline.sparse import walking


def test_batches_join_where_feature_maps_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 2, 1),
    ).eval()
    batches = [(torch.randn(2, 3, 14, 14),) for _ in range(6)]
    monkeypatch.setattr(walking, "ALIVE", 4 * (8 + 8) * 12 * 12)  # two batches of the first feature map
    source = trace(module, batches[0], any_batch=True)
    layers = [node for node in source.module.graph.nodes if operator_name(node).startswith("conv")]
    seen: list[list[Tensor]] = [
        [values[node.all_input_nodes[0]] for values in known]
        for node, known in walking.walk(source, batches, layers)
    ]
    assert [len(one) for one in seen] == [2, 6, 6]
    for number, found in zip((0, 3, 5), seen, strict=True):
        for x, (batch,) in zip(found, batches, strict=False):
            torch.testing.assert_close(x, module[:number](batch))


def test_batches_of_one_size_are_recorded_at_it() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)).eval()
    whole, left = (torch.randn(4, 3, 8, 8),), (torch.randn(3, 3, 8, 8),)
    recorded, exported = walking.traced(module, [whole, whole]), walking.traced(module, [whole, left])
    assert type(recorded.module) is not type(exported.module)
    for source, batches in ((recorded, [whole, whole]), (exported, [whole, left])):
        last = [node for node in source.module.graph.nodes if operator_name(node) == "linear"]
        seen = [
            values[last[0].args[0]] for _, known in walking.walk(source, batches, last) for values in known
        ]
        for x, (batch,) in zip(seen, batches, strict=True):
            torch.testing.assert_close(x, module[:3](batch))
