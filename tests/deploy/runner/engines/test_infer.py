"""What the runner makes of an engine's results."""

from __future__ import annotations

import numpy as np

from jetpress.deploy.runner.decode.detections import detections
from jetpress.deploy.runner.engines.infer import images

RULES = {
    "score": 0.5, "iou": 0.5, "candidates": 10, "detections": 10, "first_label": 0,
    "head": "yolov8", "reads": ["found"], "size": [16, 16], "classes": 0,
}  # fmt: skip


def test_images_of_whole_inputs_are_found_in_like_those_of_a_batch() -> None:
    """Whole inputs have an axis more, and an input may hold several images."""
    found = np.zeros((4, 6, 2), np.float32)
    found[:, :4] = [[4.0, 12.0], [4.0, 12.0], [2.0, 2.0], [2.0, 2.0]]
    found[1, 4, 0] = found[3, 5, 1] = 0.9
    batch = detections(images({"found": found}, whole=False), RULES)
    whole = {"found": found.reshape(2, 2, 6, 2), "rate": np.zeros(2)}
    for one, other in zip(batch, detections(images(whole, whole=True), RULES), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    assert [labels.tolist() for _, _, labels in batch] == [[], [0], [], [1]]
