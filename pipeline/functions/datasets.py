"""Loaders, data sets and tensors in hand, as the splits that jetpress learns from and judges on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import length_hint
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.augment import seeded
from jetpress.pipeline.data.loading import Data
from jetpress.pipeline.data.splits import Samples
from jetpress.pipeline.recipe.sections.data import DataConfig

BATCH = 64
"""Samples of a training step where nothing says it."""
Source = DataLoader[Any] | Dataset[Any] | Iterable[Any] | tuple[Tensor, Tensor]
"""A loader, a map-style data set of ``(inputs, target)``, batches of them, or all inputs and all targets."""
Labels = Callable[[Any], Tensor]
"""Inputs of a batch -> the number of a class for each sample."""


@dataclass(frozen=True)
class Held:
    """Samples in memory, or those of a data set; ``targets`` where each is the number of a class."""

    samples: Any
    """With a length, by number: ``(inputs, target)``."""
    targets: Tensor | None
    batch_size: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Any:
        return self.samples[number]


def held(source: Source, seed: int = 0) -> Held:
    """Map-style samples of whatever was given.

    A loader that goes through a whole map-style data set with PyTorch's own collation is its data set: jetpress
    shuffles by itself, and what the data set augments stays alive. Everything else is iterated once, and kept.

    Raises:
        RecipeError: there is nothing in it, or no ``(inputs, target)``.
    """
    if isinstance(source, DataLoader):
        size, workers = source.batch_size or BATCH, source.num_workers
        whole = isinstance(source.sampler, SequentialSampler | RandomSampler)
        map_style = not isinstance(source.dataset, IterableDataset)
        if map_style and whole and source.collate_fn is default_collate and source.batch_size:
            return Held(source.dataset, _labels(source.dataset), size, workers)
        with seeded(seed):  # a shuffled loader gives the same order each time
            return _drained(source, size)
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        return Held(source, _labels(source), BATCH)
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(one, Tensor) for one in source):
        return _drained([source], BATCH)
    with seeded(seed):
        return _drained(source, None)


def labelled(source: Source, labels: Labels, seed: int) -> Source:
    """Inputs without targets, a tensor or batches, with what ``labels`` says of them; all else as it is."""
    if isinstance(source, Tensor):
        source = list(source.split(BATCH))
    if isinstance(source, tuple) and len(source) == 2:
        return source
    batches: Iterable[Any] = source  # type: ignore[assignment]
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        samples: Any = source
        if not len(samples) or not _alone(samples[0]):
            return source
        batches = DataLoader(source, BATCH)
    with seeded(seed):
        if not isinstance(batches, DataLoader):
            batches = source = list(batches)
        if not _alone(next(iter(batches), None)):
            return source
        with progress("labels by the teacher", length_hint(batches)) as line:
            found = []
            for batch in batches:
                inputs = batch[0] if isinstance(batch, tuple | list) else batch
                found.append((inputs, labels(inputs)))
                line.step()
    return found


def _alone(batch: object) -> bool:
    """Whether it is inputs without a target; a data set of tensors gives them in a list of one."""
    return isinstance(batch, Tensor) or (isinstance(batch, tuple | list) and len(batch) == 1)


def data_of(train: Source, validation: Source, config: DataConfig, seed: int) -> Data:
    """Two splits as jetpress's own loop takes them; there is no test split beside validation."""
    parts = held(train, seed), held(validation, seed)
    config = replace(config, batch_size=parts[0].batch_size, workers=parts[0].workers)
    splits = [Samples(config, seed, part.samples, torch.arange(len(part)), part.targets) for part in parts]
    names = tuple(map(str, getattr(parts[0].samples, "classes", ())))
    return Data(config, seed, splits[0], splits[1], splits[1], names)


def _drained(batches: Iterable[Any], size: int | None) -> Held:
    """Every sample of every batch."""
    samples = list[tuple[Any, Any]]()
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise RecipeError(
                f"a batch is a {type(batch).__name__}, not (inputs, target)",
                "give a loader whose batches are pairs; several inputs are a tuple or a mapping in the first",
            )
        count = len(pytree.tree_leaves(dict(batch[0]) if isinstance(batch[0], Mapping) else batch[0])[0])
        size = size or count
        samples += [tuple(_row(part, number, count) for part in batch) for number in range(count)]
    if not samples:
        raise RecipeError("the data has no samples", "give a loader that is not empty")
    targets = [target for _, target in samples]
    classes = all(isinstance(one, Tensor) and not one.ndim and not one.is_floating_point() for one in targets)
    return Held(samples, torch.stack(targets).long() if classes else None, size or BATCH)


def _row(part: Any, number: int, count: int) -> Any:
    """One sample's share of a batch."""
    if isinstance(part, Tensor):
        return part[number] if part.ndim and len(part) == count else part
    if isinstance(part, Mapping):
        return {key: _row(one, number, count) for key, one in part.items()}
    if isinstance(part, tuple | list):
        per_sample = len(part) == count and not all(isinstance(one, Tensor) for one in part)
        return part[number] if per_sample else type(part)(_row(one, number, count) for one in part)
    return part


def _labels(dataset: Any) -> Tensor | None:
    """Class numbers ``[n]`` where the data set has them at hand."""
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if isinstance(found, Sequence | Tensor) and len(found) == len(dataset):
            labels = torch.as_tensor(found)
            if labels.ndim == 1 and not labels.is_floating_point():
                return labels.long()
    tensors = getattr(dataset, "tensors", None)
    if isinstance(tensors, tuple) and tensors[-1].ndim == 1 and not tensors[-1].is_floating_point():
        labels = torch.as_tensor(tensors[-1])
        return labels.long()
    return None
