"""What training asks of the machine it runs on: precision, TF32, determinism."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from jetpress.deploy.console import say
from jetpress.deploy.errors import StageError
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training.allocator import keep_memory
from jetpress.pipeline.training.evaluate import layout, to_device

DTYPES = {"float32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""``train.precision`` -> of autocast; None: without."""
WORTH_IT = 1.15
"""How many times as fast bf16 must be on a CPU to be taken."""


@contextmanager
def prepared(settings: TrainConfig, place: torch.device) -> Iterator[None]:
    """Torch's switches as ``settings`` ask for; as they were before, afterwards.

    Raises:
        StageError: ``train.deterministic`` is set, and an operator has no deterministic form.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if place.type == "cpu":
        keep_memory()
    elif settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    try:
        with _float32_as("ieee" if settings.precision == "float32" else "tf32", place):
            yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise StageError(
            str(error).partition(". You can turn")[0],
            "set train.deterministic = false; see `jetpress docs determinism`",
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@contextmanager
def _float32_as(kind: str, place: torch.device) -> Iterator[None]:
    """How a GPU multiplies what is float32; nothing to choose on a CPU."""
    if place.type == "cpu":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    switches = [torch.backends.cuda.matmul, cudnn.conv]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = kind
    try:
        yield
    finally:
        for switch, old in zip(switches, before, strict=True):
            switch.fp32_precision = old


def precision(settings: TrainConfig, place: torch.device) -> str:
    """What is computed in: ``float32``, ``tf32``, ``bf16`` or ``fp16``; empty: that is to be measured."""
    if settings.precision != "auto":
        return settings.precision
    if place.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "float32" if settings.deterministic or not cpu_has_bf16() else ""


def faster(module: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """``float32`` or ``bf16``, whichever trains ``module`` faster on this CPU."""
    plain, short = seconds(module, inputs, (None, torch.bfloat16))
    say(f"    bf16 is {plain / short:.2f} times as fast as float32 on this CPU")
    return "bf16" if plain / short >= WORTH_IT else "float32"


def cpu_has_bf16() -> bool:
    """Whether oneDNN has instructions for it; elsewhere it is emulated, and slow."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  torch has no public name for it


def seconds(
    module: nn.Module, inputs: tuple[Tensor, ...], dtypes: Sequence[torch.dtype | None]
) -> list[float]:
    """For each of autocast's ``dtypes`` the fastest of three forward and backward passes of a copy of ``module``.

    They take turns, and CPU time is what counts: other work on the machine must not decide.
    """
    twin = copy.deepcopy(module).train()
    layout(twin, torch.channels_last)
    inputs = to_device(inputs, torch.device("cpu"))
    times: dict[torch.dtype | None, list[float]] = {dtype: [] for dtype in dtypes}
    state = torch.get_rng_state()  # dropout
    for _ in range(4):  # the first one prepares
        for dtype, taken in times.items():
            began = time.process_time()
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                outputs = twin(*inputs)
            tensors = [t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor) and t.requires_grad]
            torch.autograd.backward([t.float().mean() for t in tensors])
            taken.append(time.process_time() - began)
    torch.set_rng_state(state)
    return [min(taken[1:]) for taken in times.values()]
