"""What earlier builds on this board left behind: TensorRT's timings of kernels, and how long a build took.

One folder below `~/.jetpress/timings` for each TensorRT on each GPU, shared by all bundles: a later build of other
networks times only what is new in it.
"""

import os
from typing import Any, Dict, Optional

from .events import tell
from .failures import RunnerError
from .files import digest, make_folder, read_json, safe_name, write_json

FOLDER = os.path.join("~", ".jetpress", "timings")
CACHE, NOTE = "timing.cache", "timings.json"


def known(identity: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Where the cache of this TensorRT on this GPU is, its digest, and the seconds of the last build.

    `sha256` is None where there is none yet; the whole is None where nothing can be kept.
    """
    name = "-".join(str(identity[key]) for key in ("backend", "version", "device", "compute_capability"))
    try:
        folder = make_folder(os.path.join(os.path.expanduser(FOLDER), safe_name(name)))
        path = os.path.join(folder, NOTE)
        note = read_json(path) if os.path.isfile(path) else {}
    except RunnerError as error:
        tell("timings of kernels are not kept: %s" % error.what)
        return None
    note = note if isinstance(note, dict) else {}
    return {"file": os.path.join(folder, CACHE), "sha256": note.get("sha256"), "seconds": note.get("seconds")}


def keep(place: Dict[str, Any], seconds: float) -> None:
    """The digest of what was just written, and the time that the build took."""
    note = {"sha256": place["sha256"], "seconds": seconds}
    try:
        write_json(os.path.join(os.path.dirname(place["file"]), NOTE), note)
    except RunnerError as error:
        tell("timings of kernels are not kept: %s" % error.what)


def record(place: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """For the stamp: which cache was used. A cache that another build changed since has another digest."""
    if not place or not place["sha256"] or not os.path.isfile(place["file"]):
        return None
    return {"file": place["file"], "sha256": digest(place["file"])[0]}
