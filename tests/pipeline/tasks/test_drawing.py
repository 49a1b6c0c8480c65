from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks import TASKS
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Setting
from jetpress.pipeline.tasks.segmentation import VOID

RULES = DetectionRules(score=0.05, iou=0.5, candidates=10, detections=5, first_label=1)
RED, GREEN = (230, 25, 75), (60, 180, 75)


def drawn(task: str, target: object, scale: int, ground: str = "black") -> np.ndarray:
    picture = Drawn(Image.new("RGB", (16, 12), ground), scale)
    TASKS[task].draw(picture, target, ("a", "b"))
    return np.asarray(picture.image)


@pytest.mark.parametrize("scale", [1, 4])
def test_what_a_detector_finds_is_drawn_where_it_is(scale: int) -> None:
    """Likely ones alone, counted from 0, at the picture's scale."""
    boxes = torch.tensor([[[2.0, 3, 9, 10], [1, 1, 3, 3]]])
    scores = torch.tensor([[[0.1, 0.2], [0.9, 0.1]]])
    found = TASKS["detection"].found
    assert found is not None
    (one,) = found((boxes, scores), Setting(("a", "b"), lambda: RULES))
    assert one["labels"].tolist() == [1]
    seen = drawn("detection", one, scale)
    assert seen.shape == (12 * scale, 16 * scale, 3)
    assert tuple(seen[10 * scale, 2 * scale]) == GREEN
    assert tuple(seen[8 * scale, 2 * scale]) == GREEN
    assert not seen[: 2 * scale, : 2 * scale].any()


def test_what_a_segmenter_finds_is_drawn_at_the_size_of_the_picture() -> None:
    scores = torch.zeros(1, 2, 6, 8)
    scores[:, 1, :, 4:] = 1
    found = TASKS["segmentation"].found
    assert found is not None
    (mask,) = found(scores, Setting())
    mask[0] = VOID
    seen = drawn("segmentation", mask, 1, "#808080")
    assert tuple(seen[8, 2]) == (64, 64, 64)
    assert np.abs(seen[8, 12].astype(int) - (128 + np.array(RED)) // 2).max() <= 1
    assert (seen[:2] == 128).all()
