"""2:4 on a GPU without TensorRT: does cuSPARSELt take our pattern, does it compute the same, how fast is it."""

from __future__ import annotations

from statistics import median

import torch
from torch import Tensor

from jetpress.pipeline.sparse.masks import best_mask
from studies.table import row, title

SHAPES = ((1024, 1024, 4096), (4096, 1024, 4096), (4096, 4096, 4096), (1024, 2048, 64))
"""Outputs, inputs, samples: a matrix product as a wide layer has it."""
RUNS = 50


def can_run() -> bool:
    """Whether there is a GPU that has sparse tensor cores."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def compare() -> None:
    """Dense and 2:4 products in FP16, in turns on one GPU."""
    if not can_run():
        print("without a GPU of compute capability 8.0 or newer: left out")
        return
    print(torch.cuda.get_device_name())
    title("outputs x inputs x samples", "dense us", "2:4 us", "times as fast", "relative error")
    for outputs, inputs, samples in SHAPES:
        dense, sparse, off = product(outputs, inputs, samples)
        shape = f"{outputs} x {inputs} x {samples}"
        row(shape, dense, sparse, dense / sparse, f"{off:.1e}")


def product(outputs: int, inputs: int, samples: int) -> tuple[float, float, float]:
    """Median microseconds of the dense and of the 2:4 product, and how far the two are apart."""
    weight = torch.randn(outputs, inputs, device="cuda", dtype=torch.float16) / inputs**0.5
    masked = weight.masked_fill(~best_mask(weight), 0)
    packed = torch.sparse.to_sparse_semi_structured(masked)
    x = torch.randn(inputs, samples, device="cuda", dtype=torch.float16)
    off = float(((packed @ x) - (masked @ x)).norm() / (masked @ x).norm())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for one, series in zip((masked, packed), times, strict=True):
            series.append(_microseconds(one, x))
    return median(times[0]), median(times[1]), off


def _microseconds(weight: Tensor, x: Tensor) -> float:
    """Of ten products one after the other, by the GPU's own clock."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(10):
        _ = weight @ x
    stop.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(stop)) * 100
