from __future__ import annotations

import string
import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.reading import Recipe, schema
from tests.pipeline.recipe.helpers import DIGITS, refused, written


def test_the_default_recipe_loads() -> None:
    recipe = Recipe.load(DIGITS)
    assert recipe.name == "digits"
    assert recipe.model.builder == "torchvision:resnet18"
    assert recipe.budget.accuracy_drop == 1.0


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


def test_missing_and_unreadable_files_are_said(tmp_path: Path) -> None:
    (tmp_path / "round.toml").symlink_to("round.toml")
    (tmp_path / "file").touch()
    (tmp_path / "folder.toml").mkdir()
    for name, why in (
        ("none.toml", "there is no recipe"),
        ("file/none.toml", "there is no recipe"),
        (".", r"is not a \.toml file"),
        ("x" * 300, r"is not a \.toml file"),
        ("x" * 300 + ".toml", "name too long"),
        ("folder.toml", "is not a text file"),
        ("round.toml", "symbolic links"),
        ("nul\0.toml", "is not a text file"),
    ):
        with pytest.raises(RecipeError, match=f"(?i){why}"):
            Recipe.load(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "name"),
    [("ü.toml", "recipe"), ("über uns.toml", "ber-uns"), ("-x.toml", "x"), ("a" * 90 + ".toml", "a" * 64)],
)
def test_a_recipe_without_a_name_has_its_files(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).touch()
    assert Recipe.load(tmp_path / file).name == name


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe.load(written(tmp_path, '[model]\nbuilder = "net.py:build"\nweights = "w.safetensors"\n'))
    assert recipe.model.builder == f"{tmp_path.resolve()}/net.py:build"
    assert recipe.model.weights == f"{tmp_path.resolve()}/w.safetensors"


def test_every_key_has_a_text() -> None:
    for name, section in schema()["$defs"].items():
        for key, field in section["properties"].items():
            assert field.get("description"), f"{name}.{key}"


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


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("[" * 5000 + "]" * 5000, "64 deep"),
        ("{x = " * 5000 + "1" + "}" * 5000, "64 deep"),
        ("[" * 100 + "]" * 100, "64 deep"),
        ("9" * 6000, "thousands of digits"),
        ("0x" + "f" * 6000, "beyond 64 bits"),
        ("1e999", "must be finite"),
        ("[0.1, nan]", "must be finite"),
        ('"\\u0000"', "plain text"),
    ],
)
def test_what_no_report_could_repeat_is_one_message(tmp_path: Path, value: str, why: str) -> None:
    by_file = refused(tmp_path, f"[model]\narguments = {{ x = {value} }}\n")
    by_set = refused(tmp_path, "", f"model.arguments={{ x = {value} }}")
    by_key = refused(tmp_path, "", f"model.arguments.x={value}")
    for error in (by_file, by_set, by_key):
        assert why in str(error)
        assert len(str(error)) < 600
    assert "mine.toml" in by_file.what
    assert by_set.what.startswith("--set 'model.arguments=")
    assert by_key.what.startswith("--set 'model.arguments.x=")


def test_brackets_that_never_close_are_one_message(tmp_path: Path) -> None:
    assert refused(tmp_path, "seed = " + "[" * 5000).hint
    assert refused(tmp_path, "", "seed=" + "[" * 5000).what.startswith("--set 'seed=[[")


def test_a_key_that_leads_ever_deeper_is_one_message(tmp_path: Path) -> None:
    key = ".".join("a" * 6000)
    assert "64 deep" in refused(tmp_path, "", f"{key}=1").what
    assert "64 deep" in refused(tmp_path, f"{key} = 1\n").what


def test_half_a_character_is_one_message(tmp_path: Path) -> None:
    """An argument that is no UTF-8 comes in as half a character."""
    assert "plain text" in refused(tmp_path, "", "model.builder=\udcff").hint


def test_a_value_of_set_ends_with_its_line(tmp_path: Path) -> None:
    assert "train.epochs" in refused(tmp_path, "", "train.epochs=3\nother = 4").what


def test_links_that_lead_to_themselves_are_refused(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    assert "not a path" in refused(tmp_path, '[model]\nweights = "round"\n').what


def outcome(make: Callable[..., Recipe], *given: Any) -> Recipe | RecipeError:
    """A recipe or its refusal; anything else ends the test."""
    try:
        return make(*given)
    except RecipeError as error:
        return error


KEYS = {
    "": [field.name for field in fields(Recipe)],
    **{
        field.name: [key.name for key in fields(field.default)]  # type: ignore[arg-type]
        for field in fields(Recipe)
        if is_dataclass(field.default)
    },
}
scalars = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["auto", "sgd", "2:4", "fp16"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Tables of a recipe: mostly keys that exist, with values of any kind."""
    found: dict[str, Any] = {"name": draw(st.just("x") | values)}
    for section in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=3)):
        key = st.sampled_from(KEYS[section]) | st.text(max_size=4)
        some = draw(st.dictionaries(key, values, max_size=2))
        found |= some if not section else {section: some}
    return found


@given(tables())
@settings(max_examples=300, deadline=None)
def test_any_table_is_a_recipe_that_can_be_written_down_or_one_message(table: dict[str, Any]) -> None:
    found = outcome(Recipe.parse, table)
    if isinstance(found, Recipe):
        assert Recipe.parse(tomllib.loads(found.to_toml())) == found
    else:
        assert found.exit_code == 2
        assert found.hint


plain = st.text(max_size=6).filter(lambda text: "\0" not in text)


@given(
    st.dictionaries(
        plain, plain | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(), max_size=4
    )
)
@settings(deadline=None)
def test_arguments_of_any_text_survive_being_written_down(arguments: dict[str, Any]) -> None:
    recipe = Recipe.parse({"name": "x", "model": {"arguments": arguments}})
    assert recipe.model.arguments == arguments
    assert Recipe.parse(tomllib.loads(recipe.to_toml())) == recipe


sets = st.text(max_size=30) | st.builds(
    "{}.{}={}".format,
    st.sampled_from([name for name in KEYS if name]),
    st.sampled_from([key for keys in KEYS.values() for key in keys]) | st.text(max_size=4),
    st.text(alphabet=string.printable, max_size=12) | st.floats().map(str) | st.integers().map(str),
)


@example(["\x00="])
@given(st.lists(sets, min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_set_is_a_recipe_or_one_message(overrides: list[str]) -> None:
    found = outcome(Recipe.load, DIGITS, overrides)
    assert isinstance(found, Recipe) or (found.hint and "--set" in found.what)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_recipe_or_one_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(content)
    found = outcome(Recipe.load, path)
    assert isinstance(found, Recipe) or (found.hint and "any.toml" in found.what)


def test_a_recipe_of_ours_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Recipe.load("digits") == Recipe.load(DIGITS)
    with pytest.raises(RecipeError, match=r"digitz is not a \.toml file") as caught:
        Recipe.load("digitz")
    assert "digits-int8" in caught.value.hint
    with pytest.raises(RecipeError, match="recipes/digits is not"):
        Recipe.load("recipes/digits")
