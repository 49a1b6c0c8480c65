"""The examples of docs/trainers.md, from top to bottom, on real digits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import get_model

from jetpress.pipeline.data.digests import digits
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training import fit
from tests.pipeline.functions.small import convolutions
from tests.pipeline.stages.test_train import few, network
from tests.test_prose import ROOT

PAGE = (ROOT / "docs" / "trainers.md").read_text()
EXAMPLES = {
    title: code
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    for code in re.findall(r"```python\n(.*?)```", text, re.S)
}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page says that there is; each example leaves its own names for the next."""
    rows = torch.from_numpy(np.loadtxt(digits(), delimiter=",", dtype=np.float32, max_rows=256))
    pixels = (rows[:, :64].reshape(-1, 1, 8, 8) / 8 - 1).expand(-1, 3, -1, -1).contiguous()
    data = TensorDataset(pixels, rows[:, 64].long())
    return {
        "net": convolutions(hidden=128),
        "images": pixels[:4],
        "train": DataLoader(data, 32, shuffle=True),
    }


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_plain_loop_and_masks(names: dict[str, Any], tmp_path: Path) -> None:
    exec(EXAMPLES["A plain loop"], names)
    assert names["made"].equality
    assert (tmp_path / "slim.onnx").is_file()
    exec(EXAMPLES["Small batches"], names)
    kept = names["slim"].module.state_dict()
    mean = {name: value.clone() for name, value in kept.items() if name.endswith("running_mean")}
    names["slim"].module(names["images"])
    assert mean
    assert all(torch.equal(value, kept[name]) for name, value in mean.items())
    exec(EXAMPLES["2:4 in any loop"], names)
    assert names["sparse"].report.eligible
    names["sparse"].masks.check(names["plain"])


@pytest.mark.filterwarnings("ignore")  # of libraries that are not ours
@pytest.mark.parametrize(("title", "library"), [("Lightning", "lightning"), ("Hugging Face", "transformers")])
def test_other_peoples_trainers(title: str, library: str, names: dict[str, Any]) -> None:
    pytest.importorskip(
        library, reason=f"{library} is no dependency of ours; studies/trainers/requirements.txt"
    )
    before = names["sparse"].module.state_dict()["0.weight"].clone()
    exec(EXAMPLES[title], names)
    assert not torch.equal(before, names["sparse"].module.state_dict()["0.weight"].cpu())


def test_a_detector_of_torchvision(names: dict[str, Any]) -> None:
    torch.manual_seed(0)
    none = {"weights": None, "weights_backbone": None}
    detector = get_model("ssdlite320_mobilenet_v3_large", **none, num_classes=4)
    whole = sum(one.numel() for one in detector.parameters())
    target = {"boxes": torch.tensor([[40.0, 60.0, 200.0, 240.0]]), "labels": torch.tensor([2])}
    names |= {"detector": detector, "photos": torch.rand(2, 3, 320, 320), "boxes": [target, target]}
    exec(EXAMPLES["A detector of torchvision"], names)
    assert sum(one.numel() for one in names["detector"].parameters()) < 0.9 * whole
    assert set(names["losses"]) == {"bbox_regression", "classification"}
    assert [set(one) for one in names["found"]] == [{"boxes", "scores", "labels"}] * 2


def test_a_trainer_in_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(EXAMPLES["In a recipe"])
    one = network(tmp_path, dropped=0.5)
    settings = TrainConfig(epochs=3, trainer=f"{tmp_path / 'my.py'}:train")
    found = fit.fit(one, few(one), settings, state=tmp_path / "state", what="fine-tuning")
    assert found.validation > 50
