"""Checkpoints as people have them: whatever lies around the weights, the same weights are loaded."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import io
import os
import pickle
import re
import subprocess
import tarfile
import types
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import models
from jetpress.pipeline.network.checkpoints import Choice, load_weights
from jetpress.pipeline.network.stored import fits_of, flattened
from jetpress.pipeline.recipe.sections.model import ModelConfig

Weights = dict[str, torch.Tensor]


def network(seed: int = 0, classes: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = {
        "a": nn.Conv2d(3, 8, 3),
        "bn": nn.BatchNorm2d(8),
        "relu": nn.ReLU(),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(288, classes),
    }
    return nn.Sequential(collections.OrderedDict(layers)).eval()


MEANT, OTHER = network(1).state_dict(), network(2).state_dict()


def prefixed(weights: Mapping[str, torch.Tensor], prefix: str) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def of(change: Callable[[nn.Module], object]) -> Weights:
    """The state_dict of the network after a change that leaves what it computes as it is."""
    module = network(1)
    change(module)
    return module.state_dict()


def weight_norm(layer: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(layer)


def averaged() -> Weights:
    module = AveragedModel(network(1), multi_avg_fn=get_ema_multi_avg_fn(0.99))
    return module.state_dict()


def optimizer_state() -> dict[str, Any]:
    module = network(1)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


FORMS: dict[str, Any] = {
    "plain": MEANT,
    "state_dict": {"state_dict": MEANT, "epoch": 3, "arch": "net"},
    "scalar tensor at the top": {"state_dict": MEANT, "best_acc1": torch.tensor(77.0)},
    "scalar tensor beside names": {**MEANT, "best_acc1": torch.tensor(77.0)},
    "numbers and texts beside names": {**MEANT, "epoch": 3, "arch": "net", "note": None},
    "nested": {"model": {"state_dict": MEANT}},
    "nested deeply": {"a": {"b": {"c": [{"d": (MEANT,)}]}}},
    "in a list": [MEANT],
    "in a tuple with an optimizer": (MEANT, {"lr": 0.1}),
    "module.": prefixed(MEANT, "module."),
    "_orig_mod.": prefixed(MEANT, "_orig_mod."),
    "_orig_mod.module.": prefixed(MEANT, "_orig_mod.module."),
    "module._orig_mod.": {"model": prefixed(MEANT, "module._orig_mod.")},
    "net.": prefixed(MEANT, "net."),
    "backbone.": {"state_dict": prefixed(MEANT, "backbone.")},
    "student.encoder.": prefixed(MEANT, "student.encoder."),
    "Lightning": {
        "state_dict": {**prefixed(MEANT, "model."), "criterion.weight": torch.ones(4)},
        "pytorch-lightning_version": "2.5",
        "hyper_parameters": {"lr": 0.1},
    },
    "compiled in part": {name.replace("fc.", "fc._orig_mod."): tensor for name, tensor in MEANT.items()},
    "DataParallel in part": {name.replace("a.", "a.module.", 1): tensor for name, tensor in MEANT.items()},
    "AveragedModel": averaged(),
    "EMA beside, timm": {"state_dict": OTHER, "state_dict_ema": MEANT},
    "EMA beside, model_ema": {"model": OTHER, "model_ema": MEANT},
    "EMA beside, ema_state_dict": {"state_dict": OTHER, "ema_state_dict": prefixed(MEANT, "module.")},
    "EMA beside, params_ema": {"params": OTHER, "params_ema": MEANT},
    "EMA beside, an object's own": {"model": OTHER, "ema": {"module": MEANT, "updates": 12}},
    "EMA of the same weights": {"model": MEANT, "ema": MEANT},
    "EMA beside names": {**OTHER, "ema": MEANT},
    "EMA, Lightning": {"state_dict": {
        **prefixed(OTHER, "model."), **prefixed(MEANT, "ema_model.module."), "ema_model.n_averaged": torch.tensor(3)}},
    "params": {"params": MEANT},
    "generator": {"generator": MEANT, "discriminator": {"0.weight": torch.ones(2, 2)}},
    "optimizer beside": {"model": MEANT, "optimizer": optimizer_state(), "scheduler": {"last_epoch": 3}},
    "optimizer beside names": {**MEANT, "optimizer": optimizer_state()},
    "masked by torch.nn.utils.prune": None,
    "weight norm, old": of(lambda m: weight_norm(m.get_submodule("a"))),
    "weight norm, new": of(lambda m: parametrizations.weight_norm(m.get_submodule("fc"))),
    "thop": {**MEANT, "total_ops": torch.zeros(1), "a.total_ops": torch.zeros(1), "a.total_params": torch.zeros(1)},
    "NumPy scalars": {"state_dict": MEANT, "acc": np.float64(3.5), "epoch": np.int64(3), "ok": np.bool_(True)},
    "NumPy arrays": {name: tensor.numpy() for name, tensor in MEANT.items()},
    "command line": {"model": MEANT, "args": argparse.Namespace(lr=0.1, out=Path("runs"), names=["a"])},
    "namespace": {"model": MEANT, "config": types.SimpleNamespace(depth=3)},
    "default dictionary": {"model": MEANT, "log": collections.defaultdict(list, {"loss": [0.1]})},
    "OrderedDict": collections.OrderedDict(MEANT),
    "parameters": {"model": dict(network(1).named_parameters()) | dict(network(1).named_buffers())},
    "without counters": {name: t for name, t in MEANT.items() if "num_batches" not in name},
    "a folder for each module": {
        "a": {"weight": MEANT["a.weight"], "bias": MEANT["a.bias"]},
        "bn": {name.removeprefix("bn."): t for name, t in MEANT.items() if name.startswith("bn.")},
        "fc": {"weight": MEANT["fc.weight"], "bias": MEANT["fc.bias"]},
    },
}  # fmt: skip


def expect(module: nn.Module, weights: Mapping[str, torch.Tensor], near: float = 0.0) -> None:
    for name, tensor in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(tensor, weights[name], rtol=0, atol=near), name


def loaded(folder: Path, content: object, **choice: Any) -> nn.Module:
    torch.save(content, folder / "weights.pth")
    module = network()
    load_weights(module, folder / "weights.pth", Choice(**choice))
    return module


@pytest.mark.parametrize("form", [name for name, content in FORMS.items() if content is not None])
def test_the_weights_meant_are_loaded(tmp_path: Path, form: str) -> None:
    expect(loaded(tmp_path, FORMS[form]), MEANT, near=1e-6 if "norm" in form else 0.0)


def test_a_pruned_weight_is_the_product_with_its_mask(tmp_path: Path) -> None:
    module = network(1)
    prune.l1_unstructured(module.get_submodule("fc"), "weight", 0.5)
    got = loaded(tmp_path, module.state_dict())
    assert torch.equal(got.get_parameter("fc.weight"), module.get_submodule("fc").weight)
    assert int((got.get_parameter("fc.weight") == 0).sum()) == 288 * 2


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("layer", ["a", "fc"])
def test_spectral_norm_is_what_the_network_computes(tmp_path: Path, norm: Any, layer: str) -> None:
    module = network(1)
    norm(module.get_submodule(layer))
    x = torch.randn(2, 3, 8, 8)
    expected = module.eval()(x)
    assert torch.allclose(loaded(tmp_path, module.state_dict())(x), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    half = {name: t.to(dtype) if t.is_floating_point() else t for name, t in MEANT.items()}
    module = loaded(tmp_path, half)
    assert module.get_parameter("fc.weight").dtype == torch.float32
    expect(module, {name: t.to(torch.float32) for name, t in half.items()})


def test_other_files_of_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **{name: t.numpy() for name, t in MEANT.items()})
    save_file(MEANT, tmp_path / "weights.bin")
    torch.save({"state_dict": MEANT}, tmp_path / "weights.pth.tar", _use_new_zipfile_serialization=False)
    torch.save({"model": MEANT, "args": argparse.Namespace(lr=1)}, tmp_path / "old.pt",
               _use_new_zipfile_serialization=False)  # fmt: skip
    for name in ("weights.npz", "weights.bin", "weights.pth.tar", "old.pt"):
        module = network()
        load_weights(module, tmp_path / name)
        expect(module, MEANT)


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()


def test_the_network_may_be_what_wraps(tmp_path: Path) -> None:
    torch.save({"model": MEANT}, tmp_path / "weights.pth")
    module = Wrapper()
    load_weights(module, tmp_path / "weights.pth")
    expect(module.inner, MEANT)


KEYS = st.sampled_from(
    [
        "state_dict",
        "model",
        "net",
        "module",
        "params",
        "weights",
        "0",
        "G",
        "backbone",
        "_orig_mod",
        "a",
        "fc",
        "x.y",
    ]
)
STRAY = st.sampled_from([3, "text", None, torch.tensor(0.5), [torch.ones(2)], {"lr": 0.1}, torch.ones(3, 3)])


@given(st.lists(st.tuples(st.sampled_from(["nest", "prefix", "list"]), KEYS, STRAY), max_size=6))
def test_any_wrapping_of_the_same_weights_loads_the_same(steps: list[tuple[str, str, Any]]) -> None:
    """Through the same functions as a file, but for the file."""
    content: Any = dict(MEANT)
    flat = True
    for kind, key, stray in steps:
        if kind == "prefix" and flat:
            content = prefixed(content, f"{key}.")
        elif kind == "list":
            content, flat = [stray, content], False
        else:
            content, flat = {f"{key}_stray": stray, key: content}, False
    stored = flattened(content)
    fits = fits_of(stored.tensors, MEANT)
    assert fits[0].same == len(MEANT)
    assert all(torch.equal(stored.tensors[there], MEANT[name]) for name, there in fits[0].names.items())


def test_an_average_is_preferred_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded(tmp_path, FORMS["EMA beside, timm"])
    assert capsys.readouterr().err == (
        "    weights.pth: the averaged weights 'state_dict_ema' are taken (EMA), not those of 'state_dict'\n"
    )
    loaded(tmp_path, FORMS["EMA of the same weights"])
    assert capsys.readouterr().err == ""


def test_an_average_without_buffers_is_not_taken_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = dict(network(2).named_parameters())
    expect(loaded(tmp_path, {"state_dict": MEANT, "ema": some}), MEANT)
    assert capsys.readouterr().err == (
        "    weights.pth: the averaged weights 'ema' lack 3 of the network's: those of 'state_dict' are taken\n"
    )


def test_what_is_left_in_the_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded(tmp_path, FORMS["Lightning"])
    assert capsys.readouterr().err == (
        "    weights.pth: not loaded, as no part of the network: state_dict.criterion.weight\n"
    )


def refused(folder: Path, content: object, module: nn.Module | None = None, **choice: Any) -> RecipeError:
    path = folder / "weights.pth"
    if not isinstance(content, Path):
        torch.save(content, path)
    with pytest.raises(RecipeError) as caught:
        load_weights(network() if module is None else module, path, Choice(**choice))
    return caught.value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "is a pointer of Git LFS and holds no weights",
        ),
        ("\n<!DOCTYPE html><html>", "is a web page and holds no weights"),
        ('{"a": 1}', "is text and holds no weights"),
        ("hello", "does not load as plain weights (ValueError)"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "weights.pth").write_text(text)
    assert refused(tmp_path, tmp_path / "weights.pth").what.endswith(f"weights.pth {what}")


def test_parts_in_dictionaries_of_their_own_are_all_of_the_network(tmp_path: Path) -> None:
    parts = {**FORMS["a folder for each module"], "optimizer": optimizer_state()}
    expect(loaded(tmp_path, parts), MEANT)
    error = refused(tmp_path, {**parts, "neck": {"weight": torch.ones(2, 2)}})
    assert "unknown: neck.weight (2, 2)" in error.what


@pytest.mark.parametrize("name", ["densenet121", "retinanet_resnet50_fpn"])
def test_old_names_of_torchvision(tmp_path: Path, name: str) -> None:
    """As its files of trained weights still have them."""
    old = (
        (r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
        (r"((?:inner|layer)_blocks\.\d+|_head\.conv\.\d+)\.0\.(weight|bias)", r"\1.\2"),
    )
    builder = ModelConfig(f"torchvision:{name}")
    weights = models.build(builder, 1).state_dict()
    renamed = {reduce(lambda n, rule: re.sub(*rule, n), old, name): one for name, one in weights.items()}
    assert renamed.keys() != weights.keys()
    torch.save(renamed, tmp_path / "weights.pth")
    module = models.build(builder, 2)
    load_weights(module, tmp_path / "weights.pth")
    expect(module, weights)


def test_two_that_fit_are_not_chosen_between(tmp_path: Path) -> None:
    error = refused(tmp_path, {"student": MEANT, "teacher": OTHER})
    assert error.what.endswith("holds several sets of weights that fit the network: 'student', 'teacher'")
    assert error.hint == 'leave out those that are not meant: model.skip = ["teacher.*"]'
    expect(loaded(tmp_path, {"student": MEANT, "teacher": OTHER}, skip=("teacher.*",)), MEANT)
    twice = {**prefixed(MEANT, "module.encoder_q."), **prefixed(OTHER, "module.encoder_k.")}
    expect(loaded(tmp_path, {"state_dict": twice}, skip=("state_dict.module.encoder_k.*",)), MEANT)


def test_weights_that_are_trained_are_taken_where_the_average_is_skipped(tmp_path: Path) -> None:
    content = {"state_dict": MEANT, "state_dict_ema": {name: one.half() for name, one in OTHER.items()}}
    expect(loaded(tmp_path, content, skip=("state_dict_ema.*",)), MEANT)
    expect(loaded(tmp_path, content), {name: one.half().float() for name, one in OTHER.items()})


def test_what_the_file_holds_is_listed(tmp_path: Path) -> None:
    assert refused(tmp_path, {"epoch": 3, "loss": 0.5}).what.endswith(
        "weights.pth holds no tensors: keys epoch, loss; no tensors"
    )
    error = refused(tmp_path, {"state_dict": {"conv.weight": torch.ones(2, 2)}, "epoch": 1})
    assert error.what.endswith(
        "holds the weights of another network: no name is one of the network's\n"
        "    the file: keys state_dict, epoch; 1 tensors (state_dict.conv.weight)"
    )


def test_a_misfit_lists_what_is_missing_unknown_and_misshapen(tmp_path: Path) -> None:
    weights = dict(network(1, classes=7).state_dict()) | {"se.weight": torch.ones(8, 8)}
    del weights["a.bias"]
    error = refused(tmp_path, {"model": weights})
    assert error.what == (
        f"{tmp_path}/weights.pth holds the weights of another network: 6 fit, 1 missing, 1 unknown, "
        "2 of another shape\n"
        "    missing: a.bias (8,)\n"
        "    unknown: model.se.weight (8, 8)\n"
        "    fc.weight: (7, 288) in the file, (4, 288) in the network\n"
        "    fc.bias: (7,) in the file, (4,) in the network\n"
        "    the file: keys model; 9 tensors (model.a.weight, model.bn.weight, model.bn.bias, "
        "model.bn.running_mean, model.bn.running_var, ... (9))"
    )
    assert "model.skip" in error.hint


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    eight_bits = dict(MEANT) | {"fc.weight": torch.ones(4, 288, dtype=torch.int8)}
    assert "fc.weight: int8 in the file, float32 in the network" in refused(tmp_path, eight_bits).what


def test_names_that_are_skipped_stay_as_they_were_built(tmp_path: Path) -> None:
    weights = dict(MEANT) | {"se.weight": torch.ones(8, 8)}
    module = network()
    torch.save(weights, tmp_path / "weights.pth")
    new = load_weights(module, tmp_path / "weights.pth", Choice(skip=("fc.*", "se.*")))
    assert list(new) == ["fc.weight", "fc.bias"]
    assert torch.equal(module.get_parameter("fc.weight"), network().get_parameter("fc.weight"))
    assert torch.equal(module.get_parameter("a.weight"), MEANT["a.weight"])


CONVERTS = re.compile(r'python -c "(.+)"; then take plain\.pt')
CODE = """
from torch import nn
class Net(nn.Sequential):
    pass
"""


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_network_is_named_and_the_line_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    (tmp_path / "their_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import their_code

    whole = their_code.Net(collections.OrderedDict(network(1).named_children()))
    error = refused(tmp_path, {"model": whole, "ema": None} if wrapped else whole)
    place = " at 'model'" if wrapped else ""
    assert error.what == (
        f"{tmp_path}/weights.pth holds a whole network, their_code.Net{place}, and not its weights by name: "
        "to read it would run code"
    )
    converts_to_the_same(tmp_path, error)


def converts_to_the_same(folder: Path, error: RecipeError) -> None:
    line = CONVERTS.search(error.hint)
    assert line
    with contextlib.chdir(folder), warnings.catch_warnings(action="ignore"):
        exec(line[1], {})
    module = network()
    load_weights(module, folder / "plain.pt")
    expect(module, MEANT)


def test_a_torch_script_archive_is_named_and_the_line_converts_it(tmp_path: Path) -> None:
    with pytest.warns(FutureWarning):
        torch.jit.script(network(1)).save(str(tmp_path / "weights.pth"))
    error = refused(tmp_path, tmp_path / "weights.pth")
    assert "weights.pth is a TorchScript archive (__torch__." in error.what
    converts_to_the_same(tmp_path, error)


def circle() -> Weights:
    whole = dict(network(1).state_dict())
    whole["itself"] = {"again": [whole]}
    return whole


def test_a_file_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    expect(loaded(tmp_path, circle()), network(1).state_dict())


def test_sparse_weights_are_what_they_stand_for(tmp_path: Path) -> None:
    weights = network(1).state_dict()
    expect(loaded(tmp_path, {name: one.to_sparse() for name, one in weights.items()}), weights)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda one: one.to("meta"), "shapes without values"),
        (lambda one: one.to(torch.complex64), "complex64 in the file, float32 in the network"),
        (lambda one: one.to(torch.int8), "int8 in the file, float32 in the network"),
        (lambda one: one > 0, "bool in the file, float32 in the network"),
    ],
)
@pytest.mark.parametrize("every", [True, False])
def test_what_could_only_be_loaded_with_loss_is_refused(
    tmp_path: Path, change: Any, what: str, every: bool
) -> None:
    weights = network().state_dict()
    first = next(iter(weights))
    changed = {name: change(one) if every or name == first else one for name, one in weights.items()}
    assert what in refused(tmp_path, changed).what


def test_several_files_become_one(tmp_path: Path) -> None:
    names = list(MEANT)
    for number, part in enumerate((names[:3], names[3:])):
        save_file({name: MEANT[name] for name in part}, tmp_path / f"part-{number}.safetensors")
    (tmp_path / "weights.pth").write_text(
        '{"weight_map": {"a": "part-0.safetensors", "b": "part-1.safetensors"}}'
    )
    error = refused(tmp_path, tmp_path / "weights.pth")
    assert error.what.endswith("weights.pth is an index of 2 files of weights")
    line = re.search(r'python -c "(.+)"; then take all\.safetensors', error.hint)
    assert line
    with contextlib.chdir(tmp_path):
        exec(line[1], {})
    module = network()
    load_weights(module, tmp_path / "all.safetensors")
    expect(module, MEANT)


class Calls:
    """Wants a function called when it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


CANARIES: dict[str, Callable[[Path], Any]] = {
    "os.mkdir": lambda path: Calls(os.mkdir, str(path)),
    "exec": lambda path: Calls(exec, f"open({str(path)!r}, 'w')"),
    "getattr": lambda path: Calls(Path.touch, path),
    "subprocess": lambda path: Calls(subprocess.run, ["touch", str(path)]),
    "partial": lambda path: Calls(partial, os.mkdir, str(path)),
    "numpy": lambda path: Calls(np.savetxt, str(path), [1]),
    "torch.save": lambda path: Calls(torch.save, 1, str(path)),
}


CALLED = {
    "os.mkdir": r"(posix|nt)\.mkdir",
    "exec": r"builtins\.exec",
    "getattr": r"builtins\.getattr",
    "subprocess": r"subprocess\.run",
    "partial": r"functools\.partial|posix\.mkdir",
    "numpy": r"numpy\..*savetxt",
    "torch.save": r"torch\.serialization\.save",
}


@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("beside", [True, False])
def test_nothing_is_ever_called(tmp_path: Path, kind: str, new: bool, beside: bool) -> None:
    canary, evil = tmp_path / "canary", CANARIES[kind](tmp_path / "canary")
    content = {"state_dict": MEANT, "args": evil} if beside else evil
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=new)
    error = refused(tmp_path, tmp_path / "weights.pth")
    assert re.search(f"what only running code makes: {CALLED[kind]} would be called to read it", error.what)
    assert "where you trust the file, run: python -c" in error.hint
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["plain", "tar", "objects", "exported"])
def test_nothing_is_called_in_other_containers(tmp_path: Path, kind: str) -> None:
    """A pickle as it is, PyTorch's oldest format, NumPy's objects, and what stands for an exported program."""
    canary, path = tmp_path / "canary", tmp_path / "weights.pth"
    evil = Calls(os.mkdir, str(canary))
    content = pickle.dumps(evil, protocol=2)
    if kind == "plain":
        path.write_bytes(content)
    elif kind == "objects":
        with path.open("wb") as file:
            np.savez(file, w=np.array([evil], dtype=object))
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            for name in ("sys_info", "pickle", "tensors", "storages"):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        inner = io.BytesIO()
        torch.save(evil, inner)
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("m/models/model.json", "{}")
            packed.writestr("m/data/sample_inputs/model.pt", inner.getvalue())
    assert refused(tmp_path, path).hint
    assert not canary.exists()
    copy.copy(evil)  # calls what it names, as unpickling does
    assert canary.exists()


class Bad:
    """Runs code where its state is set."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).touch()


def test_an_object_is_only_read(tmp_path: Path) -> None:
    """Neither its constructor nor its ``__setstate__`` runs."""
    expect(loaded(tmp_path, {"model": MEANT, "bad": Bad(tmp_path / "canary")}), MEANT)
    assert not (tmp_path / "canary").exists()
    copy.copy(Bad(tmp_path / "canary"))  # sets the state, as unpickling does
    assert (tmp_path / "canary").exists()


def test_arrays_that_hold_pointers_are_not_made(tmp_path: Path) -> None:
    objects = np.array([[1], "text"], dtype=object)
    expect(loaded(tmp_path, {"model": MEANT, "names": objects, "when": np.datetime64("2026-01-01")}), MEANT)
    forged = pickle.dumps({"a": np.zeros(3)}, protocol=2).replace(b"f8", b"O8")
    (tmp_path / "weights.pth").write_bytes(forged)
    assert "does not load" in refused(tmp_path, tmp_path / "weights.pth").what


@settings(max_examples=40)
@given(st.data())
def test_damaged_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Never a traceback, never another exit code."""
    folder = tmp_path_factory.mktemp("damaged")
    torch.save({"m": copy.deepcopy(MEANT), "n": np.float64(1)}, folder / "weights.pth")
    raw = bytearray((folder / "weights.pth").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(len(raw), 4000) - 1))] = data.draw(st.integers(0, 255))
    (folder / "weights.pth").write_bytes(bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))]))
    with contextlib.suppress(RecipeError):
        load_weights(network(), folder / "weights.pth")
