"""Work on a GPU in steps that may be cut short: each is a process with a time of its own.

What ended well is in a file of results and is not done again; what failed is there with its last words.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetpress.deploy.runner.system.files import write_json

LEAST_S = 15.0
"""No step is begun with less."""


@dataclass(frozen=True)
class Step:
    """A process of its own, and the most seconds that it may take."""

    name: str
    seconds: float
    argv: tuple[str, ...]
    needed_by: tuple[str, ...] = ()
    """Steps for which it leaves files: with all of their results it need not be done again."""

    def is_done(self, known: dict[str, Any]) -> bool:
        """Whether its result is there, and what it leaves is not needed."""
        return all("result" in known.get(name, {}) for name in self.needed_by or (self.name,))


def done(
    path: Path, plan: Callable[[dict[str, Any]], Iterable[Step]], limit: float, earlier: Path | None
) -> None:
    """All steps that are not done yet, as far as the time goes.

    Args:
        path: of the results.
        plan: what is known, which grows -> the steps, in the order of worth.
        limit: seconds.
        earlier: results of a call elsewhere.
    """
    began = time.monotonic()
    known: dict[str, Any] = next(
        (json.loads(one.read_text()) for one in (path, earlier) if one and one.exists()), {}
    )
    known.pop("environment", None)  # it may be another machine
    write_json(str(path), known)
    for step in plan(known):
        left = limit - (time.monotonic() - began)
        if step.is_done(known):
            print(f"{step.name}: known", flush=True)
        elif left < LEAST_S:
            print(f"{step.name}: no time left", flush=True)
        else:
            started = time.monotonic()
            known[step.name] = {
                **_ended(step, min(step.seconds, left)),
                "seconds": round(time.monotonic() - started, 1),
            }
            write_json(str(path), known)
            said = known[step.name].get("error", "")
            print(f"{step.name}: {known[step.name]['seconds']} s {said[-200:]}", flush=True)


def _ended(step: Step, seconds: float) -> dict[str, Any]:
    """What the process printed last, as JSON; or why it did not. Nothing that it began outlives its time."""
    pipe = subprocess.PIPE
    with subprocess.Popen(step.argv, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as child:
        try:
            said, told = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            told = child.communicate()[1]
            return {"error": f"not done in {seconds:.0f} s {told[-500:]}".strip()}
    if child.returncode:
        return {"error": told.strip()[-2000:]}
    try:
        return {"result": json.loads(said.strip().splitlines()[-1])}
    except (IndexError, ValueError):
        return {"error": f"it printed no JSON: {said[-500:]}"}
