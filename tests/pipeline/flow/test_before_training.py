"""What cannot come to a good end is said in seconds, by `run` and by `plan`, and nothing is trained for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from jetpress import Recipe, plan, run
from jetpress.deploy.errors import DeviceError, JetpressError, RecipeError
from jetpress.pipeline.flow.before_training import few_images, little_space
from jetpress.pipeline.store.facts.network import CheckpointFacts, DataFacts
from jetpress.pipeline.store.store import Store
from tests.pipeline import small

RECIPE = """
[model]
builder = "{builder}"
[data]
source = "digits"
size = 8
batch_size = 512
[train]
epochs = 1
"""

ODD = """
import torch
from torch import nn
from network import Tiny

class Branches(Tiny):
    def forward(self, x):
        y = super().forward(x)
        return y if y.sum() > 0 else y * 2

class Stubborn(Tiny):
    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x))).view(-1, 16, 8, 8)
        x = torch.relu(self.bn2(self.conv2(x))).view(-1, 32, 4, 4)
        scores = self.head(nn.functional.max_pool2d(x, 2).flatten(1))
        return (scores, scores) if self.training else scores

class Determinant(Tiny):
    def forward(self, x):
        return super().forward(x) + torch.linalg.det(x[:, 0, :8, :8] + torch.eye(8))[:, None] * 0.001
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small.model(tmp_path)
    (tmp_path / "odd.py").write_text(ODD)
    return tmp_path


def recipe(folder: Path, builder: str = "network.py:build", *sets: str) -> Recipe:
    (folder / "tiny.toml").write_text(RECIPE.format(builder=builder))
    return Recipe.load(folder / "tiny.toml", sets)


def refused(kind: type[JetpressError], said: str, *arguments: Any, **rest: Any) -> None:
    """Both `run` and `plan` refuse, with the same words, and nothing was trained."""
    words = []
    for command in (plan, run):
        with pytest.raises(kind, match=said) as caught:
            command(*arguments, **rest)
        words.append(str(caught.value))
    assert words[0] == words[1]
    assert "train" not in {memo.stage for memo in Store(rest["home"] / ".store").known().values()}


def test_a_network_that_torchvision_lacks(folder: Path) -> None:
    refused(
        RecipeError,
        "no network 'mobilenetv2'",
        recipe(folder, "torchvision:mobilenetv2"),
        "host",
        home=folder / "r",
    )


def test_weights_of_another_network(folder: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3, 3)}, folder / "w.safetensors")
    given = recipe(folder, "network.py:build", "model.weights=w.safetensors")
    refused(RecipeError, "w.safetensors", given, "host", home=folder / "r")


def test_another_number_of_classes_than_the_data_has(folder: Path) -> None:
    given = recipe(folder, "torchvision:resnet18", "model.arguments.num_classes=7")
    refused(RecipeError, "7.*10|10.*7", given, "host", home=folder / "r")


def test_a_network_that_does_not_export(folder: Path) -> None:
    given = recipe(folder, "odd.py:Branches")
    refused(RecipeError, "before anything was trained: .*(branch|export)", given, "host", home=folder / "r")


def test_an_operator_that_the_boards_parser_lacks(folder: Path) -> None:
    given = recipe(folder, "odd.py:Determinant")
    refused(RecipeError, "before anything was trained: ", given, "xavier", home=folder / "r")


def test_a_network_that_no_channel_can_be_removed_from(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "before anything was trained: no channel can be removed .*conv1.weight: 16 channels.*nothing else"
    narrow = ("network.py:build", "prune.channel_multiple=64")
    refused(RecipeError, said, recipe(folder, *narrow), "host", home=folder / "r")
    plan(recipe(folder, *narrow, "build.precision=int8"), "host", home=folder / "r")
    assert "WARNING: no channel can be removed from this network (" in capsys.readouterr().err


def test_a_network_whose_every_group_is_refused(folder: Path) -> None:
    refused(
        RecipeError,
        "before anything was trained: none of .* can be removed",
        recipe(folder, "odd.py:Stubborn"),
        "host",
        home=folder / "r",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "my.py cannot be read"),
        ("def train(module, loader): return module", "asks for loader"),
        ("import nothing_of_this_name", "does not import"),
    ],
)
def test_a_trainer_of_ones_own_that_cannot_be_called(folder: Path, text: str | None, said: str) -> None:
    if text is not None:
        (folder / "my.py").write_text(text)
    given = recipe(folder, "network.py:build", "finetune.trainer=my.py:train")
    refused(RecipeError, said, given, "xavier", home=folder / "r")


def test_a_latency_that_no_device_can_tell(folder: Path) -> None:
    given = recipe(folder, "network.py:build", "prune.latency_ms=1.0")
    refused(RecipeError, "prune asks for a latency", given, "orin-nano", home=folder / "r")


def test_a_plan_takes_what_is_early_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = plan(recipe(folder, "network.py:build", "budget.accuracy_drop=0.5"), "host", home=folder / "r")
    early = {"source", "try export", "try preflight", "try judge", "try prune"}
    assert {step.name for step in steps if step.state == "ran"} == early
    assert {memo.stage for memo in Store(folder / "r" / ".store").known().values()} == {
        "source",
        "export",
        "preflight",
        "sensitivity",
        "prune",
    }
    said = capsys.readouterr().err
    assert (
        said.count("WARNING: 228 validation images: each is 0.44 points, and the budget is 0.5: one image")
        == 1
    )
    again = plan(recipe(folder), "host", home=folder / "r")
    assert {step.name for step in again if step.state == "cached"} == early


def test_a_network_that_is_not_trained_is_exported_once(folder: Path) -> None:
    weights = small.start(folder).path / "weights.safetensors"
    given = recipe(folder, "network.py:build", "train.epochs=0", f"model.weights={weights}")
    steps = {step.name: step for step in plan(given, "orin-nano", home=folder / "r")}
    assert steps["train"].state == "skipped"
    assert steps["export dense"].state == "cached"
    assert steps["export dense"].digest == steps["try export"].digest


FACTS = CheckpointFacts(10**6, 1, data=DataFacts("x", 500, 36, 36, {}, (), ()))


def sized(validation: int, test: int) -> CheckpointFacts:
    assert FACTS.data is not None
    return replace(FACTS, data=replace(FACTS.data, validation=validation, test=test))


def test_few_images_are_counted() -> None:
    assert few_images(FACTS, 3.0) == (
        "36 test images: each is 2.8 points, and the budget is 3: one image decides. "
        "About 257 would tell a drop of 3 points from chance"
    )
    assert few_images(sized(1000, 36), 3.0).startswith("36 test images")
    assert few_images(sized(36, 1000), 3.0).startswith("36 validation images")
    assert few_images(replace(FACTS, data=None), 3.0) == ""
    assert few_images(FACTS, 0.0) == ""


@given(st.integers(1, 10**5), st.floats(0.01, 50))
def test_a_warning_comes_exactly_where_one_image_decides(count: int, budget: float) -> None:
    assert bool(few_images(sized(count, count), budget)) == (2 * 100 / count > budget)


@given(st.floats(0.1, 50))
def test_as_many_images_as_are_asked_for_are_enough(budget: float) -> None:
    enough = int(few_images(sized(1, 1), budget).split("About ")[1].split()[0])
    assert few_images(sized(enough, enough), budget) == ""


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    assert little_space(FACTS, 3, tmp_path / "not" / "there") == ""
    with pytest.raises(DeviceError, match="MiB are free") as caught:
        little_space(replace(FACTS, parameters=10**15), 3, tmp_path)
    assert "jetpress gc" in caught.value.hint
