"""What earlier builds on this board left behind: TensorRT's timings of kernels, and how long a build took.

One folder below `~/.jetpress/timings` for each TensorRT on each GPU, shared by all bundles: a later build of other
networks times only what is new in it.
"""

import os
from typing import Dict, Optional, Tuple

from ..system.events import tell
from ..system.failures import RunnerError
from ..system.files import digest, make_folder, read_json, safe_name, write_json

FOLDER = os.path.join("~", ".jetpress", "timings")
CACHE, NOTE = "timing.cache", "timings.json"


class Timings:
    """The cache of one TensorRT on one GPU."""

    def __init__(self, file: str, sha256: Optional[str], seconds: Optional[float]) -> None:
        self.file = file
        self.sha256 = sha256  # of the file as we wrote it; None where there is none yet
        self.seconds = seconds  # of the last build


def known(identity: Tuple[object, ...]) -> Optional[Timings]:
    """The cache of this TensorRT on this GPU; None where nothing can be kept."""
    name = "-".join(str(part) for part in identity)
    try:
        folder = make_folder(os.path.join(os.path.expanduser(FOLDER), safe_name(name)))
        path = os.path.join(folder, NOTE)
        note = read_json(path) if os.path.isfile(path) else {}
    except RunnerError as error:
        tell("timings of kernels are not kept: %s" % error.what)
        return None
    note = note if isinstance(note, dict) else {}
    sha256, seconds = note.get("sha256"), note.get("seconds")
    return Timings(
        os.path.join(folder, CACHE),
        sha256 if isinstance(sha256, str) else None,
        seconds if isinstance(seconds, float) else None,
    )


def keep(timings: Timings, seconds: object) -> None:
    """The digest of what was just written, and the time that the build took."""
    note = {"sha256": timings.sha256, "seconds": seconds}
    try:
        write_json(os.path.join(os.path.dirname(timings.file), NOTE), note)
    except RunnerError as error:
        tell("timings of kernels are not kept: %s" % error.what)


def record(timings: Timings) -> Optional[Dict[str, object]]:
    """For the stamp: which cache was used. A cache that another build changed since has another digest."""
    if not timings.sha256 or not os.path.isfile(timings.file):
        return None
    return {"file": timings.file, "sha256": digest(timings.file)[0]}
