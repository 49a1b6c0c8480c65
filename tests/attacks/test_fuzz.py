"""Every reader that is fuzzed, for seconds and from a seed: the corpus of what was found, and inputs made from it.

The long part is `python -m studies.fuzz`: a million inputs for each, led by the code that they reach.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from studies.fuzz.mutations import changed_bytes
from studies.fuzz.surfaces import REFUSALS, SURFACES

CORPUS: dict[str, list[str]] = json.loads(Path(__file__).with_name("corpus.json").read_text())
"""Of each reader the inputs that once ended in an error of another kind, smallest first; a byte is a character."""
EXAMPLES = 40
each = pytest.mark.parametrize("name", SURFACES)


def fed(name: str, data: bytes, folder: Path) -> bool:
    """Whether it was refused; any error but ours is a failure of the test."""
    try:
        SURFACES[name].read(data, folder)
    except REFUSALS:
        return True
    return False


@each
def test_what_was_found_once_is_refused_or_read(name: str, tmp_path: Path) -> None:
    for text in CORPUS[name]:
        fed(name, text.encode("latin-1"), tmp_path)


@each
def test_what_is_made_from_sound_inputs_is_refused_or_read(name: str, tmp_path: Path) -> None:
    seeds = SURFACES[name].seeds()
    assert any(not fed(name, seed, tmp_path) for seed in seeds)

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(seeds), st.integers(0, 2**32))
    def feed(data: bytes, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(dice.randint(1, 3)):
            data = SURFACES[name].changed(data, dice) or changed_bytes(data, dice)
        fed(name, data, tmp_path)

    feed()
