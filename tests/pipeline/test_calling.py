"""`jetpress.run` with a network and data in memory: an ordinary run, found again by what they are."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import jetpress
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.digests import digits
from jetpress.pipeline.functions import memory
from jetpress.pipeline.functions.datasets import held
from jetpress.pipeline.network import user_code
from tests.pipeline.functions.small import convolutions

PROGRAM = """
from pathlib import Path
from tests.pipeline.test_calling import loaders, memory, network
recipe = memory.recipe_of(network(), loaders(), {}, (), memory.Store(Path(".store")))
print(recipe.model.builder, recipe.data.source, Path(recipe.model.weights).name)
"""
KEYS: dict[str, Any] = {
    "name": "mine",
    "train": {"epochs": 2, "precision": "float32", "learning_rate": 0.1},
    "prune": {"ratio": 0.5, "rounds": 1},
    "finetune": {"epochs": 1},
    "recipe": {"data": {"sample_images": 8, "calibration_images": 8}},
    "budget": {"accuracy_drop": 50.0},
    "build": {"precision": "fp32"},
}


def network() -> nn.Module:
    return convolutions()


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    import numpy as np

    rows = torch.from_numpy(np.loadtxt(digits(), delimiter=",", dtype=np.float32, max_rows=500))
    pixels = (rows[:, :64].reshape(-1, 1, 8, 8) / 8 - 1).expand(-1, 3, -1, -1).contiguous()
    labels = rows[:, 64].long()
    train, validation = TensorDataset(pixels[:400], labels[:400]), TensorDataset(pixels[400:], labels[400:])
    return DataLoader(train, 32, shuffle=True), DataLoader(validation, 32)


def test_a_second_call_finds_what_the_first_one_made(tmp_path: Path) -> None:
    given = network()
    before = copy.deepcopy(given.state_dict())
    ran = jetpress.run(model=given, data=loaders(), target="xavier", home=tmp_path, **KEYS)
    assert {one.name: one.state for one in ran.stages}["train"] == "ran"
    assert ran.compressed.parameters < ran.dense.parameters
    assert all(map(torch.equal, before.values(), given.state_dict().values()))
    assert ran._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')

    user_code._kept.clear()
    again = jetpress.plan(model=network(), data=loaders(), target="xavier", home=tmp_path, **KEYS)
    assert {one.state for one in again} == {"cached", "skipped"}
    names = recipe_names(memory.recipe_of(network(), loaders(), {}, (), memory.Store(tmp_path)))
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONPATH": root}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == names


def recipe_names(recipe: jetpress.Recipe) -> list[str]:
    return [recipe.model.builder, recipe.data.source, Path(str(recipe.model.weights)).name]


def test_what_was_in_memory_says_so_elsewhere(tmp_path: Path) -> None:
    recipe = memory.recipe_of(network(), loaders(), {}, (), memory.Store(tmp_path / ".store"))
    assert recipe.train.epochs == 0
    assert recipe.data.batch_size == 32
    assert recipe == memory.recipe_of(network(), loaders(), {}, (), memory.Store(tmp_path / ".store"))
    (tmp_path / "again.toml").write_text(recipe.to_toml())
    other = jetpress.Recipe.load(tmp_path / "again.toml")
    user_code._kept.clear()
    with pytest.raises(RecipeError, match="was given in memory by a program that ran then"):
        jetpress.plan(other, "xavier", home=tmp_path)


class Scaled(nn.Module):
    def __init__(self, scale: object) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(3, 2), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale  # type: ignore[no-any-return]


def test_a_network_is_known_by_code_and_attributes_and_not_by_its_mode() -> None:
    known = memory.digest_of_module(Scaled(2.0))
    assert known == memory.digest_of_module(Scaled(2.0).eval())
    different = [Scaled(3.0), Scaled((2.0,)), Scaled(torch.tensor(2.0)), nn.Linear(3, 2), nn.Linear(2, 3)]
    assert len({known, *map(memory.digest_of_module, different)}) == 6
    typed: dict[str, Any] = {"nn": nn, "__name__": "__main__"}
    for scale in (2, 3):  # as in a notebook: no file has it
        exec(f"class Own(nn.Module):\n    def forward(self, x): return x * {scale} + x ** {scale}", typed)
        typed[f"digest{scale}"] = memory.digest_of_module(typed["Own"]())
    assert typed["digest2"] != typed["digest3"]


def test_data_is_known_by_its_samples_in_order() -> None:
    inputs, target = torch.arange(12.0).reshape(6, 2), torch.arange(6)

    def digest(*parts: torch.Tensor, **how: Any) -> str:
        return memory.digest_of_data({"train": held(DataLoader(TensorDataset(*parts), 2, **how))})

    known = digest(inputs, target)
    assert digest(inputs, target, shuffle=True) == known  # the order of a loader is not that of the data
    assert digest(inputs.flip(0), target.flip(0)) != known
    assert digest(inputs, target + 1) != known
    assert digest(inputs.double(), target) != known


def test_what_does_not_go_together_is_one_message(tmp_path: Path) -> None:
    net: Any = network()
    with pytest.raises(RecipeError, match="belong together"):
        jetpress.run(model=net, home=tmp_path)
    with pytest.raises(RecipeError, match="belong together"):
        jetpress.run(home=tmp_path)
    with pytest.raises(RecipeError, match="the first argument is a recipe, this is a Sequential"):
        jetpress.run(net, home=tmp_path)
    with pytest.raises(RecipeError, match=r"no key 'prune\.ratios'"):
        jetpress.plan("digits", "xavier", home=tmp_path, prune={"ratios": 0.5})
    with pytest.raises(RecipeError, match="data is tuple of 4"):
        jetpress.run(model=net, data=loaders() * 2, home=tmp_path)
    with pytest.raises(RecipeError, match="model of a recipe is a ModelConfig, this is a Sequential"):
        jetpress.Recipe("mine", model=net)


def test_keys_change_a_recipe(tmp_path: Path) -> None:
    from jetpress.pipeline import calling

    changed = calling._chosen("digits", tmp_path, None, None, {}, {"prune": {"ratio": 0.0}, "seed": 3})
    assert (changed.prune.ratio, changed.seed, changed.name) == (0.0, 3, "digits")
    assert changed.prune.rounds == jetpress.Recipe.load("digits").prune.rounds
