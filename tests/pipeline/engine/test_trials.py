from __future__ import annotations

import pytest

from jetpress.deploy.device.events import Profile
from jetpress.deploy.errors import StageError
from jetpress.pipeline.engine.trials import side_by_side


def profile(name: str, *rounds: float) -> Profile:
    return Profile(name, 1.0, rounds, {"conv": 1.0})


def test_rounds_that_belong_together_are_as_many() -> None:
    even = {"dense": profile("dense", 1.0, 1.1), "pruned": profile("pruned", 0.5, 0.6)}
    assert side_by_side(even) is even
    with pytest.raises(StageError, match="dense 2, pruned 1") as caught:
        side_by_side({**even, "pruned": profile("pruned", 0.5)})
    assert "doctor" in caught.value.hint
