from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.network import checkpoints, models
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.stages import source
from tests.pipeline import small

Weights = dict[str, torch.Tensor]


@pytest.fixture
def trained(tmp_path: Path) -> Weights:
    """Weights of the tiny network, none of them as it is built."""
    module = models.build(small.model(tmp_path), seed=5)
    return {
        name: tensor + 0.5 if tensor.is_floating_point() else tensor
        for name, tensor in module.state_dict().items()
    }


def prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": w, "optimizer": {"state": {}}},
        lambda w: prefixed(w, "module."),
        lambda w: {"state_dict": prefixed(w, "module.")},
        lambda w: {"model": {"state_dict": prefixed(w, "module._orig_mod.")}},
        lambda w: prefixed(w, "_orig_mod."),
        lambda w: {name: tensor for name, tensor in w.items() if "num_batches" not in name},
    ],
)
def test_the_usual_wrappings_are_understood(
    tmp_path: Path, trained: Weights, wrap: Callable[[Weights], Any]
) -> None:
    torch.save(wrap(trained), tmp_path / "weights.pth")
    module = models.build(small.model(tmp_path))
    checkpoints.load_weights(module, tmp_path / "weights.pth")
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, trained[name]), name


def test_safetensors_are_read(tmp_path: Path, trained: Weights) -> None:
    save_file(trained, tmp_path / "weights.safetensors")
    module = models.build(small.model(tmp_path))
    checkpoints.load_weights(module, tmp_path / "weights.safetensors")
    assert torch.equal(module.get_parameter("head.weight"), trained["head.weight"])


def test_weights_of_another_network_are_listed_by_name_and_shape(tmp_path: Path, trained: Weights) -> None:
    trained["stray"] = torch.zeros(3, 2)
    del trained["conv2.weight"]
    torch.save(trained, tmp_path / "weights.pth")
    module = models.build(replace(small.model(tmp_path), arguments={"classes": 7}))
    with pytest.raises(RecipeError, match="weights of another network") as caught:
        checkpoints.load_weights(module, tmp_path / "weights.pth")
    assert "missing: conv2.weight (32, 16, 3, 3)" in caught.value.what
    assert "unknown: stray (3, 2)" in caught.value.what
    assert "head.weight: (10, 128) in the file, (7, 128) in the network" in caught.value.what
    assert "num_classes" in caught.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, trained: Weights, value: float) -> None:
    trained["conv1.weight"][0, 0, 0, 0] = value
    torch.save(trained, tmp_path / "weights.pth")
    with pytest.raises(RecipeError, match=r"NaN or Inf in conv1\.weight"):
        checkpoints.load_weights(models.build(small.model(tmp_path)), tmp_path / "weights.pth")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/jetpress-was-here"),))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pth", None, "there are no weights"),
        ("text.pth", b"hello", "does not load as plain weights"),
        ("evil.pth", pickle.dumps(Evil()), "does not load as plain weights"),
        ("text.safetensors", b"hello", "is not a safetensors file"),
        ("empty.pth", b"", "does not load as plain weights"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=said) as caught:
        checkpoints.load_weights(models.build(small.model(tmp_path)), tmp_path / name)
    assert caught.value.hint
    assert not Path("/tmp/jetpress-was-here").exists()


def test_a_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(RecipeError, match="holds no tensors: keys epoch"):
        checkpoints.load_weights(models.build(small.model(tmp_path)), tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("builder", "arguments", "said"),
    [
        ("torchvision:resnet19", {}, "did you mean"),
        ("torchvision:mobilenetv2", {}, "did you mean mobilenet_v2"),
        ("torchvision:MobileNetV3Large", {}, "did you mean mobilenet_v3_large"),
        ("torchvision:resnet18", {"depth": 3}, "does not build"),
        ("timm:no_such_network", {}, "timm"),
        ("{folder}/network.py:missing", {}, "no function"),
        ("{folder}/absent.py:build", {}, "cannot be read"),
    ],
)
def test_builders_that_do_not_build(
    tmp_path: Path, builder: str, arguments: dict[str, Any], said: str
) -> None:
    small.model(tmp_path)
    with pytest.raises(RecipeError) as caught:
        models.build(ModelConfig(builder=builder.format(folder=tmp_path), arguments=arguments))
    assert said in str(caught.value)


def test_a_network_survives_saving_and_loading(tmp_path: Path) -> None:
    made = small.start(tmp_path)
    one, two = models.load(made), models.load(made)
    assert made.facts.parameters == sum(p.numel() for p in one.module.parameters())
    assert made.facts.macs > 0
    assert one.model.inputs == (InputConfig(shape=(3, 8, 8)),)
    x = models.example_inputs(one.model.inputs)
    assert torch.equal(one.module(*x), two.module(*x))
    assert not list(made.path.glob("*.p*"))


def test_a_network_with_nan_is_never_handed_on(tmp_path: Path) -> None:
    network = models.load(small.start(tmp_path))
    with torch.no_grad():
        network.module.get_parameter("head.bias").fill_(float("nan"))
    with pytest.raises(StageError, match=r"NaN or Inf in head\.bias"):
        models.save(network, small.draft(tmp_path, "nan"))


def test_the_source_evaluates_the_weights_it_is_given(tmp_path: Path) -> None:
    torch.save(models.build(small.model(tmp_path), 3).state_dict(), tmp_path / "weights.pth")
    made = small.start(tmp_path, weights=str(tmp_path / "weights.pth"))
    assert 0 <= made.facts.validation <= 100
    assert small.start(tmp_path, "again").facts.validation is None
    assert made.facts.data.classes[3] == "3"


def test_the_source_keeps_what_is_outside_the_recipe(tmp_path: Path) -> None:
    config = source.SourceConfig(small.model(tmp_path), small.DIGITS, inputs={"data": "abc"})
    assert source.source(config, small.draft(tmp_path, "s")).facts.inputs == {"data": "abc"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"function": "pair"}, r"does not take float32 \[3, 8, 8\]"),
        ({"inputs": (InputConfig(shape=(3, 9, 9)),)}, r"the recipe says float32 \[3, 9, 9\]"),
    ],
)
def test_a_network_that_does_not_fit_the_data(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        small.start(tmp_path, **change)
    assert caught.value.hint


def test_inputs_may_be_named_in_the_recipe(tmp_path: Path) -> None:
    made = small.start(tmp_path, inputs=(InputConfig(shape=(3, 8, 8), name="image"),))
    assert models.load(made).model.inputs[0].name == "image"


def test_layouts_with_a_version_and_tied_weights_are_filled_in() -> None:
    """MNASNet asks for the version of its layout, which no safetensors file holds."""
    from torchvision.models import mnasnet0_5

    network, again = mnasnet0_5(num_classes=3), mnasnet0_5(num_classes=3)
    checkpoints.fill(again, {name: tensor.clone() for name, tensor in network.state_dict().items()})
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))

    tied = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    tied["b"].weight = tied["a"].weight
    state = {
        name: torch.ones_like(tensor) for name, tensor in tied.state_dict().items() if name != "b.weight"
    }
    checkpoints.fill(tied, state)
    assert bool((tied["b"].weight == 1).all())
    with pytest.raises(RuntimeError, match=r"a\.bias"):
        checkpoints.fill(tied, {name: tensor for name, tensor in state.items() if name != "a.bias"})
