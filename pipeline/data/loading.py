"""Training, validation, test and calibration batches.

Whatever the source, a batch is ``(inputs, target)``: ``inputs`` a tuple of tensors ``[batch, ...]`` in the
order of the network's ``forward``, ``target`` whatever the loss takes (class numbers ``[batch]`` for images).
What a batch holds depends on (seed, epoch) and nothing else, so a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, Dataset

from jetpress.deploy.console import progress, say
from jetpress.deploy.errors import RecipeError, not_ended
from jetpress.pipeline.data import sources
from jetpress.pipeline.data.augment import WHOLE, mix
from jetpress.pipeline.data.ranks import ALONE, Part
from jetpress.pipeline.data.splits import Batch, Images, Split
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import UNDECIDED, TaskConfig
from jetpress.pipeline.store.facts.network import DataFacts
from jetpress.pipeline.tasks import decided, task_of

Work = tuple[list[int], int | None, slice]
"""What one batch is made of: numbers of samples, the key of their augmentation, the part that is made."""

EVALUATION_BATCH = 4
"""Times ``data.batch_size``: without gradients there is room for more."""

LARGEST, LEAST = 2**27, 8
"""Elements of all inputs that are walked through a network together (0.5 GB), but so many samples at least."""


@dataclass(frozen=True)
class Data:
    """Three splits of one data set."""

    config: DataConfig
    seed: int
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    """Names of the classes, by number; empty where the source does not say."""
    names: tuple[str, ...] = ("input",)
    """Names of the inputs, in order."""
    origin: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Split -> where its samples come from, in words."""
    corrupt: tuple[str, ...] = ()
    """Files that could not be read and are left out."""
    task: TaskConfig = UNDECIDED
    """What it is for, decided, with the names of the classes."""

    def facts(self) -> DataFacts:
        """What is told about the data."""
        counts = len(self.train), len(self.validation), len(self.test)
        return DataFacts(self.config.source, *counts, dict(self.origin), self.classes, self.corrupt)


@lru_cache(maxsize=2)
def load(config: DataConfig, seed: int, task: TaskConfig = UNDECIDED) -> Data:
    """The data that a recipe names, split the same way for the same seed. Loaded once in a process.

    Args:
        config: of the data.
        seed: of what is cut off the training data.
        task: what the network is for; where that is left open, what the data says.

    Raises:
        RecipeError: nothing there, too many unreadable images, fewer than two classes.
    """
    task = replace(task, kind=decided(task, config))
    with progress("reading the data"):
        found = sources.read(config, seed, task)
    if len(found.corrupt) > config.max_corrupt:
        listed = "\n    ".join(f"{path}: {why}" for path, why in sorted(found.corrupt.items())[:10])
        more = f"\n    ... and {len(found.corrupt) - 10} more" if len(found.corrupt) > 10 else ""
        raise RecipeError(
            f"{len(found.corrupt)} images cannot be read, data.max_corrupt is {config.max_corrupt}:\n"
            f"    {listed}{more}",
            f"mend or remove them, or set data.max_corrupt = {len(found.corrupt)} to leave them out",
        )
    if found.corrupt:
        say(
            f"    {len(found.corrupt)} unreadable images are left out: {', '.join(sorted(found.corrupt)[:3])} ..."
        )
    splits, origin = _complete(found.splits, found.origin, config, seed)
    classes = _classes(task, found)
    for name, split in splits.items():
        if len(split) == 0:
            raise RecipeError(
                f"the {name} split of {config.source} is empty", "add samples, or check data.root"
            )
        if split.labels is not None:
            task_of(task).check_labels(config.source, name, split.labels, classes)
    task = replace(task, classes=classes)
    return Data(
        config,
        seed,
        **splits,
        classes=classes,
        names=found.names,
        origin=origin,
        corrupt=tuple(sorted(found.corrupt)),
        task=task,
    )


def _complete(
    given: Mapping[str, Split], origin: Mapping[str, str], config: DataConfig, seed: int
) -> tuple[dict[str, Split], dict[str, str]]:
    """Test and validation data are cut off the training data where the source has none of their own.

    ``val/`` without ``test/`` becomes the test split: the figure that counts is then measured on images that
    the owner of the data set apart, and the best epoch is chosen on others.
    """
    splits, words, whole = dict(given), dict(origin), origin["train"]
    if "test" not in splits and "validation" in splits:
        splits["test"], words["test"] = splits.pop("validation"), words.pop("validation")
    for number, (name, share) in enumerate(
        (("test", config.test_fraction), ("validation", config.validation_fraction))
    ):
        if name not in splits:
            rest, taken = cut(splits["train"], share, mix(seed, number))
            splits["train"], splits[name] = splits["train"].subset(rest), splits["train"].subset(taken)
            words[name], words["train"] = f"{len(taken)} of {whole}", f"the rest of {whole}"
    return splits, words


def cut(split: Split, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices ``[rest], [taken]``: the same share of each class is taken, at least one of two; of samples that are
    each of a class of their own, that share of all."""
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels if split.labels is not None else torch.zeros(len(split), dtype=torch.int64)
    if labels.bincount().max() == 1:
        labels = torch.zeros_like(labels)
    taken = torch.zeros(len(split), dtype=torch.bool)
    for label in torch.unique(labels):
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        taken[members[: cut_off(len(members), share)]] = True
    return (~taken).nonzero().flatten(), taken.nonzero().flatten()


def cut_off(members: int, share: float) -> int:
    """How many of a class's samples are taken."""
    return max(round(share * members), min(1, members - 1))


def _classes(task: TaskConfig, found: sources.Found) -> tuple[str, ...]:
    """Names of the classes: the recipe's, where it gives any.

    Raises:
        RecipeError: the data has another number of classes.
    """
    if task.classes and found.classes and len(task.classes) != len(found.classes):
        raise RecipeError(
            f"task.classes names {len(task.classes)} classes, the data has {len(found.classes)}: "
            f"{', '.join(found.classes[:10])}",
            "leave task.classes out, or name all of them in the order of the data",
        )
    return task.classes or found.classes


def batches(split: Split, epoch: int | None = None, part: Part = ALONE) -> Iterator[Batch]:
    """One pass over a split; of several processes each makes its own part.

    Args:
        split: what to pass over.
        epoch: in training, counted from 0: shuffled and augmented from (seed, epoch), an incomplete batch at
            the end left out. None: in order, as it is, in larger batches, every sample once.
        part: of several processes; in training its share of every batch, otherwise its share of the batches.
    """
    count = len(split)
    if epoch is None:
        size = EVALUATION_BATCH * split.config.batch_size
        order, key, share = torch.arange(count), None, WHOLE
    else:
        size = step_size(split)
        key, share = mix(split.seed, epoch), part.of(size)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(key))[: count // size * size]
    work: list[Work] = [(some.tolist(), key, share) for some in torch.split(order, size)]
    if epoch is None:
        work = work[part.rank :: part.world]
    if isinstance(split, Images) or split.config.workers == 0 or not work:
        yield from (pinned(split.batch(*item)) for item in work)
        return
    loader = DataLoader(
        _Work(split),
        batch_size=None,
        sampler=work,
        num_workers=min(split.config.workers, len(work)),
        collate_fn=_unchanged,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),  # or it draws from the global one, which dropout uses too
    )
    for batch in loader:
        if isinstance(batch, RecipeError):
            raise batch
        yield batch


@dataclass
class _Work(Dataset[Any]):
    """A split whose items are whole batches, for the loader's processes."""

    split: Split

    def __getitem__(self, item: Work) -> Batch | RecipeError:
        try:
            with not_ended():
                return self.split.batch(*item)
        except RecipeError as error:  # raised here, it would arrive as a traceback in words
            return error


def _unchanged(batch: object) -> object:
    return batch


def pinned(batch: Batch) -> Batch:
    """In memory that a GPU can read by itself, where there is one."""
    if not torch.cuda.is_available():
        return batch
    found: Batch = pytree.tree_map_only(Tensor, Tensor.pin_memory, batch)
    return found


def step_size(split: Split) -> int:
    """Samples of one training step, over all processes."""
    return min(split.config.batch_size, len(split))


def steps(split: Split) -> int:
    """Training batches of one epoch."""
    return max(1, len(split) // split.config.batch_size)


def calibration(data: Data, count: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs ``[count, ...]`` of training samples, not augmented; the same for a seed, every class fairly."""
    return data.train.batch(pick(data.train, count, data.seed + seed), None)[0]


def at_once(data: Data, most: int) -> tuple[Tensor, ...]:
    """Calibration inputs that are walked through a network all together, so in memory: fewer where they are large."""
    return calibration(data, min(most, fit_in_memory(data.train.batch([0], None)[0])))


def fit_in_memory(sample: tuple[Tensor, ...]) -> int:
    """How many inputs like this one may be walked through a network together."""
    return max(LEAST, LARGEST // sum(x.numel() for x in sample))


def samples(data: Data, count: int) -> Batch:
    """Inputs and target of test samples that travel with a bundle, in the test split's proportions."""
    return data.test.batch(pick(data.test, count, data.seed), None)


def pick(split: Split, count: int, seed: int) -> list[int]:
    """``count`` indices (or all), evenly spaced through a shuffled list that is sorted by class."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(mix(seed, count)))
    if split.labels is not None:
        order = order[split.labels[order].argsort(stable=True)]
    count = min(count, len(split))
    spaced = (torch.arange(count, dtype=torch.float64) + 0.5) * len(split) / count
    return [int(index) for index in order[spaced.long()]]
