"""apex's ASP and NVIDIA's ModelOpt, as they are, for :mod:`studies.sparsity`.

ASP (``apex/contrib/sparsity``) is read from a checkout, because apex builds only with CUDA. Its search is its own
code; the one CUDA kernel that it calls is stood in for by ``asp_map.c``, which computes the same on a CPU (its own
NumPy path is a thousand times slower). ModelOpt is called as its guide says.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

READS = ("asp_map.c",)
LANES = 16
"""Rows that the kernel takes at once."""


def asp(apex: Path, folder: Path) -> ModuleType:
    """Its search, with the kernel compiled into ``folder``.

    Raises:
        OSError: there is no C compiler.
    """
    os.environ.setdefault("APEX_ASP_CACHE_DIR", str(folder))
    place = str(apex / "apex" / "contrib" / "sparsity")
    if place not in sys.path:
        sys.path.insert(0, place)
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module("permutation_search_kernels.exhaustive_search")
    kernel = Kernel(folder)
    vars(module).update(time=time, use_gpu=lambda: True, permutation_search_cuda_kernels=kernel)
    return module


# Sums may be reordered. Not -ffast-math: a library linked with it switches off denormal numbers in the whole process.
REORDERED = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")


class Kernel:
    """Stands where ASP looks for its CUDA kernels."""

    def __init__(self, folder: Path) -> None:
        made = folder / "asp_map.so"
        source = Path(__file__).with_name("asp_map.c")
        command: list[str | Path] = [
            "cc",
            "-O3",
            "-march=native",
            *REORDERED,
            "-shared",
            "-fPIC",
            "-o",
            made,
            source,
        ]
        subprocess.run(command, check=True)
        self.compiled = ctypes.CDLL(str(made)).build_permute_map

    def build_permute_map(
        self, matrix: Any, rows: int, cols: int, stripes: Any, groups: int, _window: int,
        permutations: Any, _width: int, gain: Any, best: Any,
    ) -> None:  # fmt: skip
        """ASP's signature; ``gain`` and ``best`` are written."""
        columns = np.zeros((cols, -(-rows // LANES) * LANES), np.float32)
        columns[:, :rows] = np.abs(matrix.reshape(rows, cols).T)
        arrays = [np.ascontiguousarray(one) for one in (columns, stripes, permutations)]
        data, pairs, splits, gains, choices = (one.ctypes for one in (*arrays, gain, best))
        count = ctypes.c_int64
        self.compiled(data, count(columns.shape[1]), pairs, count(groups), splits, gains, choices)


def asp_order(module: ModuleType, matrix: Tensor, escapes: int = 100) -> Tensor:
    """ASP's ``optimize_stripe_groups,8,<escapes>``: its default, on one matrix ``[rows, in]``."""
    np.random.seed(1)  # noqa: NPY002  (ASP draws from it)
    with contextlib.redirect_stdout(io.StringIO()):
        found = module.Exhaustive_Search(matrix.numpy().copy(), stripe_group_size=8, escape_attempts=escapes)
    return torch.as_tensor(np.asarray(found[2]), dtype=torch.int64)


def modelopt(module: nn.Module, mode: str, batches: Sequence[tuple[Tensor, ...]]) -> nn.Module:
    """``module`` after ModelOpt's ``sparse_magnitude`` or ``sparsegpt``, exported."""
    import modelopt.torch.sparsity as mts

    def images() -> Iterator[Tensor]:
        return (batch[0] for batch in batches)

    config = {"data_loader": list(images()), "collect_func": lambda x: x} if mode == "sparsegpt" else None
    with contextlib.redirect_stdout(io.StringIO()):
        made: nn.Module = mts.export(mts.sparsify(module, mode, config))
    return made
