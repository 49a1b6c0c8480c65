"""Masks become zeros, everything else keeps its bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network import models
from jetpress.pipeline.stages.fold import fold
from jetpress.pipeline.stages.sparsify import best_mask
from tests.equivalence.networks import checkpoint, network


def test_masked_is_zero_and_the_rest_is_untouched(tmp_path: Path) -> None:
    made = network("cnn")
    made.masks["body.0.weight"] = best_mask(made.module.get_submodule("body.0").weight)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in made.module.state_dict().items()}
    mask = made.masks["body.0.weight"]
    (tmp_path / "folded").mkdir()
    folded = fold(None, checkpoint(made, tmp_path / "masked", validation=91.5), tmp_path / "folded")

    after = models.load(folded)
    assert len(folded.facts.masked) == 1
    assert folded.facts.validation == 91.5
    assert after.masks == {}
    weight = after.module.state_dict()["body.0.weight"]
    assert not weight[~mask].any()
    assert not weight[~mask].signbit().any()
    assert torch.equal(weight[mask], before["body.0.weight"][mask])
    for name, tensor in after.module.state_dict().items():
        if name != "body.0.weight":
            assert torch.equal(tensor, before[name])


def test_without_masks_nothing_changes(tmp_path: Path) -> None:
    made = network("cnn")
    (tmp_path / "folded").mkdir()
    folded = fold(None, checkpoint(made, tmp_path / "plain"), tmp_path / "folded")
    for name, tensor in models.load(folded).module.state_dict().items():
        assert torch.equal(tensor, made.module.state_dict()[name])


@pytest.mark.parametrize("name", ["body.0.weight", "nowhere.weight"])
def test_a_mask_that_fits_nothing_is_refused(tmp_path: Path, name: str) -> None:
    made = network("cnn")
    made.masks[name] = torch.ones(3, 3, dtype=torch.bool)
    (tmp_path / "folded").mkdir()
    with pytest.raises(StageError, match="fits no parameter"):
        fold(None, checkpoint(made, tmp_path / "masked"), tmp_path / "folded")
