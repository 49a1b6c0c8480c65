"""Data sets of a few pixels in every format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (40, 20)
"""Width and height."""


def images(folder: Path, count: int, suffix: str = "png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", SIZE, (number, 100, 200)).save(path)
    return paths


def yolo(folder: Path, labels: Mapping[int, str], names: str = "[cat, dog]", more: str = "") -> Path:
    images(folder / "images" / "train", 4)
    (folder / "labels" / "train").mkdir(parents=True)
    for number, text in labels.items():
        (folder / "labels" / "train" / f"{number}.txt").write_bytes(text.encode())
    (folder / "data.yaml").write_text(f"train: images/train\nnames: {names}\n{more}")
    return folder


def coco(folder: Path, annotations: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    images(folder / "images", 3)
    told = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)],
        "annotations": [
            {"id": n, "image_id": 0, "category_id": 7, **one} for n, one in enumerate(annotations)
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}],
        **more,
    }
    (folder / "train.json").write_text(json.dumps(told))
    return folder


def voc(folder: Path, objects: Mapping[int, str]) -> Path:
    images(folder / "JPEGImages", 3, "jpg")
    (folder / "Annotations").mkdir()
    for number, text in objects.items():
        (folder / "Annotations" / f"{number}.xml").write_text(f"<annotation>\n{text}\n</annotation>\n")
    return folder


def box(name: str, corners: Sequence[float], difficult: int = 0) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    inner = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{inner}</bndbox></object>"


def masks(folder: Path, values: Sequence[int], split: str = "train") -> Path:
    """A mask for each value: it, over 0 in its upper half."""
    images(folder / split / "images", len(values))
    (folder / split / "masks").mkdir(parents=True)
    for number, value in enumerate(values):
        pixels = np.zeros(SIZE[::-1], np.uint8)
        pixels[10:] = value
        Image.fromarray(pixels).save(folder / split / "masks" / f"{number}.png")
    return folder
