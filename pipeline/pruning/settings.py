"""What is judged before channels are removed. No torch here: a cached run looks it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pipeline.sections import PruneConfig


@dataclass(frozen=True)
class SensitivityConfig:
    """What the sensitivity of a network is measured by; how much is to go is no part of it."""

    criterion: str = "l2"
    curves: bool = True
    """Also what each group and block loses at several widths, by the outputs on ``images``."""
    multiple: int = 1
    ignore: tuple[str, ...] = ()
    blocks: bool = True
    images: int = 128

    @classmethod
    def of(cls, config: PruneConfig) -> Self:
        """What a round of pruning needs: curves for ``measured`` only."""
        if config.scope != "measured":
            return cls(config.criterion, curves=False)
        return cls(
            config.criterion,
            True,
            config.channel_multiple or 1,
            config.ignore,
            config.blocks,
            config.sensitivity_images,
        )
