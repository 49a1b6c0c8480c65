"""Two files asked the same: which detections and first classes both give; empty places do not count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jetpress.pipeline.graph.answers import agreement, answering, likely_head
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.store.facts.onnx_file import (
    Answers,
    DetectionRules,
    FileEnds,
    OnnxModelFacts,
    TensorSpec,
)

RULES = DetectionRules(0.01, 0.65, 1000, 100, 0, head="yolov8", reads=("out",), size=(64, 64))
PLACES = 6


def found(*boxes: tuple[float, float, float, int, float]) -> Feed:
    """``[1, 4 + classes, anchors]``: centre, side, class and score of each box; all other places are empty."""
    out = np.zeros((1, 4 + 3, PLACES), np.float32)
    for at, (x, y, side, label, score) in enumerate(boxes):
        out[0, :4, at], out[0, 4 + label, at] = (x, y, side, side), score
    return {"out": out}


GIVEN = [found((20, 20, 10, 0, 0.9), (50, 50, 8, 1, 0.5)), found((30, 30, 20, 2, 0.8), (10, 10, 4, 0, 0.1))]


@pytest.mark.parametrize(("made", "kept", "right"), [
    (GIVEN, 1.0, 1.0),
    ([found((21, 20, 10, 0, 0.3), (50, 50, 8, 2, 0.5)), found((30, 30, 20, 2, 0.2))], 1 / 3, 1 / 2),
    ([found((27, 20, 10, 0, 0.9)), found()], 0.0, 0.0),
    ([GIVEN[0], found((30, 30, 20, 2, 0.8), (50, 10, 9, 0, 0.6))], 1.0, 3 / 4),
    ([found(), found()], 0.0, 0.0),
])  # fmt: skip
def test_detections_of_both(made: list[Feed], kept: float, right: float) -> None:
    told = agreement(GIVEN, made, ["out"], RULES)
    assert told is not None
    assert (told.kept, told.right, told.share) == pytest.approx((kept, right, min(kept, right)))
    assert (told.what, told.count, told.samples) == ("detections", 3, 2)


def test_first_classes_of_both_and_what_nobody_can_read() -> None:
    one, other = (
        {"map": np.zeros((1, 2, 2), np.float32), "out": np.array([row], np.float32)}
        for row in ([0, 1], [1, 0])
    )
    told = agreement([one, one], [one, other], ["map", "out"], None)
    assert told == Answers("top classes", 0.5, 0.5, 2, 2)
    assert "50% of the file's 2 top classes are kept (2 samples)" in told.words
    assert agreement([one], [one], ["map"], None) is None
    assert agreement([found()], [found()], ["out"], RULES) is None


class Places(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (x,)


def test_what_becomes_of_empty_places_does_not_count() -> None:
    network, first = Places(), torch.from_numpy(GIVEN[0]["out"])
    moved, empty = first.clone(), first.clone()
    moved[0, 0, 0] += 5
    empty[0, 0, 5] += 5
    with answering(network, ["out"], RULES):
        scores, boxes = network(first)
        assert scores.shape == (1, 3, PLACES)
        assert torch.equal(network(empty)[1], boxes)
        assert not torch.equal(network(moved)[1], boxes)
    assert len(network(first)) == 1


@pytest.mark.parametrize(
    ("shape", "head"), [((1, 21, 85), "yolox"), ((1, 7, 100), "yolov8"), ((1, 10), None)]
)
def test_a_file_that_may_be_a_detector(shape: tuple[int, ...], head: str | None) -> None:
    taken = TensorSpec("image", "float32", (1, 3, 32, 32))
    facts = OnnxModelFacts(17, 8, 1, 1, 1, (taken,), (), FileEnds("network", "scores", ()))
    assert likely_head(facts, [np.zeros(shape, np.float32)]) == head
    assert likely_head(replace(facts, inputs=()), [np.zeros(shape, np.float32)]) is None
