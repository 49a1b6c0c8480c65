"""Building and trying an engine in processes of their own: whatever it does there, this one is told why and goes on."""

import os
import signal
from typing import Optional

from ..system import processes

HEALTH_S = 25.0
OOM_SCORE = "/proc/self/oom_score_adj"
FIRST_TO_DIE = "1000"  # where memory runs out the kernel takes the trial, and not what serves


def build(folder: str) -> Optional[str]:
    """Build the engine of a slot; why that failed."""
    words = ["build", "--bundle", folder, "--out", os.path.join(folder, "engines"), "--only-chosen"]
    return reason(processes.attempt(words, shows=True), "the build")


def health(folder: str) -> Optional[str]:
    """Try the engine of a slot; why it is not what was promised."""
    words = ["health", "--bundle", folder, "--engines", os.path.join(folder, "engines")]
    return reason(processes.attempt(words, HEALTH_S, shows=True), "the engine")


def reason(ended: processes.Ended, who: str) -> Optional[str]:
    """Why it ended as it did; None where all is well."""
    said = str(ended.told.get("what") or "") if ended.told.get("event") in ("error", "skipped") else ""
    if ended.is_late:
        return "hang: %s gave no answer in %d s" % (who, HEALTH_S)
    if ended.status == -signal.SIGKILL:
        return "out of memory: %s was killed by the system" % who
    if ended.status < 0:
        return "crash: %s ended with signal %d (%s)" % (
            who,
            -ended.status,
            signal.Signals(-ended.status).name,
        )
    if ended.status == 0:
        return None
    if "out of memory" in said.lower() or "outofmemory" in said.lower().replace(" ", ""):
        return "out of memory: %s: %s" % (who, said)
    return said or "crash: %s ended with %d, and did not say why" % (who, ended.status)


def prefer_to_die() -> None:
    """For a trial: be the one that the kernel kills where memory runs out."""
    try:
        with open(OOM_SCORE, "w") as score:
            score.write(FIRST_TO_DIE)
    except OSError:
        pass  # no Linux, or a container that forbids it
