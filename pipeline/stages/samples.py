"""Stage: inputs for a file that was given: ranges are found on them, and the file is held against itself with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jetpress.deploy import console
from jetpress.deploy.runner.system.files import safe_name
from jetpress.pipeline.data import feeds
from jetpress.pipeline.recipe.given import Calibration
from jetpress.pipeline.store.artifact import OnnxModel, Samples
from jetpress.pipeline.store.facts.onnx_file import SamplesFacts


def samples(config: Calibration, given: OnnxModel, draft: Path) -> Samples:
    """Write ``<input>.npy``, ``[samples, *shape]``, for each input.

    Raises:
        RecipeError: what was given is nothing that the file takes.
    """
    found = feeds.samples(config, given.facts.inputs)
    for one in given.facts.inputs:
        array = np.stack([feed[one.name] for feed in found])
        np.save(draft / f"{safe_name(one.name)}.npy", array, allow_pickle=False)
    if not config.source:
        return Samples(
            draft, SamplesFacts(len(found), False, "noise from 0 to 1: --calibrate gives real inputs")
        )
    images = Path(config.source).is_dir()
    said = f"{len(found)} of {Path(config.source).name}" + (f": {config.pixels}" if images else "")
    if images:
        console.say(f"    images: {config.pixels} (--colour, --fit, --scale, --mean, --std say otherwise)")
    return Samples(draft, SamplesFacts(len(found), True, said))
