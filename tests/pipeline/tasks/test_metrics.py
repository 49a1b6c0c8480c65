"""Figures over a data set, held against scikit-learn and against pycocotools' own whole evaluation."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import f1_score, jaccard_score

from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks import TASKS
from jetpress.pipeline.tasks.metric import Metric, Result, Setting, of_state
from jetpress.pipeline.tasks.segmentation import VOID, cross_entropy

RULES = DetectionRules(score=0.0, iou=1.0, candidates=1000, detections=100, first_label=1, levels=())
SETTING = Setting(("a", "b", "c"), lambda: RULES)


def metric(kind: str, name: str) -> Metric:
    return TASKS[kind].metrics[name](SETTING)


def over(by: Metric, outputs: Any, target: Any, size: int = 3) -> Result:
    """In batches: what is shown must not depend on them."""
    seen = list[Any]()
    for start in range(0, len(outputs), size):
        part = slice(start, start + size)
        wanted = {k: v[part] for k, v in target.items()} if isinstance(target, dict) else target[part]
        seen += by.shown(outputs[part], wanted)
    return Result(by, seen, by.total(seen))


@pytest.mark.parametrize(("name", "theirs"), [("miou", jaccard_score), ("dice", f1_score)])
def test_segmentation_is_scikit_learns(name: str, theirs: Any) -> None:
    torch.manual_seed(0)
    scores, target = torch.randn(8, 3, 6, 5), torch.randint(0, 3, (8, 6, 5))
    target[0, :4] = VOID
    found = over(metric("segmentation", name), scores, target)
    known = target != VOID
    each = 100 * theirs(target[known], scores.argmax(1)[known], average=None)
    assert found.points == pytest.approx(each.mean())
    assert dict(found.parts) == pytest.approx(dict(zip("abc", each, strict=True)))
    assert over(metric("segmentation", name), scores.argmax(1), target).points == pytest.approx(found.points)


def test_a_class_that_does_not_occur_does_not_count() -> None:
    scores = torch.zeros(2, 3, 4, 4)
    scores[:, 1] = 1
    found = over(metric("segmentation", "miou"), scores, torch.ones(2, 4, 4, dtype=torch.int64))
    assert found.points == 100
    assert dict(found.parts) == {"b": 100}


def test_scores_of_an_eighth_of_the_size_are_judged_at_the_size_of_the_mask() -> None:
    scores = torch.zeros(1, 3, 2, 2)
    scores[0, 0, :, 0] = scores[0, 2, :, 1] = 1
    target = torch.zeros(1, 16, 16, dtype=torch.int64)
    target[..., 8:] = 2
    assert over(metric("segmentation", "miou"), scores, target).points > 90
    assert cross_entropy(scores, target, 0.0).isfinite()


def test_f1_is_scikit_learns() -> None:
    torch.manual_seed(1)
    scores, target = torch.randn(20, 3), (torch.rand(20, 3) < 0.4).float()
    wanted = 100 * f1_score(target, scores > 0, average="macro")
    assert over(metric("multilabel", "f1"), scores, target).points == pytest.approx(wanted)
    classes, labels = torch.randn(20, 3), torch.randint(0, 3, (20,))
    wanted = 100 * f1_score(labels, classes.argmax(1), average="macro")
    assert over(metric("classification", "macro_f1"), classes, labels).points == pytest.approx(wanted)


def detected(seed: int, images: int = 6, most: int = 6) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Boxes near those wanted, and others; wanted ones with crowds and images without any."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (images, most, 2))
    boxes = np.concatenate([corners, corners + random.uniform(4, 40, (images, most, 2))], -1)
    labels = random.integers(-1, 3, (images, most))
    crowd = random.random((images, most)) < 0.1
    target = {
        "boxes": torch.tensor(boxes).float(),
        "labels": torch.tensor(labels),
        "crowd": torch.tensor(crowd),
    }
    found = torch.tensor(boxes + random.normal(0, 3, boxes.shape)).float()
    scores = torch.zeros(images, 3, most)
    for image in range(images):
        for place in range(most):
            if random.random() < 0.8:
                right = max(labels[image, place], 0)
                scores[image, right if random.random() < 0.8 else random.integers(0, 3), place] = (
                    random.random()
                )
    return [(found[n], scores[n]) for n in range(images)], target


def by_pycocotools(found: list[Any], target: dict[str, torch.Tensor]) -> Any:
    wanted, given_, images = list[Any](), list[Any](), list(range(len(found)))
    for image in images:
        for box, label, crowd in zip(
            *(target[k][image].tolist() for k in ("boxes", "labels", "crowd")), strict=True
        ):
            if label >= 0:
                wanted.append({**_coco(box), "id": len(wanted) + 1, "image_id": image, "category_id": label,
                               "iscrowd": int(crowd)})  # fmt: skip
        boxes, scores = found[image]
        for label, place in (scores > 0).nonzero().tolist():
            given_.append({**_coco(boxes[place].tolist()), "image_id": image, "category_id": label,
                           "score": float(scores[label, place])})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": [{"id": n} for n in images], "annotations": wanted,
                         "categories": [{"id": n} for n in range(3)]}  # fmt: skip
        truth.createIndex()
        whole = COCOeval(truth, truth.loadRes(given_), "bbox")
        whole.evaluate()
        whole.accumulate()
        whole.summarize()
    return whole.stats[0] * 100, whole.stats[1] * 100


def _coco(box: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_cocos(seed: int) -> None:
    found, target = detected(seed)
    for name, wanted in zip(("map", "map50"), by_pycocotools(found, target), strict=True):
        by = metric("detection", name)
        seen = [
            one
            for n, (boxes, scores) in enumerate(found)
            for one in by.shown((boxes[None], scores[None]), {k: v[n : n + 1] for k, v in target.items()})
        ]
        assert by.total(seen) == pytest.approx(wanted, abs=1e-4)
        assert np.mean([*by.parts(seen).values()]) == pytest.approx(wanted, abs=1e-4)


def test_detections_of_a_graph_count_the_same() -> None:
    """A graph with the suppression in it gives boxes, scores and labels, filled up with score 0."""
    by = metric("detection", "map")
    target = {
        "boxes": torch.tensor([[[0.0, 0, 9, 9]]]),
        "labels": torch.tensor([[1]]),
        "crowd": torch.tensor([[False]]),
    }
    graph = {
        "boxes": torch.tensor([[[0.0, 0, 9, 9], [0, 0, 0, 0]]]),
        "scores": torch.tensor([[0.9, 0.0]]),
        "labels": torch.tensor([[2, -1]]),  # RULES count from 1
    }
    assert by.total(by.shown(graph, target)) == pytest.approx(100)
    graph["labels"] = torch.tensor([[1, -1]])
    assert by.total(by.shown(graph, target)) == 0


def test_nothing_to_find_is_no_traceback() -> None:
    by = metric("detection", "map")
    target = {"boxes": torch.zeros(1, 1, 4), "labels": torch.tensor([[-1]]), "crowd": torch.tensor([[False]])}
    assert by.total(by.shown((torch.zeros(1, 2, 4), torch.zeros(1, 3, 2)), target)) == 0


def test_regression_is_what_it_is_called() -> None:
    outputs, target = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [4.0], [3.0]])
    assert over(metric("regression", "mae"), outputs, target).points == pytest.approx(-1)
    assert over(metric("regression", "rmse"), outputs, target).points == pytest.approx(-((5 / 3) ** 0.5))
    assert over(
        metric("regression", "psnr"), torch.zeros(1, 4), torch.full((1, 4), 0.1)
    ).points == pytest.approx(20)


def test_keypoints_by_coordinates_and_by_maps() -> None:
    target = torch.tensor([[[4.5, 4.5, 1, 32, 32], [20.5, 28.5, 1, 32, 32], [0, 0, 0, 32, 32.0]]])
    for name in ("pck", "oks"):
        assert over(metric("keypoints", name), target[..., :2], target).points == 100
    off = target[..., :2].clone()
    off[0, 1, 0] += 10
    assert over(metric("keypoints", "pck"), off, target).points == 50
    maps = torch.zeros(1, 3, 32, 32)
    maps[0, 0, 4, 4] = maps[0, 1, 28, 20] = 1
    found = over(metric("keypoints", "oks"), maps, target)
    assert found.points == pytest.approx(100)
    assert TASKS["keypoints"].loss(maps, target, 0.0) < TASKS["keypoints"].loss(maps.roll(9, 2), target, 0.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_better_network_is_better_and_the_same_one_the_same(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (12, 6, 6), generator=generator)
    right = torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    noise = 1.5 * torch.rand(right.shape, generator=generator)
    before, after = (over(metric("segmentation", "miou"), one, target) for one in (right + noise, right))
    same = before.change(before)
    assert same is not None
    assert (same.value, same.low, same.high) == (0, 0, 0)
    gained = before.change(after)
    assert gained is not None
    assert gained.low <= gained.value <= gained.high
    assert gained.value == pytest.approx(after.points - before.points)
    assert after.points == 100
    assert after.error == 0 <= before.error


def test_a_state_of_the_users_own_has_no_interval() -> None:
    class Mean:
        def __init__(self) -> None:
            self.seen = list[float]()

        def update(self, outputs: torch.Tensor, target: torch.Tensor) -> None:
            self.seen += (outputs == target).float().tolist()

        def compute(self) -> torch.Tensor:
            return 100 * torch.tensor(self.seen).mean()

    labels = torch.tensor([0, 1, 1, 2])
    result = over(of_state("Mean", Mean()), labels, torch.tensor([0, 1, 0, 2]))
    assert result.points == 75
    assert result.change(result) is None
    assert result.error == 0


def test_a_persons_points_fall_off_as_coco_has_it() -> None:
    """Against pycocotools: one person, each point off by so much; other names have one fall-off."""
    from pycocotools.cocoeval import COCOeval

    from jetpress.pipeline.tasks.keypoints import FALLOFF, PERSON, falloffs

    rng = np.random.default_rng(0)
    right = rng.uniform(10, 90, (17, 2))
    right[0], right[1] = (0, 0), (100, 100)  # the extent: its square is the area
    found = right + rng.normal(0, 3, (17, 2))
    judge = COCOeval(iouType="keypoints")
    there = np.full((17, 1), 2.0)
    rows = {"keypoints": np.hstack([right, there]).ravel(), "bbox": [0, 0, 100, 100], "area": 1e4, "id": 1}
    judge._gts[0, 0] = [rows]
    judge._dts[0, 0] = [{"keypoints": np.hstack([found, there]).ravel(), "score": 1.0, "id": 1}]
    wanted = 100 * float(judge.computeOks(0, 0)[0, 0])
    metric = TASKS["keypoints"].metrics["oks"](Setting(PERSON))
    target = torch.tensor(np.hstack([right, there, np.full((17, 2), 100.0)]))[None].float()
    assert metric.total(metric.shown(torch.tensor(found)[None].float(), target)) == pytest.approx(
        wanted, abs=0.01
    )
    assert falloffs(("tip", "end")).tolist() == [FALLOFF]
