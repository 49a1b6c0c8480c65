from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import augment, digests
from jetpress.pipeline.data.feeds import picture
from jetpress.pipeline.data.formats.folders import files_below
from jetpress.pipeline.data.formats.pictures import decoded
from jetpress.pipeline.data.loading import (
    Data,
    batches,
    calibration,
    cut,
    fit_in_memory,
    load,
    pick,
    samples,
    steps,
)
from jetpress.pipeline.data.placing import Sample, fitted
from jetpress.pipeline.data.ranks import Part
from jetpress.pipeline.data.splits import Files, Images
from jetpress.pipeline.recipe.given import Pixels
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from tests.pipeline import small

DIGITS = DataConfig(augment="none")


def folder(
    root: Path, splits: tuple[str, ...] = ("train", "val"), classes: str = "ab", count: int = 8
) -> Path:
    """An image folder: class ``a`` is dark, class ``b`` bright."""
    generator = np.random.default_rng(0)
    for split in splits:
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(80 * label, 80 * label + 80, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.jpg", quality=95)
    return root


def folders(root: Path, **rest: object) -> DataConfig:
    config: dict[str, object] = {
        "source": "imagefolder",
        "root": str(root),
        "size": 16,
        "batch_size": 4,
    } | rest
    return DataConfig(**config)  # type: ignore[arg-type]


def test_digits_are_split_the_same_way_every_time_and_by_class() -> None:
    data = load(DIGITS, 0)
    assert len(data.train) + len(data.validation) + len(data.test) == 1797
    assert data.classes == tuple("0123456789")
    for split in (data.train, data.validation, data.test):
        assert split.labels is not None
        shares = split.labels.bincount(minlength=10) / len(split)
        assert shares.min() > 0.09
        assert shares.max() < 0.11
    again = load.__wrapped__(DIGITS, 0)
    other = load.__wrapped__(DIGITS, 1)
    assert torch.equal(again.test.batch(range(20), None)[0][0], data.test.batch(range(20), None)[0][0])
    assert not torch.equal(other.test.batch(range(20), None)[0][0], data.test.batch(range(20), None)[0][0])


def test_a_digit_is_normalised_and_brought_to_size() -> None:
    (inputs,), target = load(replace(DIGITS, mean=(0, 0, 0), std=(1, 1, 1)), 0).train.batch([0, 1], None)
    assert inputs.shape == (2, 3, 32, 32)
    assert inputs.dtype is torch.float32
    assert inputs.min() >= 0
    assert 0.5 < inputs.max() <= 1
    assert target.shape == (2,)
    (shifted,), _ = load(DIGITS, 0).train.batch([0, 1], None)
    mean, std = torch.tensor(DIGITS.mean)[:, None, None], torch.tensor(DIGITS.std)[:, None, None]
    assert torch.allclose(shifted, (inputs - mean) / std, atol=1e-5)


@pytest.mark.parametrize("kind", ["shift", "flip-crop", "resized-crop", "randaugment"])
def test_batches_depend_on_seed_and_epoch_alone(kind: str, tmp_path: Path) -> None:
    for config in (replace(DIGITS, augment=kind), folders(folder(tmp_path), augment=kind)):
        split = load(config, 0).train.subset(torch.arange(12))
        first = list(batches(split, 3))
        torch.rand(5)
        again = list(batches(split, 3))
        other = list(batches(split, 4))
        assert all(torch.equal(a[0][0], b[0][0]) for a, b in zip(first, again, strict=True))
        assert all(torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0][0][0], other[0][0][0])
        plain = next(batches(split))[0][0]
        assert not torch.equal(split.batch(range(12), 1)[0][0], plain[:12])


def test_augmentation_does_not_disturb_the_global_generators(tmp_path: Path) -> None:
    split = load(folders(folder(tmp_path), augment="randaugment"), 0).train
    before = torch.get_rng_state()
    list(batches(split, 0))
    assert torch.equal(before, torch.get_rng_state())


def test_worker_processes_give_the_same_batches(tmp_path: Path) -> None:
    config = folders(folder(tmp_path), augment="resized-crop")
    alone = list(batches(load(config, 0).train, 1))
    split = load(replace(config, workers=2), 0).train
    before = torch.get_rng_state()
    helped = list(batches(split, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[0][0], b[0][0]) for a, b in zip(alone, helped, strict=True))


def test_training_leaves_the_incomplete_batch_out_and_evaluation_sees_every_sample_once() -> None:
    split = load(DIGITS, 0).train
    trained = list(batches(split, 0))
    assert len(trained) == steps(split) == len(split) // 64
    assert {len(target) for _, target in trained} == {64}
    seen = torch.cat([target for _, target in batches(split)])
    assert isinstance(split, Images)
    assert torch.equal(seen, split.labels)
    few = split.subset(torch.arange(5))
    assert [len(target) for _, target in batches(few, 0)] == [5]
    assert steps(few) == 1


@given(st.lists(st.integers(2, 30), min_size=2, max_size=6), st.floats(0.05, 0.8), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_cut_takes_the_same_share_of_every_class(counts: list[int], share: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    split = Images(DIGITS, 0, torch.zeros(len(labels), 3, 1, 1), labels)
    rest, taken = cut(split, share, seed)
    assert sorted(torch.cat((rest, taken)).tolist()) == list(range(len(labels)))
    for label, count in enumerate(counts):
        got = int((labels[taken] == label).sum())
        assert got >= 1
        assert abs(got - share * count) <= 1


@given(st.integers(1, 200), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_a_pick_is_fixed_without_repeats_and_in_proportion(count: int, seed: int) -> None:
    split = load(DIGITS, 0).validation
    picked = pick(split, count, seed)
    assert picked == pick(split, count, seed)
    assert len(set(picked)) == len(picked) == min(count, len(split))
    assert split.labels is not None
    assert (split.labels[picked].bincount(minlength=10) - len(picked) / 10).abs().max() <= 2


def test_calibration_and_samples_are_fixed_and_not_augmented() -> None:
    data = load(replace(DIGITS, augment="shift"), 0)
    assert torch.equal(calibration(data, 20)[0], calibration(data, 20)[0])
    assert calibration(data, 20)[0].shape == (20, 3, 32, 32)
    inputs, target = samples(data, 30)
    assert inputs[0].shape[0] == len(target) == 30
    assert len(set(target.tolist())) == 10


def test_val_without_test_is_the_test_split(tmp_path: Path) -> None:
    data = load(folders(folder(tmp_path)), 0)
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 16)
    assert data.origin == {"train": "the rest of train/", "validation": "2 of train/", "test": "val/"}
    bright = data.test.batch(range(16), None)[0][0].mean((1, 2, 3))
    assert (bright[8:].min() > bright[:8].max()).item()


def test_an_image_folder_with_all_three_splits_keeps_them(tmp_path: Path) -> None:
    data = load(folders(folder(tmp_path, ("train", "val", "test"), count=3)), 0)
    assert data.origin == {"train": "train/", "validation": "val/", "test": "test/"}
    assert data.facts().validation == 6


def test_an_image_folder_with_training_images_only(tmp_path: Path) -> None:
    data = load(folders(folder(tmp_path, ("train",))), 0)
    assert isinstance(data.train, Files)
    parts = [set(s.paths) for s in (data.train, data.validation, data.test) if isinstance(s, Files)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 16


def test_folders_of_classes_alone_are_all_training_data(tmp_path: Path) -> None:
    whole, bare = load(folders(folder(tmp_path, ("train",))), 0), load(folders(tmp_path / "train"), 0)
    assert (len(bare.train), len(bare.validation), len(bare.test), bare.classes) == (
        len(whole.train), len(whole.validation), len(whole.test), whole.classes,
    )  # fmt: skip
    assert bare.origin["train"] == "the rest of train/"


def damaged(path: Path) -> None:
    """Half a JPEG: its header is sound."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_corrupt_images_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    damaged(root / "train/a/3.jpg")
    (root / "val/b/1.jpg").write_bytes(b"")
    with pytest.raises(RecipeError, match="2 images cannot be read") as caught:
        load(folders(root, max_corrupt=1), 0)
    assert "train/a/3.jpg" in caught.value.what
    assert "val/b/1.jpg" in caught.value.what
    assert "max_corrupt = 2" in caught.value.hint


def test_a_few_corrupt_images_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path)
    damaged(root / "train/a/3.jpg")
    data = load(folders(root, max_corrupt=1), 0)
    assert len(data.train) + len(data.validation) == 15
    assert data.facts().corrupt == (str(root / "train/a/3.jpg"),)
    assert "3.jpg" in capsys.readouterr().err
    assert sum(len(t) for _, t in batches(data.test)) == 16


def bitmap(path: Path, width: int, height: int) -> None:
    """A BMP of one bit a pixel, which is its header and a hole."""
    row = (width + 31) // 32 * 4
    head = struct.pack("<2sIHHI", b"BM", 62 + row * height, 0, 0, 62)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, row * height, 0, 0, 2, 2)
    path.write_bytes(head + b"\0\0\0\0\xff\xff\xff\0")
    os.truncate(path, 62 + row * height)


def circle(path: Path) -> None:
    path.symlink_to(path.name)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (lambda path: path.write_bytes(EPS), "cannot identify"),
        (lambda path: os.mkfifo(path), "no file"),
        (lambda path: path.symlink_to("nowhere.png"), "leads nowhere"),
        (circle, "leads nowhere"),
        (lambda path: bitmap(path, 13_000, 13_000), "13000 x 13000"),
        (lambda path: bitmap(path, 40_000, 40_000), "pixels"),
    ],
    ids=["eps", "pipe", "dangling", "circle", "large", "huge"],
)
def test_what_is_no_image_is_named_and_starts_nothing(
    tmp_path: Path, put: Callable[[Path], object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would have Ghostscript draw an EPS, and a pipe is read for ever."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {programs}/started\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    put(folder(tmp_path / "data") / "train/a/9.jpg")
    config = folders(tmp_path / "data")
    assert digests.fingerprint(config) == digests.fingerprint(config)
    with pytest.raises(RecipeError, match=f"1 images cannot be read.*\n.*9.jpg: .*{why}"):
        load(config, 0)
    with pytest.raises(RecipeError, match=r"9.jpg .*" + why):
        decoded(str(tmp_path / "data/train/a/9.jpg"), 3)
    with pytest.raises(RecipeError, match=r"9.jpg .*" + why):
        picture(tmp_path / "data/train/a/9.jpg", Pixels(), 3, 8, 8)
    assert not (programs / "started").exists()


def test_a_link_that_leads_back_and_a_name_that_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "val/a/other").symlink_to("../../train/a")
    count = len(list(files_below(Path())))
    assert count == 4 * 8 + 8
    (tmp_path / "train/a/up").symlink_to("..")
    for root in (tmp_path, Path()):
        with pytest.raises(RecipeError, match="link to a folder that it lies in"):
            digests.fingerprint(folders(root))
        with pytest.raises(RecipeError, match="link to a folder that it lies in"):
            load(folders(root), 0)
    (tmp_path / "train/a/up").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/\xff")).mkdir()
    with pytest.raises(RecipeError, match="no name in UTF-8"):
        digests.fingerprint(folders(tmp_path))


def test_an_image_lies_as_the_camera_was_held(tmp_path: Path) -> None:
    """Orientation 6: what was stored on the left is above."""
    stored = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 8, 1).repeat(8, 0))
    tags = Image.Exif()
    tags[0x0112] = 6
    stored.save(tmp_path / "one.png", exif=tags)
    assert decoded(str(tmp_path / "one.png"), 1)[0, :, 0].tolist() == [0] * 8 + [255] * 8
    assert (
        picture(tmp_path / "one.png", Pixels(), 1, 16, 8)[0, :, 0].round().tolist() == [0.0] * 8 + [1.0] * 8
    )


def test_an_image_that_goes_bad_later_is_named(tmp_path: Path) -> None:
    data = load(folders(folder(tmp_path)), 0)
    damaged(tmp_path / "val/a/0.jpg")
    with pytest.raises(RecipeError, match=r"val/a/0.jpg can no longer be read"):
        list(batches(data.test))


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: None, "there is no folder"),
        (lambda root: (root / "train").mkdir(), "has no folders"),
        (lambda root: (root / "train/a").mkdir(parents=True), "holds no images"),
        (lambda root: folder(root, classes="a"), "one class only, a"),
        (lambda root: (folder(root, ("train",)), folder(root, ("val",), "a")), "missing: b"),
        (lambda root: (folder(root, ("train",)), folder(root, ("val",), "abc")), "new: c"),
    ],
)
def test_a_folder_that_is_not_usable(tmp_path: Path, break_it: Callable[[Path], object], said: str) -> None:
    break_it(tmp_path)
    with pytest.raises(RecipeError, match=said) as caught:
        load(folders(tmp_path), 0)
    assert caught.value.hint


def test_a_users_dataset_with_two_inputs(tmp_path: Path) -> None:
    data = load(small.data(tmp_path, "sums"), 0)
    assert data.names == ("left", "right")
    assert data.classes == ("no", "yes")
    assert (len(data.train), len(data.validation), len(data.test)) == (300, 100, 80)
    (left, right), target = next(batches(data.train, 0))
    assert (left.shape, right.shape, target.shape) == ((25, 4), (25, 3), (25,))
    assert left.dtype is torch.float32
    assert torch.equal((left.sum(1) + right.sum(1) > 0).long(), target)


def test_splits_that_a_user_does_not_give_are_cut_off(tmp_path: Path) -> None:
    data = load(small.data(tmp_path, "only_train"), 0)
    assert len(data.train) + len(data.validation) + len(data.test) == 300
    assert len(data.test) == 45


def test_what_a_users_dataset_draws_is_seeded(tmp_path: Path) -> None:
    data = load(small.data(tmp_path, "noisy"), 0)
    one, two = [batch[0][0] for batch in batches(data.train, 0)], [b[0][0] for b in batches(data.train, 0)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(torch.cat(one).unique()) == 25


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nothing", "training data is empty"),
        ("no_dict", "returned no training data"),
        ("absent", "has no function"),
    ],
)
def test_a_users_data_that_is_not_usable(tmp_path: Path, function: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load(small.data(tmp_path, function), 0)


def test_a_users_sample_that_fails_is_named(tmp_path: Path) -> None:
    data = load(small.data(tmp_path, "failing"), 0)
    with pytest.raises(RecipeError, match="sample 3 failed: OSError: the disk is gone"):
        data.train.batch([1, 3], None)
    with pytest.raises(RecipeError, match="do not fit into one batch"):
        data.train.batch([1, 2], None)


def test_an_error_in_a_worker_process_says_the_same(tmp_path: Path) -> None:
    data = load(small.data(tmp_path, "failing", workers=1), 0)
    with pytest.raises(RecipeError) as caught:
        list(batches(data.train))
    assert caught.value.what.endswith("sample 3 failed: OSError: the disk is gone")
    assert caught.value.hint


def test_a_data_set_that_ends_a_worker_process_is_named(tmp_path: Path) -> None:
    data = load(small.data(tmp_path, "leaving", workers=1), 0)
    with pytest.raises(RecipeError, match=r"ended the process: sys.exit\(0\)"):
        list(batches(data.train))


def test_labels_outside_the_classes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="labels 0 to 1 for 1 classes"):
        load(small.data(tmp_path, "one_name"), 0)


def test_cifar_in_torchvisions_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    base = tmp_path / CIFAR10.base_folder
    base.mkdir()
    generator = np.random.default_rng(0)
    listed = {}
    for name, count in (("data_batch_1", 40), ("test_batch", 10)):
        pixels = generator.integers(0, 255, (count, 3072), dtype=np.uint8)
        (base / name).write_bytes(pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(count)]}))
        listed[name] = [[name, None]]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(CIFAR10, "train_list", listed["data_batch_1"])
    monkeypatch.setattr(CIFAR10, "test_list", listed["test_batch"])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": None})
    config = DataConfig(source="cifar10", root=str(tmp_path), augment="flip-crop", validation_fraction=0.25)
    data = load(config, 0)
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 10, 10)
    assert data.classes[0] == "a"
    assert data.train.batch(range(4), 7)[0][0].shape == (4, 3, 32, 32)
    larger = load(replace(config, size=48), 0)
    assert larger.test.batch(range(4), None)[0][0].shape == (4, 3, 48, 48)


def test_cifar_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cifar100 cannot be read") as caught:
        load(DataConfig(source="cifar100", root=str(tmp_path)), 0)
    assert "data.download" in caught.value.hint


def test_shifts_move_and_lose_nothing_inside() -> None:
    images = torch.zeros(50, 3, 16, 16)
    images[:, :, 7:9, 7:9] = 1
    moved = augment.batch(images, "shift", 1)
    assert torch.equal(moved.sum((1, 2, 3)), images.sum((1, 2, 3)))
    assert len({tuple(image.nonzero()[0].tolist()) for image in moved}) > 10
    slope = torch.arange(16.0).expand(50, 3, 16, 16)
    flipped = (
        augment.batch(slope, "flip-crop", 1)[:, 0, 8, 10] < augment.batch(slope, "flip-crop", 1)[:, 0, 8, 5]
    )
    assert 10 < int(flipped.sum()) < 40


def test_the_centre_crop_keeps_the_share_that_the_recipe_says() -> None:
    image = torch.arange(64).repeat(3, 64, 1).to(torch.uint8)
    assert fitted(Sample(image, {}), (32, 32), "crop", 1.0).image[0, 0, 0] <= 1
    assert abs(int(fitted(Sample(image, {}), (32, 32), "crop", 0.5).image[0, 0, 0]) - 16) <= 1


def test_fingerprints_follow_the_data(tmp_path: Path) -> None:
    config = folders(folder(tmp_path / "images"))
    first = digests.fingerprint(config)
    assert first == digests.fingerprint(config)
    os.utime(tmp_path / "images/val/a/0.jpg", (1, 1))
    assert digests.fingerprint(config) != first
    own = small.data(tmp_path, "sums")
    before = digests.fingerprint(own)
    with (tmp_path / "data.py").open("a") as file:
        file.write("# changed")
    assert digests.fingerprint(own) != before
    with pytest.raises(RecipeError, match="there is no folder"):
        digests.fingerprint(folders(tmp_path / "nowhere"))


def test_content_names_everything_outside_the_recipe(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"1")
    data = small.data(tmp_path, "sums", loss=f"{tmp_path / 'data.py'}:both")
    recipe = Recipe(name="x", model=replace(small.model(tmp_path), weights=str(weights)), data=data)
    assert set(digests.input_digests(recipe)) == {"data", "model.weights", "model.builder", "data.loss"}
    assert set(digests.input_digests(Recipe(name="x"))) == {"data"}
    with pytest.raises(RecipeError, match="there are no weights"):
        digests.input_digests(Recipe(name="x", model=ModelConfig(weights=str(tmp_path / "none.pth"))))


def test_content_imports_no_torch() -> None:
    code = (
        "import sys; from jetpress.pipeline.data import digests; "
        "from jetpress.pipeline.recipe.reading import Recipe; digests.input_digests(Recipe(name='x'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(sum(m in sys.modules for m in ('torch', 'sklearn')))"],
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0


def test_data_describes_itself() -> None:
    data = load(DIGITS, 0)
    assert isinstance(data, Data)
    facts = data.facts()
    assert facts.train == len(data.train)
    assert facts.origin["test"].endswith("of scikit-learn's digits")


@pytest.mark.parametrize("kind", ["none", "shift", "flip-crop", "randaugment"])
@pytest.mark.parametrize("world", [2, 3])
def test_what_several_processes_make_is_the_whole_batch(kind: str, world: int, tmp_path: Path) -> None:
    """Varied as one process would vary it."""
    for config in (
        replace(DIGITS, augment=kind, batch_size=8),
        folders(folder(tmp_path / str(world)), augment=kind),
    ):
        split = load(config, 0).train.subset(torch.arange(12))
        whole = list(batches(split, 3))
        shared = [list(batches(split, 3, Part(rank, world))) for rank in range(world)]
        for (inputs, target), *parts in zip(whole, *shared, strict=True):
            assert torch.equal(inputs[0], torch.cat([part[0][0] for part in parts]))
            assert torch.equal(target, torch.cat([part[1] for part in parts]))


def test_several_processes_judge_every_sample_once(tmp_path: Path) -> None:
    split = load(folders(folder(tmp_path, count=20), workers=1), 0).train
    labels = [target for rank in range(3) for _, target in batches(split, part=Part(rank, 3))]
    assert split.labels is not None
    assert sum(map(len, labels)) == len(split)
    assert torch.equal(torch.cat(labels).bincount(), split.labels.bincount())


@given(st.sampled_from([(0.2, 0.0), (0.0, 1.0), (0.4, 1.0)]), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_mixing_shares_every_label_out(alphas: tuple[float, float], seed: int) -> None:
    mixed = augment.mixing(*alphas, classes=7)
    assert mixed is not None
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6)
    state = torch.get_rng_state()
    (made,), shares = mixed((images,), labels, seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert made.shape == images.shape
    assert shares.shape == (6, 7)
    assert torch.allclose(shares.sum(1), torch.ones(6), atol=1e-5)
    assert ((shares > 0).sum(1) <= 2).all()
    (again,), same = mixed((images,), labels, seed)
    assert torch.equal(again, made)
    assert torch.equal(same, shares)


def test_nothing_is_mixed_unless_asked_for_nor_what_cannot_be() -> None:
    assert augment.mixing(0.0, 0.0, 10) is None
    mixed = augment.mixing(0.2, 0.0, 10)
    assert mixed is not None
    for inputs, target in (
        ((torch.zeros(2, 7),), torch.arange(2)),
        ((torch.zeros(2, 3, 4, 4),), torch.zeros(2, 4, 4)),
        ((torch.zeros(2, 3, 4, 4), torch.zeros(2, 1)), torch.arange(2)),
    ):
        with pytest.raises(RecipeError, match="mixup"):
            mixed(inputs, target, 0)


@pytest.mark.parametrize(("side", "count"), [(32, 43690), (224, 891), (448, 222), (4096, 8)])
def test_fewer_large_images_are_walked_together(side: int, count: int) -> None:
    assert fit_in_memory((torch.empty(1, 3, side, side, device="meta"),)) == count
