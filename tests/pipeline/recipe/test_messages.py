from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.recipe.helpers import refused


def test_an_unknown_key_names_file_line_and_closest_key(tmp_path: Path) -> None:
    error = refused(tmp_path, "[train]\nepochs = 3\n\n[prune]\nrati = 0.5\n")
    assert "mine.toml:5" in error.what
    assert "'prune.rati'" in error.what
    assert "did you mean 'ratio'" in error.hint


def test_an_unknown_section_gets_the_closest_one(tmp_path: Path) -> None:
    assert "did you mean 'train'" in refused(tmp_path, "[trian]\nepochs = 3\n").hint


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("ratio", "'prune.ratio'"),
        ("rato", "'prune.ratio'"),
        ("epochs", "'train.epochs' or 'finetune.epochs' or 'qat.epochs'"),
        ("train.ratio", "'prune.ratio'"),
        ("sed", "'seed'"),
        ("finetune.teacher.weigts", "'weights'"),
    ],
)
def test_a_key_of_another_table_is_named_with_it(tmp_path: Path, key: str, meant: str) -> None:
    for error in (refused(tmp_path, "", f"{key}=1"), refused(tmp_path, f"{key} = 1\n")):
        assert f"there is no key {key!r}" in error.what
        assert f"did you mean {meant}?" in error.hint


def test_what_is_like_nothing_is_taken_out(tmp_path: Path) -> None:
    assert refused(tmp_path, "qqqq = 1\n").hint.startswith("take it out. Valid here: benchmark, budget")


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=x",
        "train.epochs=-1",
        " train . epochs =x",
        "train=3",
        "model.inputs=[{shap=[3]}]",
        "data.source=digit",
        "model.builder=torchvison:resnet18",
        "sparsify.pattern=4:4",
        "data.source=cifar10",
    ],
)
def test_a_bad_value_of_set_names_the_set(tmp_path: Path, override: str) -> None:
    text = "[train]\nepochs = 3\n[data]\nsource = 'digits'\n" if override != "train=3" else ""
    error = refused(tmp_path, text, "train.ema=0.5" if override != "train=3" else "seed=1", override)
    assert error.what.startswith(f"--set {override!r}: ")
    assert "mine.toml" not in str(error)


def test_the_last_set_of_a_key_is_the_one_that_counts(tmp_path: Path) -> None:
    error = refused(tmp_path, "", "train.epochs=3", "train.epochs=x", "train.ema=0.5")
    assert error.what.startswith("--set 'train.epochs=x': train.epochs")


def test_what_the_file_says_keeps_its_line_beside_a_set(tmp_path: Path) -> None:
    error = refused(tmp_path, "[train]\nepochs = 'x'\n", "train.ema=0.5")
    assert "mine.toml:2: train.epochs" in error.what
