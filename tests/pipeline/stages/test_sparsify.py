"""2:4 masks: the best ones, along the right axis, through fold and export; what stays dense says why."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.targets import find
from jetpress.pipeline.network import channels, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.compression import PruneConfig, SparsifyConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.sparse.masks import best_mask, holds
from jetpress.pipeline.sparse.products import products
from jetpress.pipeline.sparse.rule import check_sparse, sparse_layers
from jetpress.pipeline.stages import sparsify
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.stages.fold import fold
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import LayerMask, SparseLayer, Sparsity
from tests.equivalence.networks import checkpoint, network
from tests.pipeline import small

PATTERNS = st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2), (4, 8), (2, 8)])
KERNELS = st.sampled_from([(), (1,), (3,), (3, 3), (1, 2, 2)])
SEEDS = st.integers(0, 2**31)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """What a vision network multiplies by: convolutions of all kinds, attention, linear, plain parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.wide = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.wide_norm = nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 3, groups=32)
        self.grouped = nn.Conv2d(32, 32, 3, stride=2, groups=2)
        self.odd = nn.Conv2d(32, 18, 1)
        self.after_odd = nn.Conv2d(18, 32, 1)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.line = nn.Conv1d(16, 24, 3, padding=1)
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)
        self.cross = nn.MultiheadAttention(24, 3, batch_first=True)
        self.table = nn.Parameter(torch.randn(24, 16) / 5)
        self.normed = nn.Parameter(torch.randn(16, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        x = self.depthwise(x + self.wide_norm(self.wide(x)).relu())
        x = self.up(self.after_odd(self.odd(self.grouped(x).relu())).relu())
        x = self.line(x.flatten(2)).mT
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.cross(x, x.relu(), x.relu(), need_weights=False)[0]
        x = F.linear((x @ self.table).relu(), self.normed / self.normed.norm())
        return self.head(x.mean(1))


def net() -> nn.Module:
    return Net()


def start(folder: Path) -> Checkpoint:
    """Its checkpoint, of statistics and weights as training leaves them."""
    config = ModelConfig(builder=f"{__file__}:net", inputs=(InputConfig(shape=(3, 16, 16)),))
    network = Network(models.build(config), config, DataConfig(size=16, calibration_images=12))
    for norm in (network.module.norm, network.module.wide_norm):
        nn.init.uniform_(norm.weight, 0.5, 2)  # type: ignore[union-attr]
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[union-attr]
    (folder / "dense").mkdir()
    return models.save(network, folder / "dense", replace(models.measure(network), validation=1.0))


def made(folder: Path, **settings: Any) -> Checkpoint:
    """Its 2:4 checkpoint."""
    config = SparsifyConfig(mode="force", min_channels=16, **settings)
    (folder / "sparse").mkdir()
    return sparsify.sparsify(config, start(folder), folder / "sparse")


@given(st.integers(1, 4), st.integers(1, 4), KERNELS, PATTERNS, SEEDS)
def test_the_mask_is_the_best(
    out: int, groups: int, kernel: tuple[int, ...], pattern: tuple[int, int], seed: int
) -> None:
    kept, group = pattern
    weight = drawn(out, group * groups, *kernel, seed=seed)
    mask = best_mask(weight, kept, group)
    assert mask.shape == weight.shape
    assert holds(weight * mask, kept, group)
    lanes = weight.abs().movedim(1, -1).reshape(-1, group)
    choices = [lanes[:, list(some)].sum(1) for some in itertools.combinations(range(group), kept)]
    found = (weight * mask).abs().movedim(1, -1).reshape(-1, group).sum(1)
    torch.testing.assert_close(found, torch.stack(choices).max(0).values)
    assert masks.magnitude(masks.rows(weight), kept, group) == pytest.approx(float(found.sum()), rel=1e-5)
    assert float(found.sum()) <= masks.ideal(masks.rows(weight), kept, group) * (1 + 1e-5)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_a_scaled_weight_has_the_same_mask(seed: int, scale: float) -> None:
    weight = drawn(8, 16, 3, 3, seed=seed)
    assert torch.equal(best_mask(weight), best_mask(weight * scale))


@given(SEEDS)
def test_permuting_whole_groups_or_outputs_permutes_the_mask(seed: int) -> None:
    weight, generator = drawn(8, 16, 3, seed=seed), torch.Generator().manual_seed(seed)
    rows = torch.randperm(8, generator=generator)
    columns = torch.arange(16).view(4, 4)[torch.randperm(4, generator=generator)].flatten()
    assert torch.equal(best_mask(weight[rows][:, columns]), best_mask(weight)[rows][:, columns])


@given(SEEDS)
def test_the_axis_can_be_another(seed: int) -> None:
    weight = drawn(8, 12, 3, seed=seed)
    assert torch.equal(best_mask(weight.transpose(0, 1), axis=0), best_mask(weight).transpose(0, 1))
    assert holds(weight * best_mask(weight, axis=0), axis=0)


def test_a_mask_along_the_wrong_axis_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = drawn(64, 64, 3, 3)
    flat = weight.flatten(1)
    wrong = best_mask(flat).view_as(weight)  # along C*R*S, as a common tool does it
    assert holds(flat * best_mask(flat))
    assert not holds(weight * wrong)
    assert holds(weight * best_mask(weight))
    monkeypatch.setattr(sparsify, "best_mask", lambda w, *_: best_mask(w.flatten(1)).view_as(w))
    with pytest.raises(StageError, match=r"the mask of wide\.weight is not 2:4"):
        made(tmp_path, method="magnitude", permute=False)


def test_ties_and_zeros_still_leave_two_of_four() -> None:
    assert best_mask(torch.zeros(2, 8)).sum() == 8
    assert best_mask(torch.ones(2, 8, 3, 3)).sum() == 2 * 4 * 9


def test_what_stays_dense_says_why() -> None:
    module = Net().eval()
    found = products(channels.analyse(module, (drawn(2, 3, 16, 16),)).trace)
    config = SparsifyConfig(mode="force", min_channels=17, ignore=("head*",))
    reasons = sparsify.why_dense(found, dict(module.named_parameters()), config)
    assert {product.name: reason for product, reason in reasons.items()} == {
        "first.weight": "the first layer stays dense",
        "wide.weight": "",
        "depthwise.weight": "depthwise: one input channel for each output",
        "grouped.weight": "16 input channels are fewer than 17: sparse kernels do not pay",
        "odd.weight": "",
        "after_odd.weight": "18 input channels are not a multiple of 4",
        "up.weight": "a transposed convolution has no sparse kernel",
        "line.weight": "16 input channels are fewer than 17: sparse kernels do not pay",
        "attention.in_proj_weight": "",
        "attention.out_proj.weight": "",
        "cross.in_proj_weight": "",
        "cross.out_proj.weight": "",
        "table": "",
        ".weight": "its weight is computed in the network",
        "head.weight": "ignored by the recipe",
    }
    # Unless forced, what TensorRT will hardly run faster stays dense too.
    careful = sparsify.why_dense(found, dict(module.named_parameters()), SparsifyConfig(min_channels=4))
    why = {product.name: reason for product, reason in careful.items()}
    assert [name for name, reason in why.items() if not reason] == ["wide.weight"]
    assert "grouped convolution" in why["grouped.weight"]
    assert "sums 32 products, fewer than 256" in why["odd.weight"]


def test_the_forecast_tells_what_may_gain(tmp_path: Path) -> None:
    """Of the dense network; nothing is masked for it."""
    dense = start(tmp_path)
    found = {one.name: one for one in sparsify.forecast(SparsifyConfig(min_channels=16), dense)}
    assert found["wide.weight"] == sparsify.Prospect("wide.weight", 32, 288, "")
    assert found["first.weight"].dense == "the first layer stays dense"
    assert found["attention.in_proj_weight"].products == 24
    assert found["up.weight"].products is None


def test_a_weight_used_along_both_axes_stays_dense() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(8, 8)
            self.tied = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.first(x), self.tied).relu() @ self.tied

    module = Tied().eval()
    found = products(channels.analyse(module, (drawn(2, 8),)).trace)
    reasons = sparsify.why_dense(
        found, dict(module.named_parameters()), SparsifyConfig("force", min_channels=4)
    )
    assert list(reasons.values())[1:] == ["it is multiplied along two of its axes"]


SPARSE = {
    "wide.weight",
    "grouped.weight",
    "odd.weight",
    "line.weight",
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "cross.in_proj_weight",
    "cross.out_proj.weight",
    "table",
    "head.weight",
}


@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "magnitude"}, {"pattern": "1:4"}, {"pattern": "4:8"}, {"method": "wanda"}],
)
def test_the_stage(tmp_path: Path, settings: dict[str, str]) -> None:
    result = made(tmp_path, **settings)
    before, after = models.load(Checkpoint(tmp_path / "dense")), models.load(result)
    facts = result.facts.sparsity
    kept, group = masks.pattern(settings.get("pattern", "2:4"))
    assert set(after.masks) == SPARSE
    assert set(facts.names) == SPARSE
    assert facts.eligible == len(SPARSE)
    assert result.facts.pruned
    assert result.facts.validation == 1.0
    for name, mask in after.masks.items():
        axis = 0 if name == "table" else 1
        assert holds(mask, kept, group, axis)
        assert mask.sum() * group == mask.numel() * kept
        assert not after.module.get_parameter(name)[~mask].any()
    for one in facts.layers:
        if one.mask:
            assert 0 < one.mask.kept <= 1
            assert 0 <= one.mask.efficacy < 1
            assert (one.mask.output_error is None) == (settings.get("method") == "magnitude")
    assert facts.permutation_error < 1e-12
    if settings.get("method") == "magnitude":
        assert facts.kept_magnitude > facts.kept_unpermuted > 0.5
    assert set(after.module.state_dict()) == set(before.module.state_dict())


def chain() -> nn.Module:
    """Widths that pruning changes, grouped convolutions among them."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 3, padding=1), nn.ReLU(),
        nn.Conv2d(96, 96, 3, padding=1, groups=4), nn.BatchNorm2d(96), nn.ReLU(),
        nn.Conv2d(96, 80, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, 10),
    )  # fmt: skip


@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_what_is_left_of_channels_is_still_eligible(tmp_path: Path, ratio: float) -> None:
    """Channels first, then 2:4: the order of the recipe."""
    for name in ("dense", "sparse"):
        (tmp_path / name).mkdir()
    config = ModelConfig(builder=f"{__file__}:chain", inputs=(InputConfig(shape=(3, 16, 16)),))
    network = Network(models.build(config), config, DataConfig(size=16))
    dense = models.save(network, tmp_path / "dense")
    pruned = small.pruned(PruneConfig(ratio=ratio, channel_multiple=8), dense, tmp_path)
    assert pruned.facts.pruned
    settings = SparsifyConfig(mode="force", min_channels=4)
    sparse = sparsify.sparsify(settings, pruned, tmp_path / "sparse")
    assert sparse.facts.sparsity.eligible == 3
    widths = {name: mask.shape[1] for name, mask in models.load(sparse).masks.items()}
    assert widths["2.weight"] < 24
    assert widths["5.weight"] < 96
    with pytest.raises(StageError, match="before 2:4"):
        small.pruned(PruneConfig(ratio=ratio, channel_multiple=8), sparse, tmp_path, "again")


def test_nothing_is_eligible(tmp_path: Path) -> None:
    result = made(tmp_path, ignore=("*",))
    assert result.facts.pruned is False
    assert result.facts.sparsity.kept_magnitude is None
    assert models.load(result).masks == {}


@pytest.mark.parametrize("fp16", [False, True])
def test_masks_survive_fold_export_and_batchnorm(tmp_path: Path, fp16: bool) -> None:
    """On the initialisers of the final ONNX, by our checker and by polygraphy's."""
    for name in ("folded", "onnx"):
        (tmp_path / name).mkdir()
    folded = fold(None, made(tmp_path), tmp_path / "folded")
    config = ExportConfig(opset=17, fp16=fp16)
    proto = onnx.load(export(config, folded, tmp_path / "onnx").path / "model.onnx")
    kinds = {one.name: one.data_type for one in proto.graph.initializer}
    assert kinds["wide.weight"] == (onnx.TensorProto.FLOAT16 if fp16 else onnx.TensorProto.FLOAT)
    assert len(check_sparse(folded.facts.sparsity, proto)) >= len(SPARSE)
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    ours = [layer for layer in sparse_layers(proto) if layer.is_2_4]
    assert {layer.node for layer in ours} == {
        "wide/Conv", "grouped/Conv", "odd/Conv", "line/Conv", "attention/MatMul", "attention/Gemm",
        "cross/Gemm", "MatMul", "head/Gemm",
    }  # fmt: skip
    assert {layer.name for layer in ours} == polygraphy(tmp_path / "onnx" / "model.onnx")


def polygraphy(model: Path) -> set[str]:
    """The tensors that its ``inspect sparsity`` finds sparse."""
    command = [Path(sys.executable).with_name("polygraphy"), "inspect", "sparsity", model]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"Found sparse tensor: (\S+)", said))


@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("stored", ["float", "int8"])
def test_the_rule_looks_behind_quantization(tmp_path: Path, stored: str, axis: int) -> None:
    """A float initialiser behind Q and DQ, an integer one behind DQ, one scale for each output channel."""
    weight = drawn(16, 16, 3, 3)
    weight = (weight * best_mask(weight, axis=axis)).numpy()
    scale = (np.abs(weight).max((1, 2, 3)) / 127).astype(np.float32)
    whole = np.clip(np.round(weight / scale[:, None, None, None]), -127, 127).astype(np.int8)
    constants = {"scale": scale, "point": np.zeros(16, np.int8), "w": weight if stored == "float" else whole}
    nodes = [
        *([helper.make_node("QuantizeLinear", ["w", "scale", "point"], ["q"], axis=0)] * (stored == "float")),
        helper.make_node(
            "DequantizeLinear", ["q" if stored == "float" else "w", "scale", "point"], ["d"], axis=0
        ),
        helper.make_node("Conv", ["x", "d"], ["y"], name="layer/Conv"),
    ]
    ends = [helper.make_tensor_value_info(n, 1, [1, 16, s, s]) for n, s in (("x", 8), ("y", 6))]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "model.onnx")
    (layer,) = sparse_layers(model)
    assert (layer.name, layer.eligible, layer.is_2_4) == ("w", True, axis == 1)
    # Polygraphy passes over integers without a word.
    assert polygraphy(tmp_path / "model.onnx") == ({"w"} if layer.is_2_4 and stored == "float" else set())
    told = Sparsity("magnitude", "2:4", (SparseLayer("w", "", LayerMask(0.8, 0.7, "", "")),), 1)
    if axis == 1:
        assert check_sparse(told, model) == [layer]
    else:
        with pytest.raises(StageError, match="w should be 2:4 sparse and is not"):
            check_sparse(told, model)


def test_zero_is_where_the_zero_point_is() -> None:
    """For whatever stores weights as uint8: 128 is multiplied as zero."""
    weight = np.full((4, 8), 200, np.uint8)
    weight[:, 1::4] = weight[:, 2::4] = 128
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "point"], ["d"], axis=0),
        helper.make_node("Gemm", ["x", "d"], ["y"], transB=1),
    ]
    for point in (np.full(4, 128, np.uint8), np.uint8(128)):
        constants = {"w": weight, "scale": np.full(4, 0.1, np.float32), "point": np.asarray(point)}
        stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        (layer,) = sparse_layers(helper.make_model(helper.make_graph(nodes, "g", [], [], stored)))
        assert layer.is_2_4


def test_unstructured_masks_are_reversible_until_they_are_folded(tmp_path: Path) -> None:
    dense = checkpoint(network("cnn"), tmp_path / "dense")
    (tmp_path / "masked").mkdir()
    config = SparsifyConfig(mode="force", pattern="unstructured", amount=0.7)
    made = sparsify.sparsify(config, dense, tmp_path / "masked")
    loaded, before = models.load(made), models.load(dense).module.state_dict()
    weights = [p for p in loaded.module.parameters() if p.ndim > 1]
    zeros = sum(int((p == 0).sum()) for p in weights) / sum(p.numel() for p in weights)
    assert zeros == pytest.approx(0.7, abs=0.001)
    kept = torch.cat([p[p != 0].abs() for p in weights])
    whole = torch.cat([before[n][~m].abs() for n, m in loaded.masks.items()])
    assert kept.min() >= whole.max()
    off = models.load(made, masked=False)
    assert not off.masks
    assert all(torch.equal(value, before[name]) for name, value in off.module.state_dict().items())
    (tmp_path / "folded").mkdir()
    final = models.load(fold(None, made, tmp_path / "folded"), masked=False)
    assert sum(int((p == 0).sum()) for p in final.module.parameters() if p.ndim > 1) >= int(
        zeros * kept.numel()
    )
    assert "no engine" in made.facts.sparsity.layers[0].reason


def test_unstructured_zeros_are_made_only_when_forced() -> None:
    table = {"name": "r", "sparsify": {"pattern": "unstructured"}}
    assert "buy no time" in resolve(Recipe.parse(table), find("orin-nano")).skipped["sparsify"]
    table["sparsify"] = {"pattern": "4:8"}
    assert "4:8 zeros buy no time" in resolve(Recipe.parse(table), find("orin-nano")).skipped["sparsify"]
    for pattern in ("4:2", "0:4", "2 of 4"):
        with pytest.raises(RecipeError, match=r"sparsify.pattern"):
            Recipe.parse({"name": "r", "sparsify": {"pattern": pattern}})
    table["sparsify"] = {"pattern": "unstructured", "mode": "force"}
    assert "sparsify" not in resolve(Recipe.parse(table), find("host")).skipped
