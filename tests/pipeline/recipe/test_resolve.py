from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import TARGETS, find
from jetpress.pipeline.data.digests import identified
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, for_all, resolve
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.fields import as_table
from tests.pipeline.recipe.helpers import DIGITS, written


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


def test_a_provider_of_onnx_runtime_is_for_its_target() -> None:
    recipe = Recipe(name="r", build=BuildConfig(provider="cuda"))
    assert resolve(recipe, TARGETS["host"]).recipe.build.provider == "cuda"
    with pytest.raises(RecipeError, match="is for ONNX Runtime"):
        resolve(recipe, TARGETS["gpu"])


@pytest.mark.parametrize(("name", "boards"), [("host", False), ("gpu", False), ("orin-nano", True)])
@pytest.mark.parametrize("asked", [BenchmarkConfig(memory="mapped"), BenchmarkConfig(power_modes="all")])
def test_zero_copy_and_power_modes_are_for_boards(name: str, boards: bool, asked: BenchmarkConfig) -> None:
    recipe = Recipe(name="r", benchmark=asked)
    if boards:
        assert resolve(recipe, TARGETS[name]).recipe.benchmark == asked
    else:
        with pytest.raises(RecipeError, match="is for boards"):
            resolve(recipe, TARGETS[name])


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


def test_refusals_come_in_their_order() -> None:
    """Each wrong thing alone is refused; of several the first, as ever."""
    wrong = [
        ("build.precision=fp8", "fp8"),
        ("quantize.rest=fp16", "quantize.rest"),
        ("export.opset=17", "at most opset"),
        ("build.precision=fp32", "build.precision"),
    ]
    sets = ["build.precision=int8", "quantize.rest=fp16", "export.opset=17", "export.input=uint8_nhwc"]
    sets += ["export.output=detections", "export.fp16=true"]
    said = ["quantize.rest", "export.opset", "build.precision", "export.input", "export.output"]
    for number, start in enumerate(said):
        with pytest.raises(RecipeError, match=start):
            resolve(Recipe.load(DIGITS, sets), find("nano"))
        left = {
            "quantize.rest": 1,
            "export.opset": 2,
            "build.precision": 0,
            "export.input": 3,
            "export.output": 4,
        }
        sets[left[start]] = f"seed={number}"
    with pytest.raises(RecipeError, match="fp8"):
        resolve(Recipe.load(DIGITS, [*sets, wrong[0][0]]), find("nano"))
    resolve(Recipe.load(DIGITS, sets), find("nano"))
    with pytest.raises(RecipeError, match="Q/DQ are put into an FP32 graph"):
        resolve(Recipe.load(DIGITS, ["build.precision=int8", "export.fp16=true"]), find("orin-nano"))


def test_a_trainer_counts_with_its_file_and_knows_no_rounding(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("def train(module): return module")
    text = '[finetune]\ntrainer = "my.py:train"\n'

    def plan(*sets: str) -> Plan:
        return resolve(Recipe.load(written(tmp_path, text), sets), find("host"))

    own = plan()
    assert own.finetune.training.trainer == f"{tmp_path / 'my.py'}:train"
    assert own.recipe.train.trainer is None
    assert own.qat.training.trainer is None
    assert own.recipe.quantize.qat == "off"  # jetpress's loop does not know its loss
    assert plan("quantize.qat=always").recipe.quantize.qat == "always"
    before = identified(own)
    assert before == identified(plan())
    (tmp_path / "my.py").write_text("def train(module): return module.eval()")
    after = identified(own)
    assert after.finetune.code != before.finetune.code
    assert after.recipe == before.recipe
    other = resolve(Recipe.load(DIGITS), find("host"))
    assert identified(other) is other


@pytest.mark.parametrize(
    ("names", "sets", "multiple"),
    [
        (["host", "orin-nano", "xavier"], [], 16),
        (["host", "orin-nano"], ["build.precision=int8"], 32),
        (["orin-nano", "xavier"], [], None),
        (["host", "orin-nano"], ["prune.channel_multiple=4"], 4),
        (["host", "orin-nano"], ["prune.latency=0.3"], None),
        (["host", "orin-nano"], ["prune.ratio=0"], None),
    ],
)
def test_widths_for_several_targets_fill_the_hardware_of_all(
    names: list[str], sets: list[str], multiple: int | None
) -> None:
    """Then they share one pruned network: unless the recipe says the width, or each is timed by itself."""
    recipe = Recipe.load(DIGITS, sets)
    assert for_all(recipe, [find(name) for name in names]).prune.channel_multiple == multiple
