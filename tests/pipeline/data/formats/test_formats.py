"""Every format: what is read, what is noted, and one message for what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import digests
from jetpress.pipeline.data.formats.marks import Boxes, Marked, MaskFile, Outlines, Points, Values, text_of
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.data.sources import FORMATS
from jetpress.pipeline.data.splits import Files
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from studies.fuzz.mutations import VALUES
from tests.pipeline.data.formats import small


def read(source: str, root: Path, kind: str = "detection", **task: tuple[str, ...]) -> Marked:
    return FORMATS[source].read(DataConfig(source=source, root=str(root)), TaskConfig(kind, **task))


def boxes(found: Marked, number: int) -> list[list[float]]:
    mark = found.splits["train"][number][1]
    assert isinstance(mark, Boxes)
    return np.concatenate([mark.labels[:, None], mark.boxes], axis=1).round(3).tolist()  # type: ignore[no-any-return]


def test_yolo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {
        0: "1 0.5 0.5 0.5 0.5\r\n\r\n0 0.25 0.5 0.5 1\r\n",  # as Windows writes it
        1: "1 0 0 0.5 0 0.5 1\n1 0.5 0.5 0 0.5\n",  # an outline; a box without area
        2: "",
    }
    found = read("yolo", small.yolo(tmp_path, labels))
    assert found.classes == ("cat", "dog")
    assert boxes(found, 0) == [[1, 10, 5, 30, 15], [0, 0, 0, 20, 20]]
    assert boxes(found, 1) == [[1, 0, 0, 20, 20]]
    assert boxes(found, 2) == boxes(found, 3) == []
    said = capsys.readouterr().err
    assert "2 images have no object: background" in said
    assert "1 boxes have no area and are left out" in said


def test_yolo_for_other_tasks(tmp_path: Path) -> None:
    root = small.yolo(tmp_path / "outlines", {0: "1 0 0 0.5 0 0.5 1\n"})
    found = read("yolo", root, "segmentation")
    mark = found.splits["train"][0][1]
    assert found.classes == ("background", "cat", "dog")
    assert isinstance(mark, Outlines)
    assert mark.labels == (2,)
    assert mark.areas[0][0].tolist() == [[0, 0], [20, 0], [20, 20]]
    several = read("yolo", root, "multilabel").splits["train"][0][1]
    assert isinstance(several, Values)
    assert several.values.tolist() == [0, 1]
    more = "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
    root = small.yolo(tmp_path / "pose", {0: "0 0.5 0.5 1 1 0.25 0.5 2 0 0 0\n"}, "[cat]", more)
    found = read("yolo", root, "keypoints")
    points = found.splits["train"][0][1]
    assert isinstance(points, Points)
    assert points.points.tolist() == [[10, 10, 1], [0, 0, 0]]
    assert found.swaps == ((0, 1),)
    found = read("yolo", root, "pose")
    (_, object_with_points), (_, background) = found.splits["train"][:2]
    assert isinstance(object_with_points, Boxes)
    assert isinstance(background, Boxes)
    assert object_with_points.boxes.tolist() == [[0, 0, 40, 20]]
    assert object_with_points.points is not None
    assert object_with_points.points.tolist() == [[[10, 10, 1], [0, 0, 0]]]
    assert background.points is not None
    assert background.points.shape == (0, 2, 3)
    assert (found.classes, found.swaps) == (("cat",), ((0, 1),))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2, and there are 2, from 0"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0 0.5 1.5 0.1 0.1", "1.5 is no share of the image"),
        ("0 320 240 60 40", "320 is no share of the image"),
        ("0 0.5 0.5 0.1", "4 numbers"),
        ("cat 0.5 0.5 0.1 0.1", "is not numbers"),
        ("0 nan 0.5 0.1 0.1", "nan is no share"),
        ("0 0.1 0.1 0.5 0.5 0.3 200", "200 is no share"),  # of an outline
        ("0 0.1 0.1 0.5 0.5 0.3 0.2 nan 0", "nan is no share"),
        ("0 0.5 0.5 0.5 0.5 0.1 0.1 2", "7 numbers behind the class"),  # a point, without kpt_shape
    ],
)
def test_a_wrong_line_of_yolo(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(RecipeError, match=r"0\.txt:2: .*") as caught:
        read("yolo", small.yolo(tmp_path, {0: f"0 0.5 0.5 0.1 0.1\n{line}\n"}))
    assert told in caught.value.what


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="12 faults") as caught:
        read("yolo", small.yolo(tmp_path, {0: "9 0.5 0.5 0.1 0.1\n" * 12}))
    assert "and 4 more" in caught.value.what


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: [\n", "is not YAML"),
        ("- a\n", "is no table"),
        ("train: images/train\n", "has no names"),
        ("train: images/train\nnames: {0: a, 2: b}\n", "not numbered"),
        ("train: images/train\nnames: {a: a, 2: b}\n", "not numbered"),
        ("train: images/train\nnames: [a]\nkpt_shape: [a, 3]\n", "kpt_shape is"),
        ("train: images/train\nnames: [a]\nkpt_shape: [17, 4]\n", "kpt_shape is"),
        ("train: images/train\nnames: [a]\nnc: 3\n", "nc is 3"),
        ("train: images/nothing\nnames: [a]\n", "there is no"),
        ("val: images/train\nnames: [a]\n", "no training images"),
    ],
)
def test_a_wrong_data_yaml(tmp_path: Path, text: str, told: str) -> None:
    small.yolo(tmp_path, {})
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(RecipeError, match=told):
        read("yolo", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_labels_or_one_message(tmp_path: Path, content: bytes) -> None:
    root = tmp_path if (tmp_path / "data.yaml").exists() else small.yolo(tmp_path, {})
    (root / "labels" / "train" / "0.txt").write_bytes(content)
    try:
        read("yolo", root)
    except RecipeError as error:
        assert "0.txt" in error.what  # noqa: PT017


def test_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"bbox": [1, 2, 10, 5]},
        {"bbox": [1, 2, 10, 5], "category_id": 9, "iscrowd": 1},
        {"bbox": [1, 2, 0, 5]},
        {"bbox": [30, 10, 20, 20], "image_id": 1, "id": 0},
    ]
    found = read("coco", small.coco(tmp_path, rows))
    assert found.classes == ("cat", "dog")  # by their numbers
    assert boxes(found, 0) == [[0, 1, 2, 11, 7], [1, 1, 2, 11, 7]]
    first = found.splits["train"][0][1]
    assert isinstance(first, Boxes)
    assert first.crowd.tolist() == [False, True]
    assert boxes(found, 1) == [[0, 30, 10, 40, 20]]
    said = capsys.readouterr().err
    for words in (
        "1 boxes have no area",
        "1 boxes reach beyond",
        "1 annotations have an id that another one has",
    ):
        assert words in said
    assert boxes(read("coco", tmp_path, classes=("dog", "fox", "cat")), 0)[0][0] == 2
    root = small.coco(
        tmp_path / "zero", [{"bbox": [1, 2, 10, 5], "category_id": 0}], categories=[{"id": 0, "name": "cat"}]
    )
    assert read("coco", root, classes=("cat", "fox")).classes == ("cat", "fox")


def test_coco_for_other_tasks(tmp_path: Path) -> None:
    category = {"id": 7, "name": "cat", "keypoints": ["nose", "left_ear", "right_ear"]}
    row = {
        "bbox": [0, 0, 9, 9],
        "segmentation": [[0, 0, 9, 0, 9, 9]],
        "area": 4,
        "keypoints": [1, 2, 2, 3, 4, 1, 0, 0, 0],
    }
    root = small.coco(tmp_path, [row], categories=[category])
    mark = read("coco", root, "segmentation").splits["train"][0][1]
    assert isinstance(mark, Outlines)
    assert mark.labels == (1,)
    found = read("coco", root, "keypoints")
    points = found.splits["train"][0][1]
    assert isinstance(points, Points)
    assert points.points.tolist() == [[1, 2, 1], [3, 4, 1], [0, 0, 0]]
    assert found.classes == ("nose", "left_ear", "right_ear")
    assert found.swaps == ((1, 2),)
    (root / "annotations").mkdir()
    (root / "train.json").rename(root / "annotations" / "person_keypoints_train2017.json")
    rows = [
        dict(row),
        {**row, "bbox": [0, 0, 9, 9]},
        {"bbox": [5, 5, 4, 4]},
    ]  # the second is the first once more
    small.coco(tmp_path / "boxes", rows, categories=[category])
    (tmp_path / "boxes" / "train.json").rename(root / "annotations" / "person_keypoints_train2017.json")
    found = read("coco", root, "pose")
    mark = found.splits["train"][0][1]
    assert isinstance(mark, Boxes)
    assert mark.points is not None
    assert mark.points.tolist() == [[[1, 2, 1], [3, 4, 1], [0, 0, 0]], [[0, 0, 0]] * 3]
    assert (found.classes, found.swaps) == (("cat",), ((1, 2),))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 0: bbox is"),
        ({"bbox": [1, 2, 3, 4], "image_id": 99}, "annotation 0: there is no image 99"),
        ({"bbox": [1, 2, 3, 4], "category_id": 8}, "annotation 0: there is no category 8"),
    ],
)
def test_a_wrong_annotation_of_coco(tmp_path: Path, row: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        read("coco", small.coco(tmp_path, [row]))


def test_splits_of_coco_number_their_categories_alike(tmp_path: Path) -> None:
    row = {"bbox": [1, 2, 3, 4], "category_id": 0}
    small.coco(tmp_path, [row], categories=[{"id": 0, "name": "cat"}])
    told = json.loads((tmp_path / "train.json").read_text())
    del told["categories"]  # nobody says that they are others
    (tmp_path / "val.json").write_text(json.dumps(told))
    assert read("coco", tmp_path).classes == ("cat",)
    (tmp_path / "val.json").write_text(json.dumps({**told, "categories": [{"id": 0, "name": "dog"}]}))
    with pytest.raises(RecipeError, match=r"val\.json: category 0 is 'dog', in the training data 'cat'"):
        read("coco", tmp_path)


@pytest.mark.parametrize(
    ("area", "told"),
    [
        ({"size": [10, 10], "counts": [0, 50, 50]}, "is coded for 10 x 10, its image is 40 x 20"),
        ({"size": [20, 40], "counts": [0, 50, 5000]}, "no segmentation that can be read"),
    ],
)
def test_run_lengths_that_are_not_of_their_image(
    tmp_path: Path, area: dict[str, list[int]], told: str
) -> None:
    with pytest.raises(RecipeError, match=f"annotation 0: .*{told}"):
        read("coco", small.coco(tmp_path, [{"segmentation": area}]), "segmentation")


def test_a_wrong_file_of_coco(tmp_path: Path) -> None:
    small.coco(tmp_path, [], images=[{"id": 0, "file_name": "gone.png"}])
    with pytest.raises(RecipeError, match=r"image 0: there is no gone\.png"):
        read("coco", tmp_path)
    small.coco(
        tmp_path / "ids", [], images=[{"id": 0, "file_name": "0.png"}, {"id": 0, "file_name": "1.png"}]
    )
    with pytest.raises(RecipeError, match="2 images have 1 different ids"):
        read("coco", tmp_path / "ids")
    (tmp_path / "train.json").write_text('{\n"images": [\n')
    with pytest.raises(RecipeError, match=r"train\.json:\d: not JSON"):
        read("coco", tmp_path)
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(RecipeError, match="has no images, annotations, categories"):
        read("coco", tmp_path)


def test_voc_counts_from_one(tmp_path: Path) -> None:
    objects = small.box("dog", (1, 1, 40, 20)) + small.box("cat", (11, 6, 20, 15), difficult=1)
    root = small.voc(tmp_path, {0: objects, 1: "", 2: small.box("cat", (1, 1, 2, 2))})
    found = read("voc", root)
    assert found.classes == ("cat", "dog")
    assert boxes(found, 0) == [[1, 0, 0, 40, 20], [0, 10, 5, 20, 15]]
    first = found.splits["train"][0][1]
    assert isinstance(first, Boxes)
    assert first.crowd.tolist() == [False, True]
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n2  1\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("1\n")
    found = read("voc", root)
    assert {split: len(rows) for split, rows in found.splits.items()} == {"train": 2, "validation": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [("<object>", r"0\.xml:3: not XML"), ("<object><name>a</name></object>", "object 1 has no box")],
)
def test_a_wrong_file_of_voc(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        read("voc", small.voc(tmp_path, {0: text}))


def test_masks(tmp_path: Path) -> None:
    root = small.masks(tmp_path, [1, 2, 255])
    found = read("masks", root, "segmentation")
    assert found.classes == ("0", "1", "2")
    mark = found.splits["train"][2][1]
    assert isinstance(mark, MaskFile)
    config = DataConfig(source="masks", root=str(root), size=(20, 40), mean=(0.0,) * 3, std=(1.0,) * 3)
    data = load(config, 0)
    assert data.task.kind == "segmentation"
    whole = {int(one) for split in (data.train, data.validation, data.test)
             for one in split.batch(range(len(split)), None)[1].unique()}  # fmt: skip
    assert whole == {0, 1, 2, -100}


def test_wrong_masks(tmp_path: Path) -> None:
    root = small.masks(tmp_path, [1, 2])
    with pytest.raises(RecipeError, match=r"masks/1\.png: has class 2, there are 2, from 0"):
        read("masks", root, "segmentation", classes=("a", "b"))
    Image.new("RGB", small.SIZE).save(root / "train" / "masks" / "0.png")
    with pytest.raises(RecipeError, match=r"masks/0\.png: is in colours"):
        read("masks", root, "segmentation")
    Image.new("L", (3, 3)).save(root / "train" / "masks" / "0.png")
    with pytest.raises(RecipeError, match=r"is 3 x 3, its image 40 x 20"):
        read("masks", root, "segmentation")
    with pytest.raises(RecipeError, match=r"no class beside 0; pixels of data\.void = 255"):
        read("masks", small.masks(tmp_path / "white", [255, 0]), "segmentation")
    (root / "train" / "masks" / "0.png").unlink()
    with pytest.raises(RecipeError, match=r"images/0\.png: has no mask"):
        read("masks", root, "segmentation")
    with pytest.raises(RecipeError, match="holds no images and masks"):
        read("masks", tmp_path / "nothing", "segmentation")


def test_csv(tmp_path: Path) -> None:
    small.images(tmp_path / "a", 3)
    (tmp_path / "train.csv").write_bytes(
        "path,age,split\r\na/0.png,3.5,train\r\na/1.png,4,val\r\n".encode("utf-8-sig")
    )
    found = read("csv", tmp_path, "regression")
    assert found.classes == ("age",)
    mark = found.splits["train"][0][1]
    assert isinstance(mark, Values)
    assert mark.values.tolist() == [3.5]
    assert len(found.splits["validation"]) == 1
    (tmp_path / "points.csv").write_text("path,nose,nose_y\na/0.png,7,8\na/1.png,-1,-1\n")
    points = [row[1] for row in read("csv", tmp_path / "points.csv", "keypoints").splits["train"]]
    assert [one.points.tolist() for one in points if isinstance(one, Points)] == [[[7, 8, 1]], [[-1, -1, 0]]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,age\na/9.png,1\n", r"train\.csv:2: there is no image a/9\.png"),
        ("path,age\na/0.png,old\n", r"train\.csv:2: 'old' is no number"),
        ("path,age\na/0.png,1,2\n", r"train\.csv:2: 3 columns"),
        ("path,age,split\na/0.png,1,all\n", r"train\.csv:2: there is no split 'all'"),
        ("a/0.png,1\n", r"train\.csv:1: names no columns"),
        ("", r"train\.csv:1: has no columns"),
        ("path,age\n", "no lines of training data"),
    ],
)
def test_a_wrong_csv(tmp_path: Path, text: str, told: str) -> None:
    small.images(tmp_path / "a", 1)
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(RecipeError, match=told):
        read("csv", tmp_path, "regression")


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("keypoints", "path,x,y,z\na/0.png,1,2,3\n", r"train\.csv:1: 3 columns of values"),
        ("classification", "path,a,b\na/0.png,1,2\n", r"train\.csv:1: 2 columns of values: a, b"),
        ("classification", "path,a\na/0.png,1.5\n", r"train\.csv:2: 1\.5 is no number of a class"),
        ("classification", "path,a\na/0.png,-1\n", r"train\.csv:2: -1 is no number of a class"),
        ("classification", "path,a\na/0.png,1e30\n", r"train\.csv:2: 1e\+30 is no number of a class"),
        ("multilabel", "path,a,b\na/0.png,1,2\n", r"train\.csv:2: 2 is no 0 or 1"),
    ],
)
def test_a_csv_that_is_not_for_its_task(tmp_path: Path, kind: str, text: str, told: str) -> None:
    small.images(tmp_path / "a", 1)
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(RecipeError, match=told):
        read("csv", tmp_path, kind)


DIGITS = "9" * 6000
"""More than Python makes a number of."""
ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.json", "[" * 100_000),
        ("train.json", '{"images": [{"id": ' + DIGITS + "}]}"),
        ("train.json", '{"images": [[]], "annotations": [], "categories": []}'),
        ("train.json", '{"images": [], "annotations": 1, "categories": []}'),
        ("data.yaml", "train: " + "[" * 5000),
        ("data.yaml", "train: images/train\nnames: [a]\nnc: " + DIGITS),
        ("data.yaml", ALIASES + "train: images/train\nnames: *h\n"),
        ("labels/train/0.txt", DIGITS + " .5 .5 .2 .2"),
        ("train.csv", 'path,v\n0.png,"' + "9" * 200_000 + '"'),
    ],
    ids=lambda value: value[:24],
)
def test_what_no_reader_could_hold_is_one_short_message(tmp_path: Path, name: str, text: str) -> None:
    small.yolo(tmp_path, {})
    (tmp_path / name).write_text(text)
    source = {"train.json": "coco", "train.csv": "csv"}.get(name, "yolo")
    with pytest.raises(RecipeError) as caught:
        load(DataConfig(source=source, root=str(tmp_path)), 0)
    assert len(caught.value.what) < 600


@pytest.mark.parametrize("name", ["data.yaml", "train.json", "train.csv"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(RecipeError, match="is no file"):
        text_of(tmp_path / name)


def test_what_a_format_cannot_be_is_refused(tmp_path: Path) -> None:
    root = small.masks(tmp_path, [1])
    with pytest.raises(RecipeError, match='"masks" is no data for task'):
        load(DataConfig(source="masks", root=str(root)), 0, TaskConfig("detection"))


@pytest.mark.parametrize("change", [
    lambda root: (root / "labels" / "train" / "0.txt").write_text("1 0.5 0.5 0.25 0.25\n"),
    lambda root: Image.new("RGB", (60, 60)).save(root / "images" / "train" / "1.png"),
    lambda root: (root / "labels" / "train" / "3.txt").write_text(""),
])  # fmt: skip
def test_labels_and_images_are_in_the_digest(tmp_path: Path, change: Callable[[Path], object]) -> None:
    root = small.yolo(tmp_path, {0: "1 0.5 0.5 0.5 0.5\n"})
    config = DataConfig(source="yolo", root=str(root))
    before = digests.fingerprint(config)
    assert digests.fingerprint(config) == before
    change(root)
    assert digests.fingerprint(config) != before


def test_what_runs_and_trainers_write_beside_the_yaml_is_no_data(tmp_path: Path) -> None:
    """Ultralytics keeps a cache beside the labels: training would be done again in every run."""
    root = small.yolo(tmp_path, {0: "1 0.5 0.5 0.5 0.5\n"})
    config = DataConfig(source="yolo", root=str(root))
    before = digests.fingerprint(config)
    (root / "runs").mkdir()
    for written in ("labels/train.cache", "labels/train/images.cache", "runs/args.yaml", "runs/batch.png"):
        (root / written).write_bytes(b"0")
    assert digests.fingerprint(config) == before
    (root / "data.yaml").write_text((root / "data.yaml").read_text().replace("names", "nc: 2\nnames"))
    assert digests.fingerprint(config) != before


def test_a_list_of_images_is_in_the_digest(tmp_path: Path) -> None:
    root = small.yolo(tmp_path, {0: "1 0.5 0.5 0.5 0.5\n"})
    (root / "some.txt").write_text("images/train/0.png\n")
    described = root / "data.yaml"
    described.write_text(described.read_text().replace("train: images/train", "train: some.txt"))
    config = DataConfig(source="yolo", root=str(described))
    before = digests.fingerprint(config)
    (root / "some.txt").write_text("images/train/0.png\nimages/train/1.png\n")
    assert digests.fingerprint(config) != before
    before = digests.fingerprint(config)
    (root / "labels" / "train" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert digests.fingerprint(config) != before


def test_images_beside_the_yaml_are_in_the_digest(tmp_path: Path) -> None:
    small.yolo(tmp_path / "there", {})
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data.yaml").write_text(
        f"path: {tmp_path / 'there'}\ntrain: images/train\nnames: [a]\n"
    )
    config = DataConfig(source="yolo", root=str(tmp_path / "here" / "data.yaml"))
    before = digests.fingerprint(config)
    (tmp_path / "there" / "labels" / "train" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert digests.fingerprint(config) != before
    split = load(config, 0).train
    assert isinstance(split, Files)


def test_run_lengths_of_coco(tmp_path: Path) -> None:
    """Compressed or not, they are the pixels that they say; a crowd is neither learnt nor judged."""
    from pycocotools import mask

    pixels = np.zeros((20, 40), np.uint8, order="F")
    pixels[5:10, 8:30] = 1
    coded = mask.encode(pixels)
    runs = np.diff(np.flatnonzero(np.diff(pixels.T.ravel(), prepend=0, append=1)), prepend=0)
    rows = [
        {"segmentation": {"size": [20, 40], "counts": coded["counts"].decode()}, "area": 110},
        {
            "segmentation": {"size": [20, 40], "counts": [int(one) for one in runs]},
            "area": 110,
            "image_id": 1,
        },
        {"segmentation": {"size": [20, 40], "counts": coded["counts"].decode()}, "iscrowd": 1, "image_id": 2},
    ]
    root = small.coco(tmp_path, rows)
    config = DataConfig(
        source="coco", root=str(root), size=(20, 40), validation_fraction=0.3, test_fraction=0.3
    )
    data = load(config, 0, TaskConfig("segmentation"))
    seen = {
        path: split.batch([n], None)[1][0].numpy()
        for split in (data.train, data.validation, data.test)
        if isinstance(split, Files)
        for n, path in enumerate(Path(one).stem for one in split.paths)
    }
    for name, inside in (("0", 1), ("1", 1), ("2", -100)):
        assert (seen[name][pixels == 1] == inside).all()
        assert (seen[name][pixels == 0] == 0).all()
    wrong = small.coco(tmp_path / "wrong", [{"segmentation": {"size": [20, 40], "counts": 3}}])
    with pytest.raises(RecipeError, match="has no segmentation that can be read"):
        read("coco", wrong, "segmentation")


@pytest.mark.parametrize("task", ["detection", "segmentation", "keypoints", "multilabel"])
def test_a_field_of_coco_of_any_type_is_taken_or_is_one_message(task: str, tmp_path: Path) -> None:
    """Every field of every row as everything that JSON can hold."""
    shape = {"size": [20, 40], "counts": [1, 2, 797]}
    row = {"bbox": [1, 2, 3, 4], "area": 3.5, "iscrowd": 0, "keypoints": [1, 2, 2], "segmentation": shape}
    root = small.coco(tmp_path, [row], categories=[{"id": 7, "name": "a", "keypoints": ["nose"]}])
    told = json.loads((root / "train.json").read_text())
    places = [(told[column][0], name) for column in told for name in [*told[column][0]]]
    places += [(told, column) for column in told]
    inside = told["annotations"][0]
    places += [(inside["segmentation"], "size"), (inside["segmentation"], "counts"), (inside["bbox"], 0)]
    refused = 0
    for holder, name in places:
        before = holder[name]
        for value in VALUES:
            holder[name] = value
            (root / "train.json").write_text(json.dumps(told))
            try:
                read("coco", root, task)
            except RecipeError:
                refused += 1
        holder[name] = before
    assert refused > len(places)
