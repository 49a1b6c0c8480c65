from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.retraining import Distillation
from jetpress.pipeline.training import distill, features


def scores(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 99), st.floats(0.5, 20))
@settings(max_examples=20, deadline=None)
def test_logits_are_the_divergence_of_the_softened_scores(seed: int, temperature: float) -> None:
    ours, theirs = scores(seed, 6, 10), scores(seed + 1000, 6, 10)
    p, q = F.softmax(theirs.double() / temperature, 1), F.softmax(ours.double() / temperature, 1)
    expected = (p * (p / q).log()).sum(1).mean() * temperature**2
    assert distill.logits(ours, theirs, temperature).item() == pytest.approx(
        expected.item(), rel=1e-3, abs=1e-5
    )
    assert distill.logits(ours, ours, temperature).item() == pytest.approx(0, abs=1e-5)
    # What is added to all scores of a sample changes nothing.
    moved = distill.logits(ours + 3, theirs, temperature)
    assert moved.item() == pytest.approx(expected.item(), rel=1e-2, abs=1e-4)


def test_gradients_keep_their_size_whatever_the_temperature() -> None:
    theirs = scores(1, 32, 10)
    sizes = []
    for temperature in (4.0, 40.0):
        ours = scores(0, 32, 10).requires_grad_()
        distill.logits(ours, theirs, temperature).backward()
        assert ours.grad is not None
        sizes.append(ours.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.3)


def test_logits_of_every_place() -> None:
    ours, theirs = scores(0, 2, 5, 4, 4), scores(1, 2, 5, 4, 4)
    flat = [t.permute(0, 2, 3, 1).reshape(-1, 5) for t in (ours, theirs)]
    assert distill.logits(ours, theirs, 2.0).item() == pytest.approx(
        distill.logits(*flat, 2.0).item(), rel=1e-5
    )


def test_values_do_not_depend_on_the_scale() -> None:
    ours, theirs = scores(0, 8, 4), scores(1, 8, 4)
    once, scaled = distill.values(ours, theirs), distill.values(100 * ours, 100 * theirs)
    assert once.item() == pytest.approx(scaled.item(), rel=1e-4)
    assert distill.values(ours, ours) == 0
    assert distill.values(torch.ones(3), torch.ones(3)) == 0


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


def test_outputs_of_several_kinds() -> None:
    ours = (scores(0, 4, 10), scores(1, 4, 2), torch.ones(4, dtype=torch.int64))
    theirs = (scores(2, 4, 10), scores(3, 4, 2), torch.ones(4, dtype=torch.int64))
    both = distill.outputs(ours, theirs, 3.0, classes=True)
    expected = (distill.logits(ours[0], theirs[0], 3.0) + distill.values(ours[1], theirs[1])) / 2
    assert both.item() == pytest.approx(expected.item())
    plain = distill.outputs(ours, theirs, 3.0, classes=False)
    assert plain.item() == pytest.approx(
        (distill.values(ours[0], theirs[0]) + distill.values(ours[1], theirs[1])).item() / 2
    )


def test_outputs_of_other_shapes_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"\[\[4, 10\]\], its teacher's \[\[4, 7\]\]"):
        distill.outputs((scores(0, 4, 10),), (scores(1, 4, 7),), 3.0, classes=True)


def head(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, target)


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 36, 5))


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    ours, theirs = network(4, 0), network(6, 1)
    student = features.Student(ours, {"0.weight": (4, 6)}, seed=2)
    teacher = distill.Teacher(theirs, Distillation(0.7, 5.0, hint=0.1, attention=2.0, similarity=3.0))
    images, labels = scores(0, 4, 3, 8, 8), torch.arange(4)
    whole = distill.objective(head, student, teacher, ["0.weight"], classes=True)((images,), labels)
    small, wide = ours[0](images), theirs[0](images)
    expected = (
        0.3 * head(ours(images), labels)
        + 0.7 * distill.logits(ours(images), theirs(images), 5.0)
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
        loss = distill.objective(head, ours, teacher, [], classes=True)((images,), labels)
        assert torch.equal(loss, head(ours(images), labels))
