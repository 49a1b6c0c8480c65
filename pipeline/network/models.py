"""A network: build it, load its weights, replay its pruning history, save it. No pickle anywhere.

A structurally pruned network is saved as how to build the dense one, what was removed since (JSON) and the
remaining weights (safetensors). Loading builds, replays and fills in.
"""

from __future__ import annotations

import difflib
import errno
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from jetpress.deploy.errors import RecipeError, StageError, ToolMissing, from_os_error
from jetpress.pipeline.network import blocks, channels, user_code
from jetpress.pipeline.network.channels.modes import frozen, unfused_attention
from jetpress.pipeline.network.checkpoints import fill
from jetpress.pipeline.network.last_layer import resize
from jetpress.pipeline.network.reparametrized import bake
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import as_table, is_file_reference
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import UNDECIDED, TaskConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.facts.onnx_file import DetectionRules

WEIGHTS = "weights.safetensors"


@dataclass
class Network:
    """A module and all that is needed to build, feed and judge it again."""

    module: nn.Module
    model: ModelConfig
    """With its inputs decided."""
    data: DataConfig
    seed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    """Steps of :func:`jetpress.pipeline.network.channels.replay`, ``{"blocks": names}`` and ``{"head": layer,
    "classes": count}``, oldest first."""
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Parameter name -> bool tensor of its shape: False is held at zero."""
    task: TaskConfig = UNDECIDED
    """What it is for, decided."""


def build(model: ModelConfig, seed: int = 0) -> nn.Module:
    """The freshly initialised network that ``model.builder`` names, all of its weights plain ones.

    Raises:
        RecipeError: no such builder, or it does not take these arguments.
    """
    module = made(model, seed)
    bake(module)
    return module


def made(model: ModelConfig, seed: int = 0) -> nn.Module:
    """The network as ``model.builder`` makes it: its weights may be computed from others (weight norm).

    Raises:
        RecipeError: no such builder, or it does not take these arguments.
    """
    make = builder(model.builder)
    torch.manual_seed(seed)
    try:
        module = make(**model.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(
            f"{model.builder} with {model.arguments} does not build: {error}", "check model.arguments"
        ) from error
    if not isinstance(module, nn.Module):
        raise RecipeError(
            f"{model.builder} returned a {type(module).__name__}", "it must return an nn.Module"
        )
    from jetpress.pipeline.network import detectors

    return detectors.wrapped(module)


def builder(name: str) -> Callable[..., object]:
    """What makes the network; no network is made yet.

    Raises:
        RecipeError: there is none of this name: no such network, or no such file or function.
        ToolMissing: timm is asked for and not installed.
    """
    if is_file_reference(name):
        return user_code.load(name)
    library, _, network = name.partition(":")
    if library == "torchvision":
        from torchvision.models import get_model, get_model_builder, list_models

        if network not in list_models():
            raise RecipeError(f"torchvision has no network {network!r}", _nearest(network, list_models()))
        known = inspect.signature(get_model_builder(network)).parameters
        none = {
            name: None for name in ("weights", "weights_backbone") if name in known
        }  # nothing is downloaded
        return lambda **arguments: get_model(network, **{**none, **arguments})
    try:
        import timm
    except ImportError:
        raise ToolMissing("timm is not installed", "install it: pip install 'jetpress[timm]'") from None
    if not timm.is_model(network):
        raise RecipeError(f"timm has no network {network!r}", _nearest(network, timm.list_models()))
    return lambda **arguments: timm.create_model(network, **arguments)


def _nearest(name: str, names: list[str]) -> str:
    """A remedy for a name that is none: ``MobileNetV2`` is near ``mobilenet_v2``."""
    plain = {re.sub(r"[^a-z0-9]", "", one.lower()): one for one in reversed(names)}
    close = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=3)
    return f"did you mean {', '.join(plain[one] for one in close)}?" if close else "check the name"


def example_inputs(inputs: tuple[InputConfig, ...], batch: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    """Random tensors of the network's input shapes ``[batch, *shape]``."""
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for one in inputs:
        dtype: torch.dtype = getattr(torch, one.dtype)
        shape = (batch, *one.shape)
        if dtype.is_floating_point:
            tensors.append(torch.randn(shape, generator=generator, dtype=dtype))
        else:
            tensors.append(torch.randint(0, 2, shape, generator=generator).to(dtype))
    return tuple(tensors)


def outputs_of(result: object) -> tuple[Tensor, ...]:
    """Every tensor that a network returned, in order: from a tensor, tuple, list, dict or dataclass."""
    leaves, _ = tree_flatten(dict(result) if isinstance(result, Mapping) else result)
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    if not tensors:
        raise RecipeError(f"the network returned no tensor but a {type(result).__name__}", "return tensors")
    return tensors


def rules(network: Network) -> DetectionRules | None:
    """How a detector's outputs become detections (network/detectors.py); None for other networks.

    Raises:
        RecipeError: the recipe's head or the network's own rules say nothing sensible.
    """
    from jetpress.pipeline.network import detectors
    from jetpress.pipeline.network.channels.graph import TracedNet

    module = network.module
    if network.task.head is not None:
        return detectors.of_head(network.task, network.model)
    if isinstance(module, TracedNet):  # pruning keeps of a traced network its forward alone
        module = build(network.model, network.seed).eval()
    found = detectors.rules_of(module, network.model.inputs[0].shape)
    return found and detectors.asked(found, network.task)


def measure(network: Network) -> CheckpointFacts:
    """Parameters, and multiply-accumulates of one sample (half of what torch's FLOP counter counts)."""
    return CheckpointFacts(*size_of(network.module.eval(), example_inputs(network.model.inputs, batch=1)))


def size_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one call on ``inputs``."""
    counting = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops}
    )
    with torch.no_grad(), frozen(module), unfused_attention(), counting as counter:
        module(*inputs)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2


def _recurrent_flops(
    x: tuple[int, ...], inward: tuple[int, ...], state: tuple[int, ...], *_: object, **__: object
) -> int:
    """One layer and direction of an LSTM, which oneDNN computes in one operator: both matrices at every step."""
    steps, samples = x[:2]
    return 2 * steps * samples * (math.prod(inward) + math.prod(state))


def save(network: Network, draft: Path, before: CheckpointFacts | None = None) -> Checkpoint:
    """Write ``network`` into ``draft``.

    Args:
        before: what else is known of it; its size and cost are measured here.

    Raises:
        StageError: a weight is NaN or infinite: such a network is never handed on.
    """
    masks = {name: mask.contiguous() for name, mask in network.masks.items()}
    write_weights(network.module, draft / WEIGHTS)
    if masks:
        with _full_disk_said(draft):
            save_file(masks, draft / "masks.safetensors")
    description = {
        "model": as_table(network.model),
        "task": as_table(network.task),
        "data": as_table(network.data),
        "seed": network.seed,
        "history": network.history,
    }
    (draft / "network.json").write_text(json.dumps(description, indent=1))
    size = measure(network)
    facts = replace(before or size, parameters=size.parameters, macs=size.macs)
    return Checkpoint(draft, facts)


def write_weights(module: nn.Module, path: Path) -> None:
    """Weights by name, as safetensors; those that are shared are written once.

    Raises:
        StageError: a weight is NaN or infinite: such a network is never handed on.
        DeviceError: the disk is full.
    """
    bad = [n for n, t in module.state_dict().items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise StageError(
            f"NaN or Inf in {', '.join(bad[:5])}", "lower the learning rate, or set train.clip_norm"
        )
    with _full_disk_said(path.parent):
        save_model(module, str(path))


@contextmanager
def _full_disk_said(folder: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:  # this is how safetensors says that the disk is full
        raise from_os_error(OSError(errno.ENOSPC, str(error), str(folder))) from error


def replayed(
    module: nn.Module, inputs: tuple[Tensor, ...], history: Sequence[channels.Step], seed: int = 0
) -> nn.Module:
    """The structure that the steps of a history left, from the network that they began with."""
    for step in history:
        if "blocks" in step:
            module = blocks.remove(module, step["blocks"])
        elif "head" in step:
            resize(module, step["head"], step["classes"], seed)
        else:
            module = channels.replay(module, inputs, step)
    return module


@cache
def _reader(kind: type[Any]) -> TypeAdapter[Any]:
    """Reads one section; made once in a process, which takes longer than reading."""
    return TypeAdapter(kind)


def load(checkpoint: Checkpoint, *, masked: bool = True) -> Network:
    """Build, replay the pruning history, fill in the weights.

    Args:
        masked: masked weights are zero. False takes the masks off: until training or ``fold`` the weights behind
            unstructured ones are as they were.
    """
    description = json.loads((checkpoint.path / "network.json").read_text())
    network = Network(
        module=nn.Identity(),
        model=_reader(ModelConfig).validate_python(description["model"]),
        data=_reader(DataConfig).validate_python(description["data"]),
        task=_reader(TaskConfig).validate_python(description["task"]),
        seed=description["seed"],
        history=description["history"],
    )
    module = build(replace(network.model), network.seed).eval()
    module = replayed(module, example_inputs(network.model.inputs), network.history, network.seed)
    fill(module, load_file(checkpoint.path / WEIGHTS))
    masks = checkpoint.path / "masks.safetensors"
    network.masks = load_file(masks) if masks.exists() and masked else {}
    parameters = dict(module.named_parameters())
    for name, mask in network.masks.items():
        if name in parameters and parameters[name].shape == mask.shape:  # `fold` refuses what fits nothing
            parameters[name].data = parameters[name].data * mask
    network.module = module.eval()
    return network
