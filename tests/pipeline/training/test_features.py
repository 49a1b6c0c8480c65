from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import models
from jetpress.pipeline.training import features
from jetpress.pipeline.training.features import Student, as_map, maps_of, pairs, shapes
from tests.pipeline import small

INPUT = (torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)


def tiny(folder: Path) -> nn.Module:
    return models.load(small.start(folder)).module.eval()


def test_a_feature_map_is_what_the_layer_gives(tmp_path: Path) -> None:
    module = tiny(tmp_path)
    seen: dict[str, torch.Tensor] = {}
    for name in ("conv1", "conv2"):
        module.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    result, maps = maps_of(module, ["conv2.weight", "conv1.weight"], INPUT)
    assert torch.equal(result, module(*INPUT))
    assert torch.equal(maps[0], seen["conv2"])
    assert torch.equal(maps[1], seen["conv1"])


def test_a_network_that_goes_on_as_its_graph_shows_the_same(tmp_path: Path) -> None:
    module = tiny(tmp_path)
    graph = torch.export.export(module, INPUT).module()
    names = ["conv1.weight", "conv2.weight"]
    for ours, theirs in zip(maps_of(module, names, INPUT)[1], maps_of(graph, names, INPUT)[1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_gradients_flow_through_the_maps(tmp_path: Path) -> None:
    module = tiny(tmp_path)
    _, (found,) = maps_of(module, ["conv1.weight"], INPUT)
    found.square().mean().backward()
    assert module.get_parameter("conv1.weight").grad.any()


def test_shapes_in_the_order_of_computation_and_the_mode_is_kept(tmp_path: Path) -> None:
    module = tiny(tmp_path).train()
    statistics = module.get_buffer("bn1.running_mean").clone()
    found = shapes(module, INPUT)
    assert list(found) == ["conv1.weight", "conv2.weight", "head.weight"]
    assert found == {"conv1.weight": (16, 8, 8), "conv2.weight": (32, 4, 4), "head.weight": (10, 1, 1)}
    assert module.training
    assert torch.equal(statistics, module.get_buffer("bn1.running_mean"))


def test_tokens_and_vectors_are_maps_too() -> None:
    assert as_map(torch.zeros(2, 49, 64)).shape == (2, 64, 49, 1)
    assert as_map(torch.zeros(2, 64)).shape == (2, 64, 1, 1)
    tokens = torch.randn(2, 49, 64)
    assert torch.equal(as_map(tokens)[1, :, 7, 0], tokens[1, 7])


OURS = {"a": (4, 8, 8), "b": (6, 8, 8), "c": (8, 4, 4), "fc": (10, 1, 1)}


def test_twins_are_matched_by_name_at_the_last_of_each_resolution() -> None:
    theirs = {"a": (8, 8, 8), "b": (12, 8, 8), "c": (16, 4, 4), "fc": (10, 1, 1)}
    assert pairs(OURS, theirs, ()) == {"b": "b", "c": "c"}
    assert pairs(OURS, theirs, ("a", "c*")) == {"a": "a", "c": "c"}


def test_another_network_is_matched_by_resolution() -> None:
    theirs = {"stem": (64, 16, 16), "x": (64, 8, 8), "y": (64, 8, 8), "z": (128, 4, 4), "fc": (10, 1, 1)}
    assert pairs(OURS, theirs, ()) == {"b": "y", "c": "z"}


@pytest.mark.parametrize(
    ("theirs", "patterns", "said"),
    [
        (OURS, ("layer4.*",), "matches no weight"),
        ({"a": (4, 2, 2)}, ("a",), "no feature maps of the same size"),
        ({"x": (4, 7, 7), "fc": (10, 1, 1)}, (), "no feature maps of the same size"),
    ],
)
def test_what_cannot_be_matched_is_said(
    theirs: dict[str, tuple[int, ...]], patterns: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        pairs(OURS, theirs, patterns)


def test_adapters_bring_pruned_maps_to_the_teachers_width(tmp_path: Path) -> None:
    module = tiny(tmp_path)
    before = torch.get_rng_state()
    student = Student(module, {"conv1.weight": (16, 24), "conv2.weight": (32, 32)}, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    result, maps, adapted = student(*INPUT)
    assert torch.equal(result, module(*INPUT))
    assert [m.shape[1] for m in maps] == [16, 32]
    assert [m.shape[1] for m in adapted] == [24, 32]
    assert torch.equal(adapted[1], maps[1])
    twin = Student(module, {"conv1.weight": (16, 24)}, seed=3)
    assert torch.equal(twin.adapters[0].weight, student.adapters[0].weight)


def test_watching_ends(tmp_path: Path) -> None:
    module = tiny(tmp_path)
    watch = features.Watch({"conv1.weight": module.get_parameter("conv1.weight")})
    with watch:
        module(*INPUT)
    kept = watch.maps["conv1.weight"]
    module(torch.zeros_like(INPUT[0]))
    assert watch.maps["conv1.weight"] is kept
