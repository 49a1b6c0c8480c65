"""The first recipe of detectors, segmenters and others; data as people have it, networks of any origin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.cli import main
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.starting import Answers, start
from tests.pipeline.data.formats import small

ROOT = Path(__file__).resolve().parents[3]
DETECTOR, SEGMENTER = f"{ROOT / 'recipes/detect.py'}:build", f"{ROOT / 'recipes/segment.py'}:build"
HEADS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, nc):
        super().__init__()
        self.body, self.shape, self.nc = nn.Conv2d(3, 8, 3, 32, 1), shape, nc

    def forward(self, x):
        cells = self.body(x).mean() + torch.zeros(len(x), *(s + self.nc if s < 11 else s for s in self.shape))
        return cells

def v8(nc=80):
    return Net((4, 84), nc)

def v5(nc):
    return Net((3 * 84, 5), nc)

def yolox(nc=80):
    return Net((84, 5), nc)

def unknown():
    return nn.Conv2d(3, 8, 3)

def loss(outputs, target):
    return outputs.sum()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path / "runs"))
    return tmp_path


def written(model: str, data: str, **more: str) -> Recipe:
    """The recipe, as a run reads it."""
    started = start(Answers(model, data, "host", "half the work at 2 points", **more))
    started.path.write_text(started.text)
    return Recipe.load(started.path)


def csv(folder: Path, header: str, rows: str) -> Path:
    small.images(folder, 3)
    (folder / "train.csv").write_text(f"{header}\n{rows}")
    return folder


LAYOUTS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "yolo": (lambda f: small.yolo(f, {0: "1 0.5 0.5 0.2 0.2"}), DETECTOR, "detection"),
    "coco": (lambda f: small.coco(f, [{"bbox": [1, 1, 9, 9]}]), DETECTOR, "detection"),
    "voc": (
        lambda f: small.voc(f, {n: small.box("cat", (1, 1, 9, 9)) for n in range(3)}),
        DETECTOR,
        "detection",
    ),
    "masks": (lambda f: small.masks(f, [1, 2, 3]), SEGMENTER, "segmentation"),
    "csv": (
        lambda f: csv(f, "path,age", "0.png,3\n1.png,4.5\n2.png,5\n"),
        "torchvision:resnet18",
        "regression",
    ),
}


@pytest.mark.parametrize("source", LAYOUTS)
def test_every_layout_becomes_a_recipe_of_its_task(source: str, here: Path) -> None:
    make, model, kind = LAYOUTS[source]
    make(here / "mine")
    recipe = written(model, "mine")
    assert (recipe.task.kind, recipe.data.source, recipe.name) == (kind, source, "mine")
    text = (here / "mine.toml").read_text()
    assert f'kind = "{kind}"' in text
    assert recipe.data.shape == (32, 32)
    assert ("points of mAP" in text, "points of mIoU" in text) == (
        kind == "detection",
        kind == "segmentation",
    )


@pytest.mark.parametrize(
    ("header", "rows", "kind"),
    [
        ("path,label", "0.png,0\n1.png,1\n2.png,1\n", "classification"),
        ("path,cat,dog", "0.png,0,1\n1.png,1,1\n2.png,0,0\n", "multilabel"),
        ("path,x1,y1,x2,y2", "0.png,1,2,3,4\n1.png,2,3,4,5\n2.png,3,3,3,3\n", "keypoints"),
        ("path,mass,age", "0.png,1,2\n1.png,2,3\n2.png,3,3\n", "regression"),
    ],
)
def test_the_columns_of_a_table_say_the_task(header: str, rows: str, kind: str, here: Path) -> None:
    from jetpress.pipeline.data.layouts import Layout, kind_of

    folder = csv(here / "t", header, rows)
    assert kind_of(Layout("csv", folder), None, None)[0] == kind
    assert kind_of(Layout("csv", folder), "regression", None) == ("regression", "as asked")


@pytest.mark.parametrize(("name", "head"), [("v8", "yolov8"), ("v5", "yolov5"), ("yolox", "yolox")])
def test_a_head_is_known_by_its_shape_and_has_the_classes_of_the_data(
    name: str, head: str, here: Path
) -> None:
    small.yolo(here / "mine", {0: "1 0.5 0.5 0.2 0.2"})
    (here / "net.py").write_text(HEADS)
    for path in (here / "mine" / "images" / "train").iterdir():
        small.Image.new("RGB", (64, 64)).save(path)
    recipe = written(f"net.py:{name}", "mine")
    assert (recipe.task.head, recipe.data.loss) == (head, str(here / "net.py") + ":loss")
    assert recipe.model.arguments == ({"nc": 2} if name == "v5" else {})


def test_points_of_objects_are_counted_by_the_data(here: Path) -> None:
    line = "0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.4 0.4 2\n"
    small.yolo(here / "mine", {0: line}, "[cat]", "kpt_shape: [2, 3]\n")
    (here / "heads.py").write_text(HEADS + "\ndef pose():\n    return Net((4 + 2 * 3, 84), 1)\n")
    recipe = written("heads.py:pose", "mine", task="pose")
    assert (recipe.task.kind, recipe.task.head, recipe.task.points) == ("pose", "yolov8", (2, 3))
    assert recipe.data.augment == "jitter"
    with pytest.raises(RecipeError, match="1 classes and 2 points"):
        written("heads.py:v8", "mine", task="pose")


def test_torchvisions_detectors_and_segmenters_with_other_classes(here: Path) -> None:
    from torchvision.models import get_model

    small.yolo(here / "boxes", {0: "1 0.5 0.5 0.2 0.2"})
    small.masks(here / "areas", [1, 2, 3])
    ssd, deep = "ssdlite320_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"
    for name, more in ((ssd, {}), (deep, {"aux_loss": True})):
        torch.save(get_model(name, weights=None, weights_backbone=None, **more).state_dict(), f"{name}.pth")
    recipe = written(f"torchvision:{ssd}", "boxes", weights=f"{ssd}.pth")
    assert (recipe.data.size, recipe.data.mean, recipe.data.fit) == (320, (0.5, 0.5, 0.5), "letterbox")
    assert recipe.train.epochs > 0
    assert "91 -> 3 classes; ... (6 layers): new" in (here / "boxes.toml").read_text()
    assert written(f"torchvision:{deep}", "areas", weights=f"{deep}.pth").task.kind == "segmentation"
    assert "classifier.4: 21 -> 4 classes: new" in (here / "areas.toml").read_text()
    assert written("torchvision:resnet18", "boxes").task.kind == "multilabel"


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        ("torchvision:fasterrcnn_mobilenet_v3_large_fpn", "boxes", "has two stages"),
        (
            "torchvision:ssdlite320_mobilenet_v3_large",
            "areas",
            "which is for segmentation, not for detection",
        ),
        ("net.py:unknown", "boxes", "no layout of boxes that is known"),
        (SEGMENTER, "labelled", "and no data.yaml"),
    ],
)
def test_what_does_not_go_together_is_told(model: str, data: str, told: str, here: Path) -> None:
    small.yolo(here / "boxes", {0: "1 0.5 0.5 0.2 0.2"})
    small.yolo(here / "labelled", {0: "1 0.5 0.5 0.2 0.2"}).joinpath("data.yaml").unlink()
    small.masks(here / "areas", [1, 2, 3])
    (here / "net.py").write_text(HEADS)
    with pytest.raises(RecipeError, match=told):
        written(model, data)


def test_a_detector_from_init_to_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.yolo(here / "mine", {n: f"{n % 2} 0.5 0.5 0.4 0.8" for n in range(4)}, more="val: images/train\n")
    words = ["--model", DETECTOR, "--data", "mine/data.yaml", "--target", "host", "--goal", "half the work"]
    assert main(["init", *words]) == 0
    sets = (
        "train.epochs=1",
        "finetune.epochs=1",
        "prune.rounds=1",
        "benchmark.seconds=0.2",
        "benchmark.warmup_ms=1",
        "benchmark.sessions=1",
        "benchmark.rounds=false",
        "data.workers=0",
    )
    more = [word for one in sets for word in ("--set", one)]
    assert main(["run", "mine.toml", "--target", "host", *more, "--json"]) in (
        0,
        7,
        8,
        9,
    )  # it may find nothing
    report = json.loads(capsys.readouterr().out)
    assert report["measured"] == "mAP"
    assert report["verdict"]["checks"][0]["what"] == "mAP drop on the test split"


def test_images_from_images_become_a_recipe(here: Path) -> None:
    root = small.masks(here / "mine", [1, 2, 3])
    (root / "train" / "masks").rename(root / "train" / "targets")
    (here / "net.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Conv2d(3, 1, 3, padding=1)\n"
    )
    recipe = written("net.py:build", "mine")
    assert (recipe.data.source, recipe.task.kind, recipe.data.metric) == ("pairs", "regression", "psnr")
    assert "dB that may be lost" in (here / "mine.toml").read_text()
