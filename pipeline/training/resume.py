"""The inner checkpoint of training: a killed run loses one epoch at most. Safetensors and JSON, no pickle.

``state.json`` is renamed into place last and names the tensor files that belong to it: whenever the process
dies, what it names is whole. Nothing random is kept: every epoch seeds itself from (seed, epoch).
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jetpress.deploy.console import say
from jetpress.pipeline.store.facts.network import Epoch

STATE = "state.json"


@dataclass
class State:
    """How far training has come."""

    epoch: int = 0
    """Epochs that are done."""
    best_epoch: int = 0
    """0: the weights that training started from."""
    validation: float = -1.0
    """Points of the best epoch on the validation split."""
    curve: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    """Weights of the best epoch, on the CPU."""
    precision: str = ""
    """What is computed in, once that is decided."""


def copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor on the CPU in storage of its own."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def save(
    folder: Path,
    key: str,
    state: State,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    scaler: Mapping[str, object],
) -> None:
    """Put everything into ``folder``.

    Args:
        folder: of the inner checkpoint.
        key: says which training this is.
        state: how far it is.
        modules: all that have weights, by a name; ``weights`` is the network, ``average`` its average, if it has one.
        optimizer: of the training.
        scaler: state of the loss scaler.
    """
    folder.mkdir(parents=True, exist_ok=True)
    judged = "average" if "average" in modules else "weights"
    files = {kind: f"{kind}-{state.epoch}.safetensors" for kind in (*modules, "moments")}
    files["best"] = f"{judged}-{state.best_epoch}.safetensors"
    for kind, module in modules.items():
        _write(folder / files[kind], copy(module.state_dict()))
    _write(folder / files["moments"], copy(_moments(optimizer)))
    if not (folder / files["best"]).exists():  # the weights that training started from
        _write(folder / files["best"], state.best)
    text = json.dumps(
        {"key": key, "state": asdict(replace(state, best={})), "files": files, "scaler": scaler}
    )
    _replace(folder / STATE, lambda temporary: temporary.write_text(text))
    for path in folder.glob("*.safetensors"):
        if path.name not in files.values():
            path.unlink()


def load(
    folder: Path,
    key: str,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> State:
    """Fill everything from ``folder``, as given to :func:`save`; a fresh state if it holds none of this training.

    What is left there of another training, or torn, is removed.
    """
    try:
        found = json.loads((folder / STATE).read_text())
        tensors = {kind: load_file(folder / name) for kind, name in found["files"].items()}
        usable = bool(found["key"] == key) and set(modules) < set(tensors)
    except FileNotFoundError:
        usable = False
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        say(f"    the state of the interrupted training is not readable ({error}): starting again")
        usable = False
    if not usable:
        shutil.rmtree(folder, ignore_errors=True)
        return State()
    for kind, module in modules.items():
        module.load_state_dict(tensors[kind])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors["moments"].items():
        number, _, moment = name.partition(".")
        parameter = parameters[int(number)]
        optimizer.state[parameter][moment] = _like(parameter, tensor)
    if found["scaler"]:
        scaler.load_state_dict(found["scaler"])
    curve = [Epoch(**entry) for entry in found["state"]["curve"]]
    return State(**found["state"] | {"best": tensors["best"], "curve": curve})


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, moments in states.items()
        for name, value in moments.items()
        if isinstance(value, Tensor)
    }


def _like(parameter: Tensor, moment: Tensor) -> Tensor:
    """Fused optimizers walk memory, not indices: a moment must lie in memory as its parameter does."""
    if moment.shape != parameter.shape:
        return moment.to(parameter.device) if parameter.is_cuda else moment  # the step counter of AdamW
    return torch.empty_like(parameter).copy_(moment)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    def written(temporary: Path) -> None:
        try:
            save_file(dict(tensors), temporary)  # a third of the time of save() and write()
        except SafetensorError as error:  # this is how it says that the disk is full
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error

    _replace(path, written)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
