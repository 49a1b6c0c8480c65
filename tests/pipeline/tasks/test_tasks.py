from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.graph.ends import SCORES
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.criteria import CRITERIA
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.sections import known
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.stages.source import SourceConfig, source
from jetpress.pipeline.tasks import DECODED, TASKS, decided, decoded_as, decoded_by, task_of
from jetpress.pipeline.training.evaluate import metric
from jetpress.pipeline.training.losses import loss
from tests.pipeline import small

OPEN = TaskConfig()


def network(task: TaskConfig = OPEN, data: DataConfig = small.DIGITS) -> Network:
    return Network(nn.Identity(), ModelConfig(), data, task=task)


def test_what_the_recipe_leaves_open_follows_from_loss_and_network(tmp_path: Path) -> None:
    function = small.data(tmp_path, "sums", loss=f"{tmp_path / 'data.py'}:both")
    assert decided(OPEN, DataConfig()) == "classification"
    assert decided(OPEN, DataConfig(loss="cross_entropy", metric="top1")) == "classification"
    assert decided(OPEN, function) == "custom"
    assert decided(OPEN, DataConfig(source="masks", root="there")) == "segmentation"
    module = models.build(ModelConfig("torchvision:ssdlite320_mobilenet_v3_large"))
    assert decided(OPEN, function, module) == "detection"
    assert decided(TaskConfig(kind="classification"), function, module) == "classification"


def test_the_decision_stays_with_the_network(tmp_path: Path) -> None:
    made = source(SourceConfig(small.model(tmp_path), small.DIGITS), small.draft(tmp_path, "source"))
    assert json.loads((made.path / "network.json").read_text())["task"]["kind"] == "classification"
    assert made.facts.measured == "accuracy"


def test_the_recipe_knows_the_names_without_importing_torch() -> None:
    assert known.keys("tasks/__init__.py", "TASKS") == tuple(TASKS)
    assert known.keys("pruning/criteria.py", "CRITERIA") == tuple(CRITERIA)
    code = "import sys, jetpress.pipeline.recipe.reading; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    with pytest.raises(LookupError, match="no table NOTHING"):
        known.keys("pruning/criteria.py", "NOTHING")


@pytest.mark.parametrize("key", ["task.kind", "prune.criterion"])
def test_an_unknown_name_is_refused(key: str) -> None:
    section, _, name = key.partition(".")
    with pytest.raises(RecipeError, match=key):
        Recipe.parse({"name": "r", section: {name: "no such"}})


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.loss_name])
def test_a_task_without_a_loss_says_what_to_do(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loss(network(TaskConfig(kind=name)))(torch.zeros(2, 3), torch.zeros(2), ())
    assert "data.loss" in caught.value.hint


def test_a_loss_that_no_task_has(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="entropy"):
        loss(network(data=DataConfig(loss="entropy")))
    with pytest.raises(RecipeError, match="top7"):
        metric(network(data=DataConfig(metric="top7")))


def test_classification_is_a_loss_and_points() -> None:
    scores, target = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    by = metric(network())
    assert by.shown(scores, target) == [100, 0]
    assert by.total([100, 0]) == 50
    expected = float((np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))) / 2)
    assert float(loss(network())(scores, target, ())) == pytest.approx(expected)
    assert task_of(OPEN).guessing["top1"](torch.tensor([0, 1, 1, 1])) == 75


def test_a_graph_is_decoded_by_its_end_or_its_outputs() -> None:
    (decoded,) = DECODED
    assert decoded_as("detections") is decoded is decoded_by(["boxes", "scores", "labels"])
    assert decoded_as(SCORES) is None
    assert decoded_by(["boxes", "scores"]) is None
