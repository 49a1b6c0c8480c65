from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("part", [0, 3, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2))])
def test_killed_at_changes_of_the_disk_and_started_again(part: int) -> None:
    command = [sys.executable, "-m", "tests.pipeline.store.kill_everywhere", str(part), "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.splitlines()[-1]) > 100
