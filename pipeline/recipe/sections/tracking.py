"""Where the figures of a training go as it runs: ``[tracking]``."""

from __future__ import annotations

from dataclasses import dataclass

from jetpress.pipeline.recipe.sections.fields import Section


@dataclass(frozen=True)
class TrackingConfig(Section):
    """Where the figures of every training go while it runs, beside its own ``metrics.jsonl``. They have no part in
    the result: a change of these keys trains nothing anew."""

    tensorboard: str | None = None
    """Folder for TensorBoard's event files, relative to the recipe; each training writes into one of its own below
    it. Needs the extra ``tensorboard``."""
    mlflow: str | None = None
    """Address of an MLflow tracking server (``http://...``, ``sqlite:///...``); each training becomes a run of the
    experiment ``jetpress``. Needs the extra ``mlflow``."""
