from __future__ import annotations

import pytest

from jetpress.deploy import targets
from jetpress.deploy.device import board
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.preflight import elements, operators
from jetpress.deploy.targets import TARGETS, find
from tests.deploy.api import names

BOARDS = [name for name, target in TARGETS.items() if target.jetpack]


def test_the_targets_that_the_readme_promises_exist() -> None:
    for name in ("host", "rtx", "gpu", "nano", "xavier", "orin-nano", "orin-nx", "agx-orin", "thor"):
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


@pytest.mark.parametrize("name", BOARDS)
def test_facts_are_those_of_the_tensorrt(name: str) -> None:
    """Each fact that follows from the version, held against NVIDIA's operator tables and Python bindings."""
    target = TARGETS[name]
    table, version = operators.table(target.tensorrt), operators.parse(target.tensorrt)
    # Before the layer of its own (8.5) the result is padded to one shape, and the row says so.
    assert target.suppression == (not table.rows["NonMaxSuppression"].restriction)
    assert target.int64_io == ("INT64" in table.rows["Add"].types)
    assert target.uint8_input == (elements.name(elements.UINT8, version) == "UINT8")
    known = names.names(
        max((v for v in names.VERSIONS if operators.parse(v) <= version), key=operators.parse)
    )
    assert target.strongly_typed == ("STRONGLY_TYPED" in known["NetworkDefinitionCreationFlag"])
    assert not set(target.lower) & set(table.rows), "it takes what would be lowered for it"
    assert target.newest_opset == table.opsets[1]
    assert targets.version_of(target.tensorrt) == version
    assert target.flags("fp16") == ("FP16" in known["BuilderFlag"])


@pytest.mark.parametrize("name", BOARDS)
def test_facts_are_those_of_the_board(name: str) -> None:
    target = TARGETS[name]
    if target.l4t:  # which one JetPack 7.2.2 has is not known
        jetpacks = {jetpack for l4t, jetpack in board._JETPACK.items() if l4t.startswith(f"{target.l4t}.")}
        assert any(jetpack.startswith(target.jetpack) for jetpack in jetpacks)
    assert board.module(target.title, ()) == target.module
    assert target.compute_capability in board.COMPUTE_CAPABILITY.values()
    system = {"4": "3.6", "5": "3.8", "6": "3.10", "7": "3.12"}  # Ubuntu 18.04, 20.04, 22.04, 24.04
    assert target.python == system[target.jetpack[0]]
    assert target.power_mode in ("", "MAXN_SUPER")


@pytest.mark.parametrize(
    ("tensorrt", "module", "cores"),
    [("8.0.1", "AGX Xavier", 2), ("10.7.0.23", "Orin NX", 1), ("10.8.0", "AGX Orin", 0), ("10.16.2", "AGX Orin", 0),
     ("11.3.0", "AGX Orin", 0), ("11.4.0", "AGX Orin", 0), ("11.4.1", "AGX Orin", 2), ("11.4.1", "Orin NX", 0),
     ("11.5.0", "AGX Orin", 2)],
)  # fmt: skip
def test_which_tensorrt_can_use_a_dla(tensorrt: str, module: str, cores: int) -> None:
    assert targets.dla_cores(tensorrt, cores or 2, module) == cores


def test_targets_for_the_dla_are_those_of_its_versions() -> None:
    have = {name for name, target in TARGETS.items() if target.dla}
    assert {"xavier", "orin-nx", "agx-orin", "agx-orin-jp722"} <= have
    assert not have & {"thor", "thor-jp722", "orin-nano", "orin-nx-jp7", "agx-orin-jp7", "nano"}


def test_only_ampere_and_newer_can_use_2_4() -> None:
    can = {name for name, target in TARGETS.items() if not target.why_not_sparse}
    assert {"orin-nano", "agx-orin", "thor", "rtx"} <= can
    assert not find("gpu").on_gpu((9, 0)).why_not_sparse
    assert not can & {"host", "gpu", "nano", "xavier", "xavier-nx"}
    assert "7.2" in find("xavier").why_not_sparse


def test_the_gpu_of_this_machine_decides_what_it_computes() -> None:
    target = find("gpu")
    assert target.why_not_fp8
    hopper = target.on_gpu((9, 0))
    assert (hopper.why_not_fp8, hopper.compute_capability, hopper.is_board, hopper.flags("int8")) == (
        "",
        (9, 0),
        False,
        False,
    )
    for name in ("host", "rtx", "orin-nano", "thor"):
        assert find(name).on_gpu((9, 0)) is find(name)


def test_a_misspelt_target_gets_the_closest_names() -> None:
    with pytest.raises(RecipeError, match="orin_nano") as caught:
        find("orin_nano")
    assert "orin-nano" in caught.value.hint
    assert caught.value.exit_code == 2
