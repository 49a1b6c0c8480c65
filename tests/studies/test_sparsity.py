"""The peers' stand-ins compute what they say; on a GPU, cuSPARSELt takes our masks."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from jetpress.pipeline.sparse import masks
from studies import sparsity_gpu as gpu
from studies.peers.sparsity import Kernel


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_stand_in_for_the_kernel_of_asp(tmp_path: Path) -> None:
    """Every pair of stripes, every way to part its eight columns."""
    matrix = torch.randn(37, 16, generator=torch.Generator().manual_seed(0)).abs()
    halves = [(0, *rest) for rest in combinations(range(1, 8), 3)]
    splits = np.array([[*h, *sorted(set(range(8)) - set(h))] for h in halves], np.uint32)
    pairs = np.array(list(combinations(range(4), 2)), np.uint32)
    gain, best = np.zeros(len(pairs), np.float32), np.zeros(len(pairs), np.uint32)
    kernel = Kernel(tmp_path)
    kernel.build_permute_map(
        matrix.numpy().ravel(), 37, 16, pairs.ravel(), len(pairs), 2, splits.ravel(), 8, gain, best
    )
    for pair, found, chosen in zip(pairs, gain, best, strict=True):
        eight = torch.cat([matrix[:, 4 * s : 4 * s + 4] for s in pair.tolist()], 1)
        kept = [masks.magnitude(eight[:, split.astype(np.int64)]) for split in splits]
        assert int(chosen) == int(np.argmax(kept))
        assert found == pytest.approx(max(kept) - kept[0], abs=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not gpu.can_run(), reason="needs a GPU of compute capability 8.0 or newer")
def test_cusparselt_takes_our_masks() -> None:
    dense, sparse, error = gpu.product(256, 512, 1024)
    assert dense > 0
    assert sparse > 0
    assert error < 1e-2
