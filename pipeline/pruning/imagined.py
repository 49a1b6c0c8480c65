"""Where no images are given: noise, through the statistics of BatchNorm, which knows what activations were like.

Noise goes through the network while every BatchNorm takes its statistics from that noise. So what leaves it has the
mean and the variance of each channel that it has on real images, and on such activations channels can be judged, and
the weights that stay take over. Afterwards BatchNorm gets back the statistics of real images, moved by the constants
that the fit put there.

BatchNorm in the place of data: Nagel et al. (2019, "Data-free quantization through weight equalization and bias
correction"). The amplitudes of natural images fall as one over the frequency: Field (1987, "Relations between the
statistics of natural images and the response properties of cortical cells").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetpress.pipeline.network.channels.modes import batched, evaluating
from jetpress.pipeline.training.norms import measured_anew, statistics

PIXELS, FEWEST, MOST = 2**20, 8, 256
"""So many pixels in all, in at least and at most so many images."""
SMALLEST, LARGEST = 2, 16
"""Images in a batch, as many as have so many pixels."""
COMMON = 0.9
"""Correlation of an image's channels: natural colours are mostly grey."""


@dataclass(frozen=True)
class Imagined:
    """Noise, and what BatchNorm has to get back."""

    batches: tuple[tuple[Tensor, ...], ...]
    real: Mapping[str, Tensor]
    """Buffers that the noise changed -> what they held."""
    seen: Mapping[str, Tensor]
    """What they hold with it."""
    means: Collection[str]
    """Those of them that a constant can be in."""

    @property
    def samples(self) -> tuple[Tensor, ...]:
        """All batches as one."""
        return tuple(torch.cat(parts) for parts in zip(*self.batches, strict=True))

    def end(self, module: nn.Module, kept: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Give what became of the network the statistics of real images, in place.

        Args:
            module: may lack channels and blocks.
            kept: name of a buffer -> axis -> the positions that are left of it.
        """
        for name, buffer in module.named_buffers():
            if name in self.real:
                left = kept.get(name, {}).get(0, slice(None))
                constant = buffer - self.seen[name][left] if name in self.means else 0
                buffer.copy_(self.real[name][left] + constant if buffer.ndim else self.real[name])


def imagined(module: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> Imagined | None:
    """Give the BatchNorms of ``module`` the statistics of noise, in place.

    Args:
        module: on the CPU.
        inputs: of the shapes that it takes, ``[batch, ...]``.
        seed: of the noise.

    Returns:
        None where that tells nothing, and nothing is changed: no BatchNorm, none that ever saw data, inputs that are no
        real numbers or have no batch in common, other batches than theirs not taken, statistics that are not finite.
    """
    if not can_be_imagined(module, inputs):
        return None
    before = {name: one.clone() for name, one in module.named_buffers()}
    batches = _noise(inputs, seed)
    is_whole = _measured(module, batches)
    held = dict(module.named_buffers())
    seen = {name: one.clone() for name, one in held.items() if not torch.equal(one, before[name])}
    real = {name: before[name] for name in seen}
    if is_whole and all(one.isfinite().all() for one in seen.values()):
        return Imagined(batches, real, seen, {mean for mean, _ in statistics(module)})
    for name, value in real.items():
        held[name].copy_(value)
    return None


def can_be_imagined(module: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Whether a BatchNorm has seen data, and the inputs are real numbers with a batch in common."""
    held = dict(module.named_buffers())
    names = [names for names in statistics(module) if set(names) <= held.keys()]
    learnt = any(_learnt(held[mean], held[variance]) for mean, variance in names)
    return learnt and batched(inputs) and all(one.is_floating_point() for one in inputs)


def _measured(module: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> bool:
    """Whether the network takes them all."""
    try:
        with evaluating(module), torch.no_grad(), measured_anew(module) as begin:
            for number, batch in enumerate(batches):
                begin(number)
                module(*batch)
    except Exception:  # noqa: BLE001  (the user's code may raise anything)
        return False
    return True


def _learnt(mean: Tensor, variance: Tensor) -> bool:
    return not (
        torch.equal(mean, torch.zeros_like(mean)) and torch.equal(variance, torch.ones_like(variance))
    )


def _noise(inputs: tuple[Tensor, ...], seed: int) -> tuple[tuple[Tensor, ...], ...]:
    """Batches like ``inputs``; images ``[n, channels, height, width]`` with the spectrum of natural ones."""
    generator = torch.Generator().manual_seed(seed)
    area = max(one[0, 0].numel() if one.ndim > 2 else 1 for one in inputs)
    count, size = (min(max(PIXELS // area, low), high) for low, high in ((FEWEST, MOST), (SMALLEST, LARGEST)))
    shown = []
    for one in inputs:
        make = _images if one.ndim == 4 else torch.randn
        noise = make((count, *one.shape[1:]), generator=generator)
        shown.append(noise.to(one.dtype).split(size))
    return tuple(zip(*shown, strict=True))


def _images(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Of mean 0 and variance 1."""
    _, channels, height, width = shape
    white = torch.randn(shape, generator=generator)
    rows, columns = torch.fft.fftfreq(height, 1 / height), torch.fft.rfftfreq(width, 1 / width)
    frequency = (rows[:, None].square() + columns.square()).sqrt().clamp(min=1)
    pink = torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(height, width))
    colours = torch.full((channels, channels), COMMON).fill_diagonal_(1.0)
    mixed = torch.einsum("nchw,dc->ndhw", pink, torch.linalg.cholesky(colours))
    return mixed / mixed.std()
