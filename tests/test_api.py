"""What ``import jetpress`` offers is frozen here: a change of it is a change for its users, and is made on purpose."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import pytest
import torch
from torch import nn

import jetpress
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.functions.arguments import DEFAULTS, Cutting, configured

SIGNATURES = {
    "Pruned": "module pruning dense size notes history original inputs last | prune_copy(model) prune_optimizer(optimizer) removed summary()",  # noqa: E501
    "Recipe": "name seed model task data train prune sparsify finetune export quantize qat equivalence build benchmark budget tracking | load(path, overrides=()) located(folder) parse(table, written=Written(where='recipe', text='', overrides=())) to_toml()",  # noqa: E501
    "Rounds": "| ",
    "check": "(model, example_inputs=None, *, target='host', precision=None)",
    "compare": "(*runs, device=None)",
    "distillation": "(student, teacher, *, kind='outputs', temperature=5.0, classes=True)",
    "engine": "(model, target='host', device=None, *, precision=None, calibration=None, shapes=None, pixels=Pixels(mean=(0.0,), std=(1.0,), scale=255.0, colour='rgb', fit='stretch'), input='network', output='scores', head=None, prune=None, settings=(), home=None)",  # noqa: E501
    "equivalent": "(module, path, inputs, *, max_relative_error=0.001, edge_cases=True, mean=None, std=None)",
    "export": "(module, example_inputs, path, *, target='host', precision='fp32', outputs=(), mean=None, std=None, **keys)",  # noqa: E501
    "fine_tune": "(model, train, validation, *, epochs, teacher=None, loss=None, metric=None, seed=0, **keys)",
    "fold": "(model, example_inputs)",
    "load": "(folder, build, weights=None)",
    "plan": "(recipe=None, target='host', device=None, home=None, *, model=None, data=None, loss=None, metric=None, **tables)",  # noqa: E501
    "prune": "(model, example_inputs, *, ratio=0.5, macs=None, params=None, latency=None, target='host', device=None, criterion='l2', scope='uniform', blocks=True, channel_multiple=8, ignore=(), limits=None, batches=None, loss=None, sensitivity_images=128, reconstruct=None, seed=0)",  # noqa: E501
    "quantize": "(model, batches, path, *, target='host', precision='int8', **keys)",
    "rounds": "(model, example_inputs, *, accuracy=None, drop=1.0, rounds=3, first_step=0.3, steps='even', ratio=0.5, macs=None, params=None, latency=None, target='host', device=None, criterion='l2', scope='uniform', blocks=True, channel_multiple=8, ignore=(), limits=None, batches=None, loss=None, sensitivity_images=128, reconstruct=None, seed=0)",  # noqa: E501
    "run": "(recipe=None, target='host', device=None, home=None, *, model=None, data=None, loss=None, metric=None, **tables)",  # noqa: E501
    "save": "(slim, folder)",
    "sparsify": "(model, example_inputs, batches=None, **keys)",
}  # fmt: skip
"""Name -> its arguments, or of a class its fields and its public methods."""


def shape(name: str) -> str:
    """How it is called, without types: mypy holds those."""
    offered = getattr(jetpress, name)
    if not inspect.isclass(offered):
        return arguments(offered)
    fields = " ".join(getattr(offered, "__dataclass_fields__", ()))
    public = {key: getattr(offered, key) for key in sorted(vars(offered)) if not key.startswith("_")}
    members = [
        key + (arguments(one, of=offered) if callable(one) else "")
        for key, one in public.items()
        if key not in fields.split()
    ]
    return f"{fields} | {' '.join(members)}".lstrip()


def arguments(function: typing.Any, of: type | None = None) -> str:
    signature = inspect.signature(function)
    parameters = [
        one.replace(annotation=one.empty)
        for one in signature.parameters.values()
        if of is None or one.name not in ("self", "cls")
    ]
    return str(inspect.Signature(parameters))


def test_names() -> None:
    assert sorted(jetpress.__all__) == jetpress.__all__ == sorted(SIGNATURES)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    assert shape(name) == SIGNATURES[name]


@pytest.mark.parametrize("name", SIGNATURES)
def test_it_says_what_it_is_and_is_typed(name: str) -> None:
    offered = getattr(jetpress, name)
    assert offered.__doc__
    if inspect.isfunction(offered):
        hints = dict(offered.__annotations__)
        unpacked = [name for name, kind in hints.items() if "Unpack[Cutting]" in str(kind)]
        keys = set(Cutting.__annotations__) if unpacked else set()
        assert {*hints, *keys} - {*unpacked} == {*inspect.signature(offered).parameters, "return"}


def test_what_two_functions_share_has_the_defaults_that_are_shown() -> None:
    assert configured({}) == configured({name: DEFAULTS.get(name) for name in Cutting.__annotations__})
    with pytest.raises(RecipeError, match=r"no argument 'mac'"):
        jetpress.prune(nn.Linear(2, 2), torch.zeros(1, 2), mac=0.5)  # type: ignore[call-arg]


def test_the_package_is_imported_without_torch() -> None:
    program = "import jetpress, sys; print(sorted({'torch', 'onnx', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
