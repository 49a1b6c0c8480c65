"""Saved and loaded it is the same network; what is damaged or hostile gives one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import jetpress
from jetpress.deploy.errors import DeviceError, JetpressError, StageError
from tests.pipeline.functions.networks import INPUTS, Net, Stubborn, net


def prune(model: nn.Module | jetpress.Pruned, **how: Any) -> jetpress.Pruned:
    return jetpress.prune(model, INPUTS, **{"macs": 0.5, "channel_multiple": 2, **how})


def outputs(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(INPUTS)  # type: ignore[no-any-return]


def half_frozen() -> Net:
    model = net()
    model.first.requires_grad_(False)
    return model


def computed() -> Net:
    model = net()
    parametrizations.weight_norm(model.first)
    return model


@pytest.mark.parametrize("build", [net, Stubborn, half_frozen, computed, lambda: torch.compile(net())])
def test_two_rounds_are_saved_and_loaded(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    slim = prune(prune(build(), macs=0.3), macs=0.6)
    with torch.no_grad():
        slim.module.get_parameter("head.bias").fill_(3)
    jetpress.save(slim, tmp_path / "a" / "slim")
    assert sorted(path.name for path in (tmp_path / "a" / "slim").iterdir()) == [
        "pruned.json",
        "weights.safetensors",
    ]
    loaded = jetpress.load(tmp_path / "a" / "slim", build)
    assert torch.equal(outputs(loaded.module), outputs(slim.module))
    assert str(loaded) == str(slim)
    assert {n for n, p in loaded.module.named_parameters() if not p.requires_grad} == {
        n for n, p in slim.module.named_parameters() if not p.requires_grad
    }
    jetpress.save(loaded, tmp_path / "again")
    for name in ("pruned.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "a" / "slim" / name).read_bytes()


def test_types_are_saved(tmp_path: Path) -> None:
    slim = jetpress.prune(net().to(torch.bfloat16), INPUTS.to(torch.bfloat16), macs=0.5, channel_multiple=2)
    jetpress.save(slim, tmp_path)
    assert jetpress.load(tmp_path, net).module.get_parameter("first.weight").dtype is torch.bfloat16


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_of_a_later_training(prefix: str, tmp_path: Path) -> None:
    slim = prune(net())
    jetpress.save(slim, tmp_path)
    with torch.no_grad():
        slim.module.get_parameter("head.bias").fill_(5)
    state = {prefix + name: tensor for name, tensor in slim.module.state_dict().items()}
    assert torch.equal(outputs(jetpress.load(tmp_path, net, state).module), outputs(slim.module))
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.pth")
    assert torch.equal(
        outputs(jetpress.load(tmp_path, net, tmp_path / "last.pth").module), outputs(slim.module)
    )
    with pytest.raises(JetpressError, match="the weights given holds the weights of another network"):
        jetpress.load(tmp_path, net, net().state_dict())


def test_a_loaded_one_cuts_a_teacher_and_no_optimizer(tmp_path: Path) -> None:
    jetpress.save(prune(prune(net(), macs=0.3), macs=0.6), tmp_path)
    loaded = jetpress.load(tmp_path, net)
    teacher = loaded.prune_copy(net())
    assert teacher.first.weight.shape == loaded.module.get_parameter("first.weight").shape
    with pytest.raises(JetpressError, match="no parameter of the network that was pruned"):
        loaded.prune_optimizer(torch.optim.SGD(net().parameters()))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    jetpress.save(prune(net()), folder)
    return folder


def test_another_network_is_named(saved: Path) -> None:
    with pytest.raises(
        JetpressError, match=r"what build\(\) makes is another network .* head.weight: \[7, 16\] and"
    ):
        jetpress.load(saved, lambda: Net(7))


def changed(*keys: Any, to: Any) -> Callable[[Any], Any]:
    def change(table: Any) -> Any:
        inner = table
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        return table

    return change


KEPT = ("history", 0, "kept", "first.weight", "0")
HOSTILE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "not a table": (lambda _: 3, "damaged"),
    "another format": (changed("format", to=2), "format: Input should be 1"),
    "an unknown key": (changed("more", to=1), "more: Unexpected keyword argument"),
    "beyond the end": (changed(*KEPT, to=[[0, 17]]), "first.weight has no such positions along axis 0"),
    "far beyond the end": (changed(*KEPT, to=[[0, 10**15]]), "first.weight has no such positions along axis 0"),
    "backwards": (changed(*KEPT, to=[[4, 8], [0, 2]]), "first.weight has no such positions along axis 0"),
    "negative": (changed(*KEPT, to=[[-3, 8]]), "greater than or equal to 0"),
    "nothing kept": (changed(*KEPT, to=[]), "first.weight has no such positions along axis 0"),
    "another axis": (changed("history", 0, "kept", "first.weight", "7", to=[[0, 1]]), "along axis 7"),
    "a method": (changed("history", 0, "attributes", "", to={"forward": 3}), "the network has no width 'forward'"),
    "a dunder": (changed("history", 0, "attributes", "first", to={"__class__": 3}), "first has no width '__class__'"),
    "a flag": (changed("history", 0, "attributes", "first", to={"training": 1}), "first has no width 'training'"),
    "no integer": (changed("history", 0, "attributes", "first", to={"out_channels": "os"}), "should be a valid"),
    "no module": (changed("history", 0, "attributes", "gone", to={"out_channels": 1}), "gone has no width"),
    "no block": (changed("history", 0, to={"blocks": ["gone"]}), "there is no block 'gone'"),
    "the whole": (changed("history", 0, to={"blocks": [""]}), "there is no block ''"),
    "a huge input": (changed("inputs", 0, "shape", to=[10**6, 10**6, 10**6]), "inputs"),
    "no type": (changed("inputs", 0, "dtype", to="float7"), "there are no inputs of float7"),
    "a type": (changed("inputs", 0, "dtype", to="load"), "inputs.0.dtype: String should match pattern"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_pruning_says_is_refused(name: str, saved: Path, tmp_path: Path) -> None:
    change, said = HOSTILE[name]
    text = json.dumps(change(json.loads((saved / "pruned.json").read_text())))
    (tmp_path / "pruned.json").write_text(text)
    with pytest.raises(JetpressError) as caught:
        jetpress.load(tmp_path, net)
    assert said in str(caught.value)
    assert "pruned.json is damaged" in str(caught.value)


@pytest.mark.parametrize("name", ["pruned.json", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 99, "half"])
def test_a_damaged_file_is_named(name: str, content: bytes | str | None, saved: Path, tmp_path: Path) -> None:
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        whole = (saved / name).read_bytes()
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(JetpressError, match=f"{name} (cannot be read|is damaged)") as caught:
        jetpress.load(tmp_path, net)
    assert str(caught.value).count("\n") == 1


def test_weights_of_another_pruning_are_refused(saved: Path, tmp_path: Path) -> None:
    jetpress.save(prune(net(), macs=0.8), tmp_path)
    (tmp_path / "pruned.json").write_bytes((saved / "pruned.json").read_bytes())
    with pytest.raises(JetpressError, match=r"weights\.safetensors is damaged"):
        jetpress.load(tmp_path, net)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    slim = prune(net())
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="file"):
        jetpress.save(slim, tmp_path / "file" / "slim")
    with torch.no_grad():
        slim.module.get_parameter("head.bias").fill_(float("nan"))
    with pytest.raises(StageError, match=r"NaN or Inf in head\.bias"):
        jetpress.save(slim, tmp_path / "slim")
