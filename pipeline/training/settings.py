"""How a network is trained once more: what the recipe's table says, and the rest as in :class:`TrainConfig`."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

from jetpress.pipeline.recipe.sections import FinetuneConfig, QatConfig, TrainConfig


def settings(config: FinetuneConfig | QatConfig) -> TrainConfig:
    """Of the one training loop."""
    shared = {f.name for f in fields(TrainConfig)}
    given = {name: value for name, value in asdict(config).items() if name in shared and value is not None}
    default = TrainConfig()
    slower = 50 if isinstance(config, QatConfig) else 5
    return replace(default, **{"learning_rate": default.learning_rate / slower} | given)
