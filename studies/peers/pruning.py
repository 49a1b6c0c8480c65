"""The peers of channel pruning, called as their documentation shows, on a network of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from jetpress.pipeline.pruning.curves import SHARES

BATCHES = 4
"""That FastNAS recalibrates BatchNorm on before it judges a network; of MobileNetV2 it judges 69."""


def macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(*inputs)
    return int(counter.get_total_flops()) // 2


def torch_pruning(
    module: nn.Module, inputs: tuple[Tensor, ...], share: float, multiple: int, ignore: Sequence[str] = ()
) -> nn.Module:
    """Global group norm (DepGraph), in small steps until ``share`` of the MACs is gone.

    ``ignore``: shell patterns of modules that it cannot prune: it fails on shortcuts that pad with zeros.
    """
    import torch_pruning as tp

    ignored = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    ignored += [part for name, part in module.named_modules() if any(fnmatchcase(name, i) for i in ignore)]
    dense = macs(module, inputs)
    pruner = tp.pruner.MagnitudePruner(
        module,
        inputs[0],
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=0.95,
        iterative_steps=200,
        round_to=multiple,
        ignored_layers=ignored,
    )
    for _ in range(200):
        if macs(module, inputs) <= (1 - share) * dense:
            break
        pruner.step()
    return module


def fastnas(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    share: float,
    batches: Iterable[Any],
    score: Callable[[nn.Module], float],
    folder: Path,
    divisor: int,
) -> nn.Module:
    """ModelOpt FastNAS: a search over widths, scored on the validation split."""
    import modelopt.torch.prune as mtp

    found, _ = mtp.prune(
        model=module,
        mode=[("fastnas", _divided(mtp, divisor))],
        constraints={"flops": f"{100 * (1 - share):.0f}%"},
        dummy_input=inputs[0],
        config={
            "data_loader": batches,
            "score_func": score,
            "collect_func": lambda batch: batch[0][0],
            "checkpoint": str(folder / "fastnas.pth"),
            "max_iter_data_loader": BATCHES,
        },
    )
    exported: nn.Module = found
    return exported


def _divided(mtp: Any, divisor: int) -> dict[str, Any]:
    """Widths in multiples that fill the hardware, at the shares that our own sensitivity is measured at.

    A convolution shares its widths with the BatchNorm after it: both rules have a divisor, and the larger rules.
    """
    config: dict[str, Any] = mtp.fastnas.FastNASConfig().model_dump()
    rules = [rule for each in config.values() for rule in (each or {}).values() if isinstance(rule, dict)]
    for rule in rules:
        for kind in ("channel", "feature"):
            if f"{kind}_divisor" in rule:
                rule[f"{kind}_divisor"] = divisor
                rule[f"{kind}s_ratio"] = (*(1 - share for share in reversed(SHARES)), 1.0)
    return config
