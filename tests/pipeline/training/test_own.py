"""A trainer of the user's own: what it is given, what becomes of what it gives back, and what it may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jetpress.deploy.errors import JetpressError, RecipeError, StageError
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training import fit, own
from jetpress.pipeline.training.fit import Fit
from tests.pipeline.stages.test_train import few, network, same, weights

LOOP = """
import sys, torch
from torch.nn import functional as F

def train(module, epochs, train):
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.1)
    for epoch in range(epochs):
        for inputs, target in train:
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), target).backward()
            optimizer.step()
    return module

def everything(module, teacher, epochs, train, validation, masks, folder):
    (folder / "log").write_text(f"{teacher} {epochs} {len(train)} {len(validation)} {len(masks)}")
    assert len(list(train)) == len(train) and len(list(validation)) == len(validation)
    return module

def compiled(module):
    return torch.nn.DataParallel(module)

def nothing(module): pass
def leaves(module): sys.exit(0)
def wrong(module): return {}["nothing"]
def asks(module, loader): return module
def no_module(epochs): return epochs
def other(module):
    module.head = torch.nn.Linear(3, 2)
    return module
def infinite(module):
    module.head.bias.data[0] = torch.inf
    return module
def fills(module):
    module.conv2.weight.data.fill_(1.0)
    return module
"""


def trained(folder: Path, function: str, of: Network, start: float | None = None, epochs: int = 2) -> Fit:
    (folder / "my.py").write_text(LOOP)
    settings = TrainConfig(epochs=epochs, trainer=f"{folder / 'my.py'}:{function}")
    return fit.fit(of, few(of), settings, state=folder / "state", what="fine-tuning", start=start)


def test_a_plain_loop_learns_and_zeros_stay_zero(tmp_path: Path) -> None:
    one = network(tmp_path, dropped=0.5)
    found = trained(tmp_path, "train", one, epochs=8)
    assert found.validation > 60
    assert found.training.best_epoch == 8
    for name, mask in one.masks.items():
        weight = one.module.get_parameter(name)
        assert not weight[~mask].any()
        assert weight[mask].all()
    assert not one.module.training


def test_what_is_worse_than_the_start_is_not_kept(tmp_path: Path) -> None:
    one = network(tmp_path)
    before = weights(one)
    found = trained(tmp_path, "train", one, start=99.9, epochs=1)
    assert (found.validation, found.training.best_epoch) == (99.9, 0)
    assert same(before, weights(one))


def test_everything_that_may_be_asked_for_is_given(tmp_path: Path) -> None:
    one = network(tmp_path, dropped=0.5)
    trained(tmp_path, "everything", one)
    batches = 400 // 32, -(-len(few(one).validation) // 128)
    assert (tmp_path / "state" / "log").read_text() == f"None 2 {batches[0]} {batches[1]} 2"


def test_a_wrapper_is_taken_off(tmp_path: Path) -> None:
    one = network(tmp_path)
    before = weights(one)
    trained(tmp_path, "compiled", one)
    assert same(before, weights(one))


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("nothing", StageError, "gave back a NoneType"),
        ("leaves", RecipeError, r"ended the process \(sys.exit\(0\)\)"),
        ("wrong", RecipeError, r"\(line 25\) failed: KeyError: 'nothing'"),
        ("asks", RecipeError, "asks for loader"),
        ("no_module", RecipeError, "has no parameter `module`"),
        ("other", StageError, r"head.bias is \[2\], it was \[10\]"),
        ("infinite", StageError, "NaN or Inf in head.bias"),
        ("fills", StageError, r"conv2.weight: \d+ of \d+ weights that are held at zero are not zero"),
        ("absent", RecipeError, "has no function 'absent'"),
    ],
)
def test_what_is_no_training_is_one_message(
    tmp_path: Path, function: str, kind: type[JetpressError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        trained(tmp_path, function, network(tmp_path, dropped=0.5))
    assert caught.value.hint


def test_what_a_trainer_asks_for_is_known_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(LOOP + "\ndef any(module, **rest): return module\n")
    assert own.opened(f"{tmp_path / 'my.py'}:train")[1] == ("module", "epochs", "train")
    assert own.opened(f"{tmp_path / 'my.py'}:any")[1] == tuple(own.GIVEN)


def test_every_epoch_is_shuffled_anew_and_validation_is_not(tmp_path: Path) -> None:
    data = few(network(tmp_path))
    train, validation = own.Batches(data.train, training=True), own.Batches(data.validation, training=False)
    first, second = ([target for _, target in train] for _ in range(2))
    assert not all(map(torch.equal, first, second))
    again = [[target for _, target in validation] for _ in range(2)]
    assert all(map(torch.equal, *again))


def test_the_file_of_a_trainer_counts(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(LOOP)
    reference = f"{tmp_path / 'my.py'}:train"
    before = user_code.digest(reference)
    (tmp_path / "my.py").write_text(LOOP.replace("0.01", "0.02"))
    assert user_code.digest(reference) != before
