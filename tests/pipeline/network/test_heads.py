"""A network that was trained on other classes is fine-tuned on those of the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import heads, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.stages.source import source
from jetpress.pipeline.stages.train import train
from jetpress.pipeline.store.artifact import Checkpoint
from tests.pipeline import small

OWN = '''
from torch import nn

def net(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(32, classes))

def takes(num_classes=1000, width=8):
    return net(num_classes)

def fixed():
    return net(1000)

def convolutional():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 20, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Auxiliary(nn.Module):
    """Two heads, of which one only trains."""

    def __init__(self, n_classes):
        super().__init__()
        self.body, self.aux, self.fc = net(16), nn.Linear(16, n_classes), nn.Linear(16, n_classes)

    def forward(self, x):
        x = self.body(x)
        return (self.fc(x), self.aux(x)) if self.training else self.fc(x)

def auxiliary(n_classes=100):
    return Auxiliary(n_classes)
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def given(folder: Path, function: str, weights: bool = True, trains: bool = True, **rest: Any) -> Checkpoint:
    """The digits' ten classes for a network whose file has as many classes as its builder makes."""
    builder = f"{folder / 'own.py'}:{function}"
    if weights:
        content = {"state_dict": models.build(ModelConfig(builder), seed=5).state_dict()}
        torch.save(content, folder / "trained.pth")
        rest["weights"] = str(folder / "trained.pth")
    name = f"source-{len(list(folder.iterdir()))}"
    config = SourceConfig(ModelConfig(builder, **rest), small.DIGITS, trains=trains)
    return source(config, small.draft(folder, name))


@pytest.mark.parametrize(
    ("function", "line"),
    [
        ("takes", "    WARNING: 5: 1000 -> 10 classes, new: it needs training\n"),
        ("fixed", "    WARNING: 5: 1000 -> 10 classes, new: it needs training\n"),
        ("convolutional", "    WARNING: 2: 20 -> 10 classes, new: it needs training\n"),
        ("auxiliary", "    WARNING: aux: 100 -> 10 classes; fc: 100 -> 10 classes, new: it needs training\n"),
    ],
)
def test_the_last_layer_is_new_and_the_rest_is_loaded(
    own: Path, function: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = given(own, function)
    assert capsys.readouterr().err.endswith(line)
    assert made.facts.validation is None
    network, file = models.load(made), torch.load(own / "trained.pth")["state_dict"]
    assert network.module(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    same = {name: torch.equal(one, file[name]) for name, one in network.module.state_dict().items()
            if one.shape == file[name].shape}  # fmt: skip
    assert all(same.values())
    assert len(file) - len(same) == (4 if function == "auxiliary" else 2)


@pytest.mark.parametrize("function", ["takes", "fixed"])
def test_a_new_layer_repeats_with_the_seed_and_trains(own: Path, function: str) -> None:
    one, two = given(own, function), given(own, function)
    first, second = (models.load(made).module.state_dict() for made in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)
    folder = small.draft(own, "train")
    tuned = train(TrainConfig(epochs=2), one, folder)
    assert tuned.facts.validation > 30
    assert models.load(tuned).module(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_without_training_a_new_layer_is_refused(own: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        given(own, "takes", trains=False)
    assert caught.value.what == (
        "trained.pth: not loaded, so untrained: 5: 1000 -> 10 classes; and train.epochs = 0 trains nothing"
    )
    assert "train.epochs = 5" in caught.value.hint


def test_the_builder_takes_the_number_of_classes_from_the_data(own: Path) -> None:
    made = given(own, "takes", weights=False, arguments={"width": 8})
    assert models.load(made).model.arguments == {"width": 8, "num_classes": 10}
    assert models.load(given(own, "auxiliary", weights=False)).model.arguments == {"n_classes": 10}
    assert models.load(small.start(own)).model.arguments == {}


def test_weights_of_the_same_classes_load_wholly(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(
        models.build(ModelConfig(f"{own / 'own.py'}:takes", {"num_classes": 10})).state_dict(),
        own / "ten.pth",
    )
    made = given(own, "takes", weights=False, trains=False)
    for function in ("takes", "fixed"):
        config = ModelConfig(f"{own / 'own.py'}:{function}", weights=str(own / "ten.pth"))
        made = source(SourceConfig(config, small.DIGITS, trains=False), small.draft(own, function))
        assert made.facts.validation is not None
    assert "new" not in capsys.readouterr().err


def test_another_number_in_the_recipe_is_refused(own: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        given(own, "takes", arguments={"num_classes": 1000})
    assert caught.value.what == "model.arguments has num_classes = 1000, the data has 10 classes"
    assert caught.value.hint.startswith("leave num_classes out: it is taken from the data")


def test_a_head_may_have_to_fit(own: Path) -> None:
    with pytest.raises(RecipeError, match=r"5\.weight: \(1000, 32\) in the file, \(10, 32\) in the network"):
        given(own, "takes", head="keep")


def test_a_head_is_new_where_the_recipe_says_so(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with as many classes, with none in the file, and with other layers there."""
    builder = f"{own / 'own.py'}:takes"
    ten = models.build(ModelConfig(builder, {"num_classes": 10}), seed=5).state_dict()
    body = {name: one for name, one in ten.items() if not name.startswith("5.")}
    files = {
        "same": ten,
        "none": body,
        "other": {**body, "5.0.weight": torch.ones(3, 3), "5.2.bias": torch.ones(4)},
    }
    for name, weights in files.items():
        torch.save(weights, own / f"{name}.pth")
        config = ModelConfig(builder, weights=str(own / f"{name}.pth"), head="new")
        module = models.load(source(SourceConfig(config, small.DIGITS), small.draft(own, name))).module
        assert torch.equal(module.get_parameter("0.weight"), ten["0.weight"])
        assert not torch.equal(module.get_parameter("5.weight"), ten["5.weight"])
        assert "    WARNING: 5: 10 classes, new: it needs training\n" in capsys.readouterr().err
    config = SourceConfig(ModelConfig(builder, weights=str(own / "none.pth")), small.DIGITS)
    folder = small.draft(own, "auto")
    with pytest.raises(RecipeError, match="missing: 5") as caught:
        source(config, folder)
    assert caught.value.hint.startswith('the last layer is not in the file: model.head = "new"')


def test_names_may_be_skipped(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given(own, "takes", skip=("0.*", "5.*"))
    assert capsys.readouterr().err.endswith("    WARNING: 0; 5: 1000 -> 10 classes, new: it needs training\n")


def test_more_than_the_last_layer_is_no_new_head(own: Path) -> None:
    (own / "wide.py").write_text(
        OWN.replace("(8, 20, 1)", "(9, 20, 1)").replace("Conv2d(3, 8, 3)", "Conv2d(3, 9, 3)")
    )
    torch.save(models.build(ModelConfig(f"{own / 'wide.py'}:convolutional")).state_dict(), own / "wide.pth")
    config = ModelConfig(f"{own / 'own.py'}:convolutional", weights=str(own / "wide.pth"))
    with pytest.raises(RecipeError, match="weights of another network"):
        source(SourceConfig(config, small.DIGITS), small.draft(own, "wide"))


def fitted(builder: str, classes: int, **arguments: Any) -> Network:
    """The network as :func:`heads.fit_classes` makes it for random images."""
    model = ModelConfig(builder, arguments)
    network = Network(models.build(model, 3).eval(), model, DataConfig(), 3)
    return heads.fit_classes(network, classes, (torch.randn(2, 3, 64, 64),))


@pytest.mark.parametrize(
    "name", ["torchvision:mobilenet_v3_small", "torchvision:squeezenet1_1", "timm:resnet10t"]
)
def test_networks_of_libraries(tmp_path: Path, name: str) -> None:
    samples = (torch.randn(2, 3, 64, 64),)
    network = fitted(name, 3)
    assert network.module(*samples).shape == (2, 3)
    original = models.build(ModelConfig(name), seed=9).state_dict()
    torch.save(original, tmp_path / "weights.pth")
    network = replace(network, model=replace(network.model, weights=str(tmp_path / "weights.pth")))
    (layer,) = heads.load(network, samples, trains=True)
    assert (layer.before, layer.classes) == (1000, 3)
    first = next(iter(original))
    assert torch.equal(network.module.state_dict()[first], original[first])


def test_the_class_heads_of_a_detector_are_new(tmp_path: Path) -> None:
    """Regression heads are loaded."""
    name, samples = "torchvision:ssdlite320_mobilenet_v3_large", (torch.randn(2, 3, 320, 320),)
    original = models.build(ModelConfig(name), seed=9).state_dict()
    torch.save(original, tmp_path / "weights.pth")
    model = ModelConfig(name, {"num_classes": 4}, weights=str(tmp_path / "weights.pth"))
    network = Network(models.build(model, 3).eval(), model, DataConfig(), 3)
    new = heads.load(network, samples, trains=True)
    assert [str(one) for one in new] == [
        f"head.classification_head.module_list.{level}.1: 91 -> 4 classes" for level in range(6)
    ]
    box = "head.regression_head.module_list.0.1.weight"
    assert torch.equal(network.module.state_dict()[box], original[box])


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("not today")


def test_a_network_that_does_not_run_is_left_to_its_own_message() -> None:
    network = Network(Broken(), ModelConfig("torchvision:resnet18"), DataConfig())
    assert heads.fit_classes(network, 3, (torch.zeros(1, 3, 8, 8),)) is network
