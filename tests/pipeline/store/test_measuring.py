"""Which stages have a device for themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jetpress.pipeline.recipe.configs import Place, Timing
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.measuring import asking, exclusive
from jetpress.pipeline.store.store import Store

HERE, BOARD = Place(None, {}), Place("me@board", {})


@pytest.mark.parametrize(
    ("config", "locks", "alone"),
    [
        (TrainConfig(), 0, 0),
        (HERE, 0, 0),
        (Timing(HERE, BenchmarkConfig()), 1, 1),
        (BOARD, 1, 0),
        (Timing(BOARD, BenchmarkConfig()), 1, 0),
    ],
)
def test_times_of_this_machine_are_taken_alone_and_a_board_is_used_by_one(
    config: object, locks: int, alone: int
) -> None:
    entered = list[str]()

    @contextmanager
    def noted(*told: str) -> Iterator[None]:
        entered.append(told[0] if told else "alone")
        yield

    with asking(noted), exclusive(config, noted):
        assert len([one for one in entered if one.startswith("device-")]) == locks
        assert entered.count("alone") == alone


WAITS = """
import sys
from pathlib import Path
from jetpress.pipeline.store.store import Store
from jetpress.pipeline.store.measuring import exclusive
from jetpress.pipeline.recipe.configs import Place
print("begun", flush=True)
with exclusive(Place("me@board", {}), Store(Path(sys.argv[1])).locked):
    Path(sys.argv[1], "entered").touch()
"""


def test_another_process_waits_for_the_board(tmp_path: Path) -> None:
    with exclusive(BOARD, Store(tmp_path).locked):
        process = subprocess.Popen([sys.executable, "-c", WAITS, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.5)
        assert not (tmp_path / "entered").exists()
    assert process.wait(30) == 0
    process.stdout.close()
    assert (tmp_path / "entered").exists()
