"""apex's ASP and NVIDIA's ModelOpt, as they are, for :mod:`benchmarks.sparsity`.

ASP (``apex/contrib/sparsity``) is read from a checkout, because apex builds only with CUDA. Two things about it
are changed, neither of which changes what it finds: the name ``time`` is given to it (its CPU path lost the
import), and the 35 ways to part eight columns, which it tries in nested Python loops, are tried by NumPy.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def asp(apex: Path, *, as_it_is: bool = False) -> ModuleType:
    """Its search; ``as_it_is``: with its own loops."""
    os.environ.setdefault("APEX_ASP_CACHE_DIR", tempfile.mkdtemp())
    folder = str(apex / "apex" / "contrib" / "sparsity")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        module = importlib.import_module("permutation_search_kernels.exhaustive_search")
        module.time = time  # type: ignore[attr-defined]
        module.use_gpu(initial_override=False)
        own = module.__dict__.setdefault("own_search_matrix", module.search_matrix)
        module.search_matrix = own if as_it_is else lambda matrix, width: _search(module, matrix, width)  # type: ignore[attr-defined]
    return module


def _search(module: ModuleType, matrix: Any, width: int) -> tuple[Any, float, Any, float]:
    """ASP's ``search_matrix`` for eight columns, its loop over permutations and rows as one array."""
    permutations = np.asarray(module.generate_all_unique_combinations(matrix.shape[1], width))
    values = np.abs(matrix)[:, permutations].reshape(len(matrix), len(permutations), -1, 4)
    a, b, c, d = np.moveaxis(values, -1, 0)
    low, high, more, most = np.minimum(a, b), np.maximum(a, b), np.minimum(c, d), np.maximum(c, d)
    first = np.maximum(high, most)
    second = np.maximum(np.minimum(high, most), np.where(high > most, low, more))
    kept = (first + second).sum((0, 2), dtype=np.float64)
    best = int(kept.argmax()) if kept.max() > kept[0] else 0
    return matrix[:, permutations[best]], 0.0, permutations[best], float(kept[best] - kept[0])


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
