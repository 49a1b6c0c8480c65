from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jetpress.pipeline.recipe.retraining import Distillation
from jetpress.pipeline.tasks import imitation
from jetpress.pipeline.training import distill, features


def scores(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_feature_losses_are_zero_for_twins_and_positive_for_others() -> None:
    ours, theirs = scores(0, 4, 8, 5, 5), scores(1, 4, 8, 5, 5)
    for function in (distill.hint, distill.attention, distill.similarity):
        assert function(ours, ours).item() == pytest.approx(0, abs=1e-9)
        assert function(ours, theirs) > 0


def test_feature_losses_take_pruned_features() -> None:
    ours, theirs = scores(0, 4, 6, 5, 5), scores(1, 4, 8, 5, 5)
    assert distill.hint(ours, theirs, nn.Conv2d(6, 8, 1)).ndim == 0
    assert distill.attention(ours, theirs).ndim == 0
    assert distill.similarity(ours, theirs).ndim == 0
    # Attention looks at where, not at how strongly; similarity at who is like whom.
    assert distill.attention(5 * ours, ours).item() == pytest.approx(0, abs=1e-9)
    assert distill.similarity(ours[:, [5, 4, 3, 2, 1, 0]], ours).item() == pytest.approx(0, abs=1e-9)


def head(outputs: torch.Tensor, target: torch.Tensor, *_: object) -> torch.Tensor:
    return F.cross_entropy(outputs, target)


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 36, 5))


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    ours, theirs = network(4, 0), network(6, 1)
    student = features.Student(ours, {"0.weight": (4, 6)}, seed=2)
    teacher = distill.Teacher(theirs, Distillation(0.7, 5.0, hint=0.1, attention=2.0, similarity=3.0))
    images, labels = scores(0, 4, 3, 8, 8), torch.arange(4)
    whole = distill.objective(head, student, teacher, ["0.weight"], imitation.classes)((images,), labels)
    small, wide = ours[0](images), theirs[0](images)
    expected = (
        0.3 * head(ours(images), labels)
        + 0.7 * imitation.logits(ours(images), theirs(images), 5.0)
        + 0.1 * distill.hint(small, wide, student.adapters[0])
        + 2.0 * distill.attention(small, wide)
        + 3.0 * distill.similarity(small, wide)
    )
    assert whole.item() == pytest.approx(expected.item(), rel=1e-5)
    whole.backward()
    assert student.adapters[0].weight.grad.any()
    assert all(p.grad is None for p in theirs.parameters())


def test_without_weights_the_labels_alone_count() -> None:
    ours, images, labels = network(4, 0), scores(0, 4, 3, 8, 8), torch.arange(4)
    silent = distill.Teacher(network(4, 1), Distillation(0.0, 5.0))
    for teacher in (None, silent):
        loss = distill.objective(head, ours, teacher, [], imitation.classes)((images,), labels)
        assert torch.equal(loss, head(ours(images), labels))
