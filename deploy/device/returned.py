"""Arrays that a device sent back: numbers in files of its making, read as a claim and not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetpress.deploy.device.events import Infer
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.runner.interface.tensors import plain_array

AGAIN = "run it again; if it stays so, see what writes into the runner's folder there"


def outputs(folder: Path, event: Infer) -> dict[str, NDArray[Any]]:
    """What the device says that a model gave, by the names of its outputs.

    Raises:
        DeviceError: a file is no plain array of numbers.
    """
    found = dict[str, NDArray[Any]]()
    for one in event.outputs:
        try:
            found[one.name] = plain_array(str(folder / one.file))
        except ValueError as error:
            raise DeviceError(
                f"the device's output {one.name!r} of {event.model}: {error!s:.200}", AGAIN
            ) from None
    return found


def refuse_other(name: str, got: NDArray[Any], wanted: NDArray[Any] | None) -> None:
    """Refuse an output that the ONNX file does not give, or gives in another shape.

    Raises:
        DeviceError: both shapes.
    """
    if wanted is None or np.shape(wanted) != got.shape:
        has = "none" if wanted is None else f"one of shape {list(np.shape(wanted))}"
        raise DeviceError(
            f"the device sent an output {name!r} of shape {list(got.shape)}, and the ONNX file gives {has}",
            AGAIN,
        )
