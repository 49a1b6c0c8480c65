"""Networks whose weights are computed from others: they become plain, compute the same, and lose channels."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from jetpress.pipeline.network import models
from jetpress.pipeline.network.reparametrized import bake
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.stages.source import source
from tests.pipeline import small

KINDS = {
    "weight norm": "parametrizations.weight_norm",
    "weight norm, old": "weight_norm",
    "spectral norm": "parametrizations.spectral_norm",
    "spectral norm, old": "spectral_norm",
    "pruned": "prune.l1_unstructured",
}
NETWORK = (
    small.NETWORK
    + """
import functools
from torch.nn.utils import parametrizations, prune

def computed(kind):
    made = Tiny()
    more = ("weight", 0.3) if "prune" in kind else ()
    for layer in (made.conv1, made.conv2):
        functools.reduce(getattr, kind.split("."), torch.nn.utils)(layer, *more)
    return made
"""
)


@pytest.fixture(params=KINDS)
def model(tmp_path: Path, request: pytest.FixtureRequest) -> ModelConfig:
    (tmp_path / "computed.py").write_text(NETWORK)
    return ModelConfig(f"{tmp_path / 'computed.py'}:computed", {"kind": KINDS[request.param]})


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_it_computes_the_same_and_loses_channels(
    tmp_path: Path, model: ModelConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    network = models.made(model, 5).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = network(x)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
    config = SourceConfig(
        ModelConfig(model.builder, model.arguments, str(tmp_path / "weights.pth")), small.DIGITS
    )
    start = source(config, small.draft(tmp_path, "start"))
    said = "computed weights are plain from here on, as channels are cut in them: conv1.weight, conv2.weight"
    assert said in capsys.readouterr().err
    plain = models.load(start).module
    assert torch.allclose(plain(x), expected, atol=1e-5)
    assert set(plain.state_dict()) == set(models.load(small.start(tmp_path, "tiny")).module.state_dict())
    assert (
        small.pruned(
            PruneConfig(ratio=0.5, channel_multiple=1), start, tmp_path
        ).facts.pruning.removed_channels
        >= 20
    )


def test_a_plain_network_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with warnings.catch_warnings(action="error"):
        assert bake(network) == []
