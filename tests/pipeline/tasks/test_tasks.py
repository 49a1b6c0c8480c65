from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.graph.ends import SCORES
from jetpress.pipeline.network import models
from jetpress.pipeline.pruning.criteria import CRITERIA
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.sections import known
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.stages.source import SourceConfig, source
from jetpress.pipeline.tasks import DECODED, TASKS, decoded_as, decoded_by, name_of, task_of
from jetpress.pipeline.training.evaluate import loss, points
from tests.pipeline import small


def test_what_the_recipe_leaves_open_follows_from_loss_and_network(tmp_path: Path) -> None:
    function = small.data(tmp_path, "sums", loss=f"{tmp_path / 'data.py'}:both")
    assert name_of(DataConfig()) == "classification"
    assert name_of(DataConfig(loss="cross_entropy", metric="top1")) == "classification"
    assert name_of(function) == "custom"
    module = models.build(ModelConfig("torchvision:ssdlite320_mobilenet_v3_large"))
    assert name_of(function, module) == "detection"
    assert name_of(replace(function, task="classification"), module) == "classification"


def test_the_decision_stays_with_the_network(tmp_path: Path) -> None:
    made = source(SourceConfig(small.model(tmp_path), small.DIGITS), small.draft(tmp_path, "source"))
    assert json.loads((made.path / "network.json").read_text())["data"]["task"] == "classification"
    assert made.facts.measured == "accuracy"


def test_the_recipe_knows_the_names_without_importing_torch() -> None:
    assert known.keys("tasks/__init__.py", "TASKS") == tuple(TASKS)
    assert known.keys("pruning/criteria.py", "CRITERIA") == tuple(CRITERIA)
    code = "import sys, jetpress.pipeline.recipe.reading; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    with pytest.raises(LookupError, match="no table NOTHING"):
        known.keys("pruning/criteria.py", "NOTHING")


@pytest.mark.parametrize("key", ["data.task", "prune.criterion"])
def test_an_unknown_name_is_refused(key: str) -> None:
    section, _, name = key.partition(".")
    with pytest.raises(RecipeError, match=key):
        Recipe.parse({"name": "r", section: {name: "no such"}})


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.loss_name])
def test_a_task_without_a_loss_says_what_to_do(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loss(DataConfig(task=name))(torch.zeros(2, 3), torch.zeros(2))
    assert "data.loss" in caught.value.hint


def test_a_loss_that_no_task_has(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="entropy"):
        loss(DataConfig(loss="entropy"))
    with pytest.raises(RecipeError, match="top5"):
        points(DataConfig(metric="top5"))


def test_classification_is_a_loss_and_points() -> None:
    scores, target = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    assert points(DataConfig())(scores, target).tolist() == [100, 0]
    expected = float((np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))) / 2)
    assert float(loss(DataConfig())(scores, target)) == pytest.approx(expected)
    assert task_of(DataConfig()).guessing(torch.tensor([0, 1, 1, 1])) == 75


def test_a_graph_is_decoded_by_its_end_or_its_outputs() -> None:
    (decoded,) = DECODED
    assert decoded_as("detections") is decoded is decoded_by(["boxes", "scores", "labels"])
    assert decoded_as(SCORES) is None
    assert decoded_by(["boxes", "scores"]) is None
