from __future__ import annotations

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import TARGETS, find


def test_the_targets_that_the_readme_promises_exist() -> None:
    for name in ("host", "rtx", "nano", "xavier", "orin-nano", "orin-nx", "agx-orin", "thor"):
        assert TARGETS[name].name == name


@pytest.mark.parametrize("name", TARGETS)
def test_facts_of_a_target_hang_together(name: str) -> None:
    target = TARGETS[name]
    assert target.default_precision in target.precisions
    if target.tensorrt.startswith("8.2"):
        assert target.opset == 13
        assert {"LayerNormalization", "HardSwish"} <= set(target.lower)
    if target.tensorrt.startswith("8.5"):
        assert target.opset == 17
        assert "LayerNormalization" in target.lower
    assert target.int64_io == (not target.tensorrt.startswith("8."))
    assert target.is_board == bool(target.jetpack)


def test_only_ampere_and_newer_can_use_2_4() -> None:
    can = {name for name, target in TARGETS.items() if not target.why_not_sparse}
    assert {"orin-nano", "agx-orin", "thor", "rtx"} <= can
    assert not can & {"host", "nano", "xavier", "xavier-nx"}
    assert "7.2" in find("xavier").why_not_sparse


def test_a_misspelt_target_gets_the_closest_names() -> None:
    with pytest.raises(RecipeError, match="orin_nano") as caught:
        find("orin_nano")
    assert "orin-nano" in caught.value.hint
    assert caught.value.exit_code == 2
