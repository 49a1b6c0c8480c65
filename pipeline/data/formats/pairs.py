"""Folders of images and of what is to be made of them, images as well: depth, restoration, super-resolution.

::

    train/images/a.jpg  train/targets/a.png     or  images/train/a.jpg  targets/train/a.png
    val/...  test/...                           or  images/a.jpg  targets/a.png   (all training data)

A target has the name of its image; it is an image (values 0 to 1) or a ``.npy`` file of numbers, of the image's size or
a multiple of it. What is no finite number in it is not known.
"""

from __future__ import annotations

from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats import masks
from jetpress.pipeline.data.formats.marks import Findings, Marked, TargetFile
from jetpress.pipeline.data.formats.pictures import channels_of, size_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

IMAGES, TARGETS = ("images", "image", "inputs", "noisy", "lr"), ("targets", "target", "depth", "clean", "hr")


def read(config: DataConfig, task: TaskConfig) -> Marked:
    """Every image with its target.

    Raises:
        RecipeError: the folders are others, a target is missing, or of a size or of channels that do not fit.
    """
    del task
    root = Path(str(config.root))
    folders = dict(masks.folders_in(root, IMAGES, TARGETS))
    if "train" not in folders:
        raise RecipeError(
            f"{root} holds no images and targets",
            "it must hold train/images and train/targets, images/train and targets/train, or images and targets",
        )
    findings, splits, forms = Findings(str(root)), {}, dict[tuple[int, int], str]()
    for split, pair in folders.items():
        found = masks.pairs(*pair, "target", findings)
        splits[split] = [(image, TargetFile(target)) for image, target in found]
        for image, target in found:
            _look(image, target, forms, findings)
    findings.tell()
    return Marked(splits, {split: f"{pair[0].relative_to(root)}/" for split, pair in folders.items()})


def holds(root: Path) -> bool:
    """Whether a folder is laid out so."""
    return "train" in dict(masks.folders_in(root, IMAGES, TARGETS))


def _look(image: str, target: str, forms: dict[tuple[int, int], str], findings: Findings) -> None:
    """All targets have as many channels, and are as many times as large as their images."""
    small, large = size_of(image), size_of(target)
    if small is None:
        return  # the run counts and names images that cannot be read
    if large is None:
        findings.wrong(target, "cannot be read")
        return
    times = large[0] // small[0]
    if times < 1 or large != (times * small[0], times * small[1]):
        findings.wrong(target, f"is {large[0]} x {large[1]}, its image {small[0]} x {small[1]}")
        return
    form = (times, channels_of(target))
    first = forms.setdefault(form, target)
    if first == target and len(forms) > 1:
        other = next(iter(forms))
        findings.wrong(
            target,
            f"has {form[1]} channels and {times} times the size of its image, {forms[other]} {other[1]} and {other[0]}",
        )
