"""The stage: what it removes it saves, reports and gives back; shares count from the original width."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deploy.errors import StageError
from pipeline import models
from pipeline.artifact import Checkpoint
from pipeline.prune import prune
from pipeline.sections import PruneConfig
from tests.equivalence.networks import checkpoint, network
from tests.pipeline import small

NETWORKS = {"cnn": 2, "transformer": 2, "segmenter": 1}
"""With the multiple that their few channels allow."""


def config(ratio: float = 0.5, multiple: int = 2, **rest: object) -> PruneConfig:
    return PruneConfig(ratio=ratio, channel_multiple=multiple, **rest)  # type: ignore[arg-type]


def drafted(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


@pytest.mark.parametrize("name", NETWORKS)
def test_two_rounds_save_and_load(name: str, tmp_path: Path) -> None:
    dense = checkpoint(network(name), tmp_path / "dense")
    first = prune(config(0.25, NETWORKS[name]), dense, drafted(tmp_path, "first"))
    second = prune(config(0.5, NETWORKS[name]), first, drafted(tmp_path, "second"))
    assert first.facts["pruned"] is second.facts["pruned"] is True
    assert (
        second.facts["parameters"] < first.facts["parameters"] < models.measure(network(name))["parameters"]
    )
    assert not first.facts["refused"]
    loaded, again = models.load(second), models.load(second)
    assert len(loaded.history) == 2
    inputs = models.example_inputs(loaded.model.inputs)
    with torch.no_grad():
        for a, b in zip(
            models.outputs_of(loaded.module(*inputs)), models.outputs_of(again.module(*inputs)), strict=True
        ):
            assert torch.equal(a, b)
            assert a.isfinite().all()
    original = {layer["name"]: layer["before"] for layer in first.facts["layers"]}
    for layer in second.facts["layers"]:
        assert layer["after"] <= 0.75 * original.get(layer["name"], layer["before"])
        assert layer["after"] % NETWORKS[name] == 0


def test_facts_say_what_went_and_what_stays(tmp_path: Path) -> None:
    pruned = prune(config(multiple=8), checkpoint(network("cnn"), tmp_path / "dense"), drafted(tmp_path, "p"))
    layers = {layer["name"]: (layer["before"], layer["after"]) for layer in pruned.facts["layers"]}
    assert layers["stem.0.weight"] == layers["body.0.weight"] == (16, 8)
    assert layers["hidden.0.weight"] == (16, 8)
    assert pruned.facts["removed_channels"] == sum(a - b for a, b in layers.values())
    assert pruned.facts["fixed"]["head.weight"] == "output of the network"
    assert pruned.facts["as_graph"] is False


@pytest.mark.parametrize("nothing", [{"ratio": 0.5, "multiple": 64}, {"ignore": ("*",)}])
def test_a_round_that_removes_nothing_says_so(tmp_path: Path, nothing: dict[str, object]) -> None:
    dense = checkpoint(network("cnn"), tmp_path / "dense")
    same = prune(config(**nothing), dense, drafted(tmp_path, "same"))  # type: ignore[arg-type]
    assert same.facts["pruned"] is False
    assert same.facts["removed_channels"] == 0
    assert models.load(same).history == []
    before, after = (models.load(c).module.state_dict() for c in (dense, same))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_whose_channels_all_come_out_stays(tmp_path: Path) -> None:
    same = prune(config(), checkpoint(network("two_inputs"), tmp_path / "dense"), drafted(tmp_path, "same"))
    assert same.facts["pruned"] is False
    assert same.facts["fixed"] == {
        "conv.weight": "output of the network",
        "table.weight": "output of the network",
    }


def test_a_network_with_masks_is_refused(tmp_path: Path) -> None:
    made = network("cnn")
    made.masks["body.0.weight"] = torch.ones_like(
        made.module.get_submodule("body.0").weight, dtype=torch.bool
    )  # type: ignore[arg-type]
    with pytest.raises(StageError, match="before 2:4"):
        prune(config(), checkpoint(made, tmp_path / "masked"), drafted(tmp_path, "p"))


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_taylor_looks_at_training_batches(tmp_path: Path, scope: str) -> None:
    start: Checkpoint = small.start(tmp_path)
    pruned = prune(config(criterion="taylor", scope=scope), start, drafted(tmp_path, "p"))
    assert pruned.facts["pruned"] is True
    assert all(p.grad is None or not p.grad.any() for p in models.load(pruned).module.parameters())
