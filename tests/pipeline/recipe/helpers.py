"""A recipe in a file, and one that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.reading import Recipe

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
