"""Weights that are kept in parts, put together: pruned by a mask, weight norm, spectral norm.

Names are those of ``torch.nn.utils`` (``weight_orig``, ``weight_g``) and of ``torch.nn.utils.parametrizations``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

NEW_STYLE = re.compile(r"(?P<module>(?:.*\.)?)parametrizations\.(?P<name>\w+)\.(?P<part>original[01]?)")


@dataclass(frozen=True)
class Merged:
    """A weight, and the names of what it was put together from."""

    value: Tensor
    parts: tuple[str, ...]


def bake(module: nn.Module) -> list[str]:
    """Make every weight that is computed from others a plain one, in place: what the network computes stays, and
    channels can be cut.

    Returns:
        the names of these weights
    """
    baked = []
    for name, one in list(module.named_modules()):
        if isinstance(one, parametrize.ParametrizationList):
            continue
        kept = [hook for hook in one._forward_pre_hooks.values() if isinstance(hook, OLD_STYLE)]  # noqa: SLF001
        for hook in kept:
            weight = str(vars(hook).get("_tensor_name") or vars(hook)["name"])
            remove = next(remove for kind, remove in REMOVED_BY.items() if isinstance(hook, kind))
            trains = _trains(one, f"{weight}_")
            remove(one, weight)
            one.get_parameter(weight).requires_grad_(trains)
            baked.append(f"{name}.{weight}".lstrip("."))
        if parametrize.is_parametrized(one):
            assert isinstance(one.parametrizations, nn.ModuleDict)
            _with_a_class_of_its_own(one)
            for weight in list(one.parametrizations):
                trains = _trains(one, f"parametrizations.{weight}.")
                parametrize.remove_parametrizations(one, weight)
                one.get_parameter(weight).requires_grad_(trains)
                baked.append(f"{name}.{weight}".lstrip("."))
    return baked


def _with_a_class_of_its_own(module: nn.Module) -> None:
    """Copies of a parametrized module share its class, and PyTorch deletes the weight from that when it removes one."""
    kind = type(module)
    content = {name: one for name, one in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(kind.__name__, kind.__bases__, content)


def _trains(module: nn.Module, parts: str) -> bool:
    """Whether any of the parts of a weight, whose names begin so, is not frozen."""
    return any(part.requires_grad for name, part in module.named_parameters() if name.startswith(parts))


def _remove_spectral_norm(module: nn.Module, name: str) -> None:
    """PyTorch leaves behind what looks for the parts when weights are loaded."""
    remove_spectral_norm(module, name)
    hooks = module._load_state_dict_pre_hooks  # noqa: SLF001  (they have no other name)
    for key, hook in list(hooks.items()):
        if isinstance(getattr(hook, "hook", hook), SpectralNormLoadStateDictPreHook):
            del hooks[key]


REMOVED_BY: dict[type, Callable[[nn.Module, str], object]] = {
    WeightNorm: remove_weight_norm,
    SpectralNorm: _remove_spectral_norm,
    prune.BasePruningMethod: prune.remove,
}
"""Hooks that compute a weight before each call, and what puts it in their place."""
OLD_STYLE = tuple(REMOVED_BY)


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Merged]:
    """Every weight whose parts are there, by the name that it has in a plain network."""
    found: dict[str, Merged] = {}
    for name in tensors:
        plain, choices = _parts(name)
        parts = next((some for some in choices if all(part in tensors for part in some)), None)
        if parts and plain not in tensors:
            value = _value(name, [tensors[part] for part in parts])
            if value is not None:
                found[plain] = Merged(value, parts)
    return found


def _parts(name: str) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """The plain name of a weight whose first part is called ``name``, and what its parts may be called together."""
    if new_style := NEW_STYLE.fullmatch(name):
        plain, part = new_style["module"] + new_style["name"], new_style["part"]
        before = name.removesuffix(part)
        if part == "original":
            return plain, ((name, f"{before}0._u", f"{before}0._v"),)
        return plain, ((name, f"{before}original1"),) if part == "original0" else ()
    if name.endswith("_orig"):
        plain = name.removesuffix("_orig")
        return plain, ((name, f"{plain}_mask"), (name, f"{plain}_u", f"{plain}_v"))
    plain = name.removesuffix("_g")
    return plain, ((name, f"{plain}_v"),) if name.endswith("_g") else ()


def _value(name: str, parts: list[Tensor]) -> Tensor | None:
    """The weight; None where the parts do not belong together."""
    if len(parts) == 3:
        return _spectral(*parts)
    first, second = (part.float() for part in parts)
    if name.endswith("_orig"):
        return first * second if first.shape == second.shape else None
    return _weight_norm(first, second)


def _weight_norm(size: Tensor, direction: Tensor) -> Tensor | None:
    """``g v / ||v||`` (Salimans and Kingma, 2016); the norm is over the axes along which ``g`` has one element."""
    if not size.ndim:
        whole: Tensor = direction * (size / torch.linalg.vector_norm(direction))
        return whole
    if size.ndim != direction.ndim or any(
        s not in (1, d) for s, d in zip(size.shape, direction.shape, strict=True)
    ):
        return None
    over = [axis for axis, length in enumerate(size.shape) if length == 1]
    return direction * (size / torch.linalg.vector_norm(direction, dim=over, keepdim=True)) if over else None


def _spectral(weight: Tensor, left: Tensor, right: Tensor) -> Tensor | None:
    """``W / (u W v)`` (Miyato et al., 2018), with the vectors as they are stored: as in eval mode."""
    weight, left, right = weight.float(), left.float(), right.float()
    for axis in range(min(weight.ndim, 2)):
        matrix = weight.movedim(axis, 0).flatten(1)
        if matrix.shape == (len(left), len(right)):
            return weight / torch.dot(left, matrix @ right)
    return None
