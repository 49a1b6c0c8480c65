"""Masking, training and folding of a module in hand, by any loop."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import jetpress
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.data.digests import digits
from jetpress.pipeline.functions.datasets import held, labelled
from jetpress.pipeline.functions.sparsifying import Sparse
from tests.pipeline.functions.small import convolutions, images


@pytest.fixture(scope="module")
def data() -> tuple[TensorDataset, TensorDataset]:
    """Real digits, 8 by 8, three channels."""
    import numpy as np

    rows = torch.from_numpy(np.loadtxt(digits(), delimiter=",", dtype=np.float32, max_rows=500))
    pixels = (rows[:, :64].reshape(-1, 1, 8, 8) / 8 - 1).expand(-1, 3, -1, -1).contiguous()
    labels = rows[:, 64].long()
    return TensorDataset(pixels[:400], labels[:400]), TensorDataset(pixels[400:], labels[400:])


@pytest.fixture(scope="module")
def dense(data: tuple[TensorDataset, TensorDataset]) -> nn.Module:
    found = jetpress.fine_tune(convolutions(), *data, epochs=6, learning_rate=0.1, precision="float32")
    assert found.validation > 70
    assert found.before < 30
    assert found.best_epoch
    assert found.module.training
    return found.module


def is_2_4(weight: Tensor) -> bool:
    lanes = weight.movedim(1, -1).reshape(-1, 4)
    return bool((lanes.count_nonzero(1) <= 2).all())


def layers(found: Sparse) -> list[str]:
    return list(found.report.names)


@pytest.mark.parametrize("with_data", [False, True])
def test_two_of_four_in_a_loop_of_ones_own(
    data: tuple[TensorDataset, TensorDataset], dense: nn.Module, with_data: bool
) -> None:
    before = copy.deepcopy(dense.state_dict())
    batches = DataLoader(data[0], 32) if with_data else None
    sparse = jetpress.sparsify(dense, images(2, 8), batches)
    assert layers(sparse) == ["6.weight"]
    assert sparse.report.method == "sparsegpt"  # on noise where there is no data: its BatchNorm was trained
    total, *stays = str(sparse).splitlines()
    assert total.startswith(f"1 of 4 layers are 2:4 ({sparse.report.method}); ")
    assert len(stays) == 3
    module, teacher = sparse.module, copy.deepcopy(dense).eval()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.003, weight_decay=0.01)
    with sparse.masks.hold(optimizer):
        for inputs, target in DataLoader(data[0], 32):
            optimizer.zero_grad()
            with torch.no_grad():
                shown = teacher(inputs)
            loss = F.cross_entropy(module(inputs), target)
            (loss + jetpress.distillation(module(inputs), shown)).backward()
            optimizer.step()
    assert is_2_4(module.get_parameter("6.weight"))
    folded = jetpress.fold(sparse, images(2, 8))
    assert type(folded) is type(dense)
    assert list(folded.state_dict()) == list(before)
    assert is_2_4(folded.get_parameter("6.weight"))
    assert all(
        torch.equal(one, before[name]) for name, one in dense.state_dict().items() if "num" not in name
    )


def test_ours_holds_the_masks_too(data: tuple[TensorDataset, TensorDataset], dense: nn.Module) -> None:
    sparse = jetpress.sparsify(dense, images(2, 8))
    found = jetpress.fine_tune(sparse, *data, epochs=1, teacher=dense, precision="float32")
    assert is_2_4(found.module.get_parameter("6.weight"))
    assert found.validation >= found.recalibrated
    assert len(found.curve) == 1
    assert f"{found.before:.2f} as it was" in str(found)


def test_a_loss_and_a_metric_of_ones_own(data: tuple[TensorDataset, TensorDataset]) -> None:
    class Sizes(Dataset[tuple[Tensor, Tensor]]):
        def __init__(self, of: TensorDataset) -> None:
            self.of = of

        def __len__(self) -> int:
            return len(self.of)

        def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
            return self.of[number][0], self.of[number][1] / 9.0

    def close(outputs: Tensor, target: Tensor) -> Tensor:
        return 100 * (1 - (outputs[:, 0] - target).abs()).clamp(0, 1)

    def squared(outputs: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(outputs[:, 0], target)

    found = jetpress.fine_tune(
        convolutions(classes=1), *map(Sizes, data), epochs=3, loss=squared, metric=close, learning_rate=0.02,
        precision="float32",
    )  # fmt: skip
    assert found.validation > max(70, found.before)


def test_loaders_become_samples(data: tuple[TensorDataset, TensorDataset]) -> None:
    whole, of = data[0], held
    loader = of(DataLoader(whole, 16, shuffle=True))
    assert (loader.samples, loader.batch_size) == (whole, 16)
    assert torch.equal(loader.targets, whole.tensors[1])  # type: ignore[arg-type]

    def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
        return {"x": torch.stack([one for one, _ in samples])}, torch.stack([one for _, one in samples])

    shuffled = DataLoader(whole, 16, shuffle=True, collate_fn=collate)
    first, second = of(shuffled), of(shuffled)
    assert len(first) == 400
    assert torch.equal(first[7][0]["x"], second[7][0]["x"])  # the same order each time
    assert torch.equal(first.targets, second.targets)  # type: ignore[arg-type]

    def generator() -> Iterator[tuple[Tensor, Tensor]]:
        yield from DataLoader(whole, 10)

    assert len(of(generator())) == len(of(whole)) == len(of(whole.tensors)) == 400  # type: ignore[arg-type]
    assert of(generator()).batch_size == 10
    with pytest.raises(RecipeError, match="not \\(inputs, target\\)"):
        of([torch.zeros(3)])
    with pytest.raises(RecipeError, match="no samples"):
        of([])


def test_what_does_not_fit_is_one_message(data: tuple[TensorDataset, TensorDataset]) -> None:
    with pytest.raises(RecipeError, match="looks at data"):
        jetpress.sparsify(convolutions(), images(), method="wanda")
    with pytest.raises(RecipeError, match=r"no key 'finetune\.lr'"):
        jetpress.fine_tune(convolutions(), *data, epochs=1, lr=0.1)
    with pytest.raises(RecipeError, match="does not take"):
        jetpress.fine_tune(nn.Conv2d(4, 4, 3), *data, epochs=1)
    with pytest.raises(RecipeError, match="the shapes"):
        jetpress.distillation(torch.zeros(2, 3), torch.zeros(2, 4))
    sparse = jetpress.sparsify(convolutions(), images())
    sparse.module.get_parameter("6.weight").data.fill_(1.0)
    with pytest.raises(StageError, match="held at zero"):
        sparse.masks.check()


@pytest.mark.parametrize("kind", ["attention", "similarity"])
def test_feature_maps_of_any_width(kind: str) -> None:
    ours, theirs = torch.randn(4, 8, 5, 5, requires_grad=True), torch.randn(4, 16, 5, 5)
    jetpress.distillation(ours, theirs, kind=kind).backward()  # type: ignore[arg-type]
    assert ours.grad is not None
    assert ours.grad.abs().sum() > 0


def test_a_tuple_of_batches_is_several_batches(tmp_path: Path) -> None:
    module, shown = convolutions(), images(12, 8)
    split = shown.split(4)  # torch gives a tuple, as of three inputs
    whole, several = (jetpress.sparsify(module, images(), one) for one in (shown, split))
    assert whole.module.state_dict().keys() == several.module.state_dict().keys()
    for name, value in whole.module.state_dict().items():
        assert torch.allclose(value, several.module.state_dict()[name], atol=1e-5)
    made = [jetpress.quantize(module, one, tmp_path / "a.onnx").report.cosine for one in (shown, split)]
    assert made[0] == pytest.approx(made[1])
    with pytest.raises(RecipeError, match=r"different shapes: \[3, 8, 8\] and \[\]"):
        jetpress.sparsify(module, images(), (shown, torch.zeros(12)))


@pytest.mark.parametrize("shape", ["tensor", "batches", "loader", "generator", "data set"])
def test_a_teacher_labels_what_has_no_labels(
    data: tuple[TensorDataset, TensorDataset], dense: nn.Module, shape: str
) -> None:
    def of(whole: TensorDataset) -> Any:
        inputs = whole.tensors[0]
        alone = TensorDataset(inputs)
        kinds = {
            "tensor": inputs,
            "batches": list(inputs.split(32)),
            "loader": DataLoader(alone, 32, shuffle=True),
            "generator": iter(inputs.split(32)),
            "data set": alone,
        }
        return kinds[shape]

    slim = jetpress.prune(dense, images(2, 8), ratio=0.5, reconstruct=False)
    before = agree(slim.module, dense, data[1].tensors[0])
    tuned = jetpress.fine_tune(slim, *map(of, data), epochs=3, teacher=dense, learning_rate=0.02)
    assert agree(tuned.module, dense, data[1].tensors[0]) == pytest.approx(tuned.validation)
    assert tuned.validation > max(60, before)
    assert tuned.before == pytest.approx(before)


def agree(one: nn.Module, other: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        same = one.eval()(inputs).argmax(1) == other.eval()(inputs).argmax(1)
    return 100 * float(same.double().mean())


def test_labels_that_are_given_stay(data: tuple[TensorDataset, TensorDataset], dense: nn.Module) -> None:
    """Beside a teacher, in whatever form they come."""
    inputs, target = data[0].tensors[0][:40], torch.zeros(40, dtype=torch.long)
    soft = F.one_hot(target, 10).float()
    for given in (TensorDataset(inputs, target), (inputs, target), (inputs, soft), [(inputs, target)]):
        kept = labelled(given, lambda _: torch.full((40,), 9), 0)
        assert kept == given if isinstance(given, list) else kept is given
    tuned = jetpress.fine_tune(dense, (inputs, target), (inputs, target), epochs=1, teacher=dense)
    assert tuned.before == pytest.approx(100 * float((dense.eval()(inputs).argmax(1) == 0).double().mean()))


def test_labels_are_asked_for_where_no_teacher_has_them(data: tuple[TensorDataset, TensorDataset]) -> None:
    inputs = [whole.tensors[0] for whole in data]
    with pytest.raises(RecipeError, match="not \\(inputs, target\\)"):
        jetpress.fine_tune(convolutions(), *inputs, epochs=1)
    dense = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
    with pytest.raises(RecipeError, match="holds no class scores"):
        jetpress.fine_tune(dense, *inputs, epochs=1, teacher=dense)
