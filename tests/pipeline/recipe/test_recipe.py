from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import TARGETS, find
from jetpress.pipeline.recipe.reading import Recipe, resolve, schema
from jetpress.pipeline.recipe.sections import as_table

DIGITS = Path(__file__).parents[3] / "recipes" / "digits.toml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def refused(tmp_path: Path, text: str, *sets: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        Recipe.load(written(tmp_path, text), sets)
    assert caught.value.exit_code == 2
    return caught.value


def test_the_default_recipe_loads() -> None:
    recipe = Recipe.load(DIGITS)
    assert recipe.name == "digits"
    assert recipe.model.builder == "torchvision:resnet18"
    assert recipe.budget.accuracy_drop == 1.0


def test_an_unknown_key_names_file_line_and_closest_key(tmp_path: Path) -> None:
    error = refused(tmp_path, "[train]\nepochs = 3\n\n[prune]\nrati = 0.5\n")
    assert "mine.toml:5" in error.what
    assert "'prune.rati'" in error.what
    assert "did you mean 'ratio'" in error.hint


def test_an_unknown_section_gets_the_closest_one(tmp_path: Path) -> None:
    assert "did you mean 'train'" in refused(tmp_path, "[trian]\nepochs = 3\n").hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[train]\nepochs = "3"\n', "train.epochs"),
        ("[prune]\nratio = 1.0\n", "less than 1"),
        ("[prune]\nratio = nan\n", ""),
        ('[data]\nsource = "digit"\n', "digits"),
        ('[data]\nsource = "imagefolder"\n', "data.root"),
        ('[model]\nbuilder = "torchvison:resnet18"\n', "torchvision"),
        ("[train]\nepochs = 0\n", "model.weights"),
        ("[train\n", "TOML"),
        ('name = "../evil"\n', "name"),
        ("[[model.inputs]]\nshap = [3]\n", "shape"),
        ("[[model.inputs]]\nshape = [3]\n[[model.inputs]]\nshape = [3]\n", "share a name"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(tmp_path: Path, text: str, said: str) -> None:
    error = refused(tmp_path, text)
    assert said in str(error)
    assert error.hint


def test_set_overrides_any_key(tmp_path: Path) -> None:
    recipe = Recipe.load(
        written(tmp_path, ""), ["train.epochs=2", "model.builder=timm:resnet18", "prune.ignore=['fc.*']"]
    )
    assert recipe.train.epochs == 2
    assert recipe.model.builder == "timm:resnet18"
    assert recipe.prune.ignore == ("fc.*",)
    assert recipe.name == "mine"


@pytest.mark.parametrize("override", ["epochs", "=3", "train.=3", "seed.x=3", "name.x.y=1"])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    refused(tmp_path, "seed = 1\nname = 'x'\n", override)


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_crash(text: str) -> None:
    with contextlib.suppress(RecipeError):
        Recipe.parse({"name": text, "model": {"builder": text}, "data": {"source": text}})


def test_missing_and_unreadable_files_are_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(RecipeError):
            Recipe.load(path)


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path, '[model]\nbuilder = "net.py:build"\nweights = "w.safetensors"\n'))
    assert recipe.model.builder == f"{tmp_path.resolve()}/net.py:build"
    assert recipe.model.weights == f"{tmp_path.resolve()}/w.safetensors"


@pytest.mark.parametrize("name", TARGETS)
def test_resolve_decides_every_open_value(name: str) -> None:
    plan = resolve(Recipe.load(DIGITS), find(name))
    recipe = plan.recipe
    assert recipe.export.opset == TARGETS[name].opset
    assert recipe.export.lower is not None
    assert recipe.prune.channel_multiple == (16 if name == "host" else 8)
    assert recipe.build.precision in TARGETS[name].precisions
    assert recipe.finetune.learning_rate == pytest.approx(recipe.train.learning_rate / 5)
    assert ("sparsify" in plan.skipped) == (not TARGETS[name].sparse_tensor_cores)
    json.dumps(as_table(recipe))


@pytest.mark.parametrize(("name", "multiple"), [("host", 16), ("xavier", 32), ("rtx", 32), ("orin-nano", 32)])
def test_widths_fill_the_hardware_in_the_precision_of_the_engine(name: str, multiple: int) -> None:
    int8 = Recipe.load(DIGITS, ["build.precision=int8"])
    assert resolve(int8, find(name)).recipe.prune.channel_multiple == multiple
    chosen = Recipe.load(DIGITS, ["build.precision=int8", "prune.channel_multiple=4"])
    assert resolve(chosen, find(name)).recipe.prune.channel_multiple == 4


@pytest.mark.parametrize("name", ["host", "nano"])
def test_a_resolved_recipe_written_down_is_the_same_again(name: str, tmp_path: Path) -> None:
    sets = [
        "model.weights=we 'ird\"ü.safetensors",
        "model.inputs=[{shape=[3,8,8],name='x'}]",
        "prune.ignore=['a.*']",
    ]
    decided = resolve(Recipe.load(DIGITS, sets), find(name)).recipe
    again = Recipe.load(written(tmp_path, decided.to_toml()))
    assert again == decided
    assert resolve(again, find(name)).recipe == decided


def test_resolve_refuses_what_the_target_lacks() -> None:
    with pytest.raises(RecipeError, match="at most opset 13"):
        resolve(Recipe.load(DIGITS, ["export.opset=17"]), find("nano"))
    newer = resolve(Recipe.load(DIGITS, ["export.opset=20"]), find("orin-nano")).recipe.export
    assert (newer.opset, newer.ir_version) == (20, None)
    with pytest.raises(RecipeError, match="fp16"):
        resolve(Recipe.load(DIGITS, ['build.precision="fp16"']), find("host"))


def test_force_runs_2_4_where_it_cannot_pay() -> None:
    assert "sparsify" not in resolve(Recipe.load(DIGITS, ['sparsify.mode="force"']), find("xavier")).skipped


def test_every_key_has_a_text() -> None:
    for name, section in schema()["$defs"].items():
        for key, field in section["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def test_what_fine_tuning_leaves_open_is_as_in_training(tmp_path: Path) -> None:
    text = (
        "[train]\nema = 0.99\naccumulate = 4\nmixup = 0.2\nfreeze = ['conv1.*']\ndeterministic = true\n"
        "[finetune]\nmixup = 0.0\n[budget]\naccuracy_drop = 2.5\n"
    )
    tuning = resolve(Recipe.load(written(tmp_path, text)), find("host")).recipe.finetune
    assert (tuning.ema, tuning.accumulate, tuning.deterministic) == (0.99, 4, True)
    assert tuning.mixup == 0.0
    assert tuning.freeze == ()  # what was frozen to train a baseline may be what was pruned
    assert tuning.accuracy_drop is None  # another budget is no other training, unless it decides when to stop
    stopping = resolve(Recipe.load(written(tmp_path, text), ["finetune.stop_margin=0.5"]), find("host"))
    assert stopping.recipe.finetune.accuracy_drop == 2.5


def test_another_teacher(tmp_path: Path) -> None:
    text = '[finetune.teacher]\nbuilder = "big.py:build"\nweights = "big.safetensors"\n'
    recipe = Recipe.load(written(tmp_path, text))
    assert recipe.finetune.teacher is not None
    assert recipe.finetune.teacher.weights == str(tmp_path / "big.safetensors")
    assert recipe.finetune.teacher.builder == f"{tmp_path / 'big.py'}:build"
    again = Recipe.load(written(tmp_path, recipe.to_toml()))
    assert again.finetune.teacher == recipe.finetune.teacher
    assert (
        "has no weights" in refused(tmp_path, '[finetune.teacher]\nbuilder = "torchvision:resnet50"\n').what
    )
    error = refused(tmp_path, '[finetune.teacher]\nbuilder = "torchvison:x"\nweights = "x"\n')
    assert "finetune.teacher.builder" in error.what
