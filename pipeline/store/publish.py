"""What a person finds in the run's folder: copies of artifacts, each there whole or not at all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from jetpress.pipeline.store.artifact import DESCRIPTION, Artifact
from jetpress.pipeline.store.needs import FILE
from jetpress.pipeline.store.store import Store, sync_tree

UNFINISHED = re.compile(rf"\.(?!{re.escape(FILE)}).+\.(?:draft|old|\d+|\d+\.tmp)")
"""What a killed process leaves beside what it was about to replace. Needs are written under another lock: see gc."""


def publish(store: Store, artifact: Artifact[object], place: Path) -> None:
    """Copy an artifact to ``place``, for the user to move or change; the store keeps the original.

    The run's folder is locked by the caller. A copy of the same artifact that is there already is left alone.

    Raises:
        Damaged: the original is, and was removed.
    """
    mark = place / DESCRIPTION
    if mark.is_file() and mark.read_bytes() == (artifact.path / DESCRIPTION).read_bytes():
        return
    store.verify(artifact)
    draft, old = (place.with_name(f".{place.name}.{end}") for end in ("draft", "old"))
    shutil.copytree(artifact.path, draft)
    sync_tree(draft)
    if place.exists():
        place.rename(old)
    draft.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove what a killed process left in a run's folder, which the caller has locked."""
    for path in folder.glob(".*"):
        if UNFINISHED.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
