"""Inputs on which a file is held against the network: real images, and the edges of what can come.

The same inputs decide which layers FP16 can hold (:mod:`jetpress.pipeline.graph.fp16_layers`) and whether the file is
the same function (:mod:`jetpress.pipeline.stages.equivalence`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

IMAGES = "images"
Case = tuple[str, tuple[Tensor, ...]]
"""Name, and inputs ``[samples, ...]``."""


def cases(real: tuple[Tensor, ...], batch: int, edges: bool) -> Iterator[Case]:
    """Named inputs ``[up to batch, ...]``: the real images in order, then the edge cases."""
    for start in range(0, len(real[0]), batch):
        yield IMAGES, tuple(one[start : start + batch] for one in real)
    if not edges:
        return
    generator = torch.Generator().manual_seed(0)
    yield "zeros", tuple(torch.zeros_like(one[:1]) for one in real)
    yield "ones", tuple(torch.ones_like(one[:1]) for one in real)
    yield "lowest", tuple(torch.full_like(one[:1], one.min().item()) for one in real)
    yield "highest", tuple(torch.full_like(one[:1], one.max().item()) for one in real)
    yield "one-hot", tuple(_one_hot(one, batch, generator) for one in real)
    yield "noise", tuple(_noise(one, batch, generator) for one in real)


def filled(samples: Tensor, batch: int) -> Tensor:
    """The last batch filled up with its first sample where the file's batch is fixed."""
    missing = max(0, batch - len(samples))
    return torch.cat([samples, samples[:1].expand(missing, *samples.shape[1:])]).contiguous()


def _one_hot(real: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Zeros, and in each sample the highest value of the data at one random place."""
    samples = torch.zeros(batch, *real.shape[1:], dtype=real.dtype)
    flat = samples.view(batch, -1)
    flat[torch.arange(batch), torch.randint(flat.shape[1], (batch,), generator=generator)] = real.max()
    return samples


def _noise(real: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Uniform between the lowest and the highest value of the data."""
    share = torch.rand((batch, *real.shape[1:]), generator=generator)
    low, high = real.min().double(), real.max().double()
    return (low + share * (high - low)).to(real.dtype)
