from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from jetpress.pipeline.tasks import TASKS, imitation
from jetpress.pipeline.training.norms import as_in_training


def scores(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 99), st.floats(0.5, 20))
@settings(max_examples=20, deadline=None)
def test_logits_are_the_divergence_of_the_softened_scores(seed: int, temperature: float) -> None:
    ours, theirs = scores(seed, 6, 10), scores(seed + 1000, 6, 10)
    p, q = F.softmax(theirs.double() / temperature, 1), F.softmax(ours.double() / temperature, 1)
    expected = (p * (p / q).log()).sum(1).mean() * temperature**2
    assert imitation.logits(ours, theirs, temperature).item() == pytest.approx(
        expected.item(), rel=1e-3, abs=1e-5
    )
    assert imitation.logits(ours, ours, temperature).item() == pytest.approx(0, abs=1e-5)
    # What is added to all scores of a sample changes nothing.
    moved = imitation.logits(ours + 3, theirs, temperature)
    assert moved.item() == pytest.approx(expected.item(), rel=1e-2, abs=1e-4)


def test_gradients_keep_their_size_whatever_the_temperature() -> None:
    theirs = scores(1, 32, 10)
    sizes = []
    for temperature in (4.0, 40.0):
        ours = scores(0, 32, 10).requires_grad_()
        imitation.logits(ours, theirs, temperature).backward()
        assert ours.grad is not None
        sizes.append(ours.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.3)


def test_logits_of_every_place() -> None:
    ours, theirs = scores(0, 2, 5, 4, 4), scores(1, 2, 5, 4, 4)
    flat = [t.permute(0, 2, 3, 1).reshape(-1, 5) for t in (ours, theirs)]
    assert imitation.logits(ours, theirs, 2.0).item() == pytest.approx(
        imitation.logits(*flat, 2.0).item(), rel=1e-5
    )


def test_values_do_not_depend_on_the_scale() -> None:
    ours, theirs = scores(0, 8, 4), scores(1, 8, 4)
    once, scaled = imitation.values(ours, theirs), imitation.values(100 * ours, 100 * theirs)
    assert once.item() == pytest.approx(scaled.item(), rel=1e-4)
    assert imitation.values(ours, ours) == 0
    assert imitation.values(torch.ones(3), torch.ones(3)) == 0


def test_a_teacher_of_small_values_is_no_steeper_than_their_labels() -> None:
    kind = TASKS["regression"]
    theirs = 0.001 * scores(0, 8, 2)
    ours = (theirs + 0.01).requires_grad_()
    learnt = kind.loss(ours, theirs, 0.0)
    followed = kind.imitation(ours, theirs, 4.0)
    assert followed is not None
    steep, wanted = (torch.autograd.grad(one, ours)[0] for one in (followed, learnt))
    torch.testing.assert_close(steep, wanted)


def test_outputs_of_several_kinds() -> None:
    ours = (scores(0, 4, 10), scores(1, 4, 2), torch.ones(4, dtype=torch.int64))
    theirs = (scores(2, 4, 10), scores(3, 4, 2), torch.ones(4, dtype=torch.int64))
    both = imitation.classes(ours, theirs, 3.0)
    expected = (imitation.logits(ours[0], theirs[0], 3.0) + imitation.values(ours[1], theirs[1])) / 2
    assert both is not None
    assert both.item() == pytest.approx(expected.item())
    plain = imitation.numbers(ours, theirs, 3.0)
    assert plain is not None
    assert plain.item() == pytest.approx(
        (imitation.values(ours[0], theirs[0]) + imitation.values(ours[1], theirs[1])).item() / 2
    )


@pytest.mark.parametrize("how", [imitation.classes, imitation.numbers, imitation.dense])
def test_what_has_another_form_is_left_out(how: imitation.Imitation) -> None:
    assert how((scores(0, 4, 10),), (scores(1, 4, 7),), 3.0) is None
    rest = how((scores(0, 4, 10), scores(2, 4, 2)), (scores(1, 4, 7), scores(3, 4, 2)), 3.0)
    assert rest is not None
    assert torch.equal(rest, imitation.values(scores(2, 4, 2), scores(3, 4, 2)))


@pytest.mark.parametrize("names", [("logits", "boxes"), ("cls_logits", "bbox_regression")])
def test_a_detector_follows_where_its_teacher_is_sure(names: tuple[str, str]) -> None:
    """Of six anchors the teacher is sure of one; both layouts of the classes come to the same."""
    logits, boxes = torch.full((2, 6, 3), -9.0), 30 * scores(0, 2, 6, 4)
    logits[:, 1, 2] = 4.0

    def apart(our_logits: torch.Tensor, our_boxes: torch.Tensor, flip: bool = False) -> float:
        both = [
            {names[0]: one.mT if flip else one, names[1]: other, "anchors": torch.zeros(6, 4)}
            for one, other in ((our_logits, our_boxes), (logits, boxes))
        ]
        found = imitation.dense(*both, 1.0)
        assert found is not None
        return found.item()

    assert apart(logits, boxes) == pytest.approx(0, abs=1e-6)
    unsure, sure = boxes.clone(), boxes.clone()
    unsure[:, 4] += 20
    sure[:, 1] += 20
    assert apart(logits, sure) > 100 * apart(logits, unsure) > 0
    wrong = logits.roll(1, 2)
    assert apart(wrong, boxes) == pytest.approx(apart(wrong, boxes, flip=True), rel=1e-5)
    assert apart(wrong, boxes) > 1


class Otherwise(nn.Module):
    """Returns more in training; random and by its batch, if its layers may be."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> object:
        found = self.layers(x)
        return {"raw": found, "more": found.sum(1)} if self.training else found


def test_a_teacher_shows_its_training_form_and_nothing_random() -> None:
    module, x = Otherwise().eval(), scores(0, 6, 4)
    plain = module(x)
    as_in_training(module, (x,))
    assert torch.equal(module(x)["raw"], plain)
    same = module.layers.train()
    as_in_training(same, (x,))
    assert not same.training


@pytest.mark.parametrize("layout", ["maps", "names", "names flipped", "nested"])
def test_distributions_over_bins_are_compared_as_such(layout: str) -> None:
    """Localization distillation: what is added to all bins of a side is no other place, and sure anchors count."""
    logits, boxes = torch.full((2, 6, 3), -9.0), 3 * scores(0, 2, 6, 4 * 16)
    logits[:, 1, 2] = 4.0

    def returned(logits: torch.Tensor, boxes: torch.Tensor) -> object:
        if layout == "maps":
            whole = torch.cat([boxes, logits], 2).mT
            return [whole[..., :4].unflatten(2, (2, 2)), whole[..., 4:].unflatten(2, (2, 1))]
        named = {"boxes": boxes, "scores": logits, "feats": torch.zeros(2, 5)}
        if layout == "names flipped":
            named |= {"boxes": boxes.mT, "scores": logits.mT}
        return {"one2many": named, "one2one": named} if layout == "nested" else named

    def apart(our_boxes: torch.Tensor, temperature: float = 1.0) -> float:
        found = imitation.dense(returned(logits, our_boxes), returned(logits, boxes), temperature, 3)
        assert found is not None
        return found.item()

    assert apart(boxes) == pytest.approx(0, abs=1e-5)
    assert apart(boxes.unflatten(2, (4, 16)).add(scores(1, 2, 6, 4, 1)).flatten(2)) == pytest.approx(
        0, abs=1e-5
    )
    sure, unsure = boxes.clone(), boxes.clone()
    sure[:, 1], unsure[:, 4] = boxes[:, 1].roll(1, -1), boxes[:, 4].roll(1, -1)
    assert apart(sure) > 100 * apart(unsure) > 0
    p, q = (one[:, 1].unflatten(1, (4, 16)).double().softmax(-1) for one in (boxes, sure))
    weight = torch.sigmoid(torch.tensor([4.0, -9.0])).double()
    expected = weight[0] * (p * (p / q).log()).sum(-1).mean() * 2 / (2 * (weight[0] + 5 * weight[1]))
    assert apart(sure) == pytest.approx(expected.item(), rel=1e-3)
