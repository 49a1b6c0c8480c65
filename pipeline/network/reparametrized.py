"""Weights that are stored in parts, put together: pruned by a mask, weight norm, spectral norm.

Names are those of ``torch.nn.utils`` (``weight_orig``, ``weight_g``) and of ``torch.nn.utils.parametrizations``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

NEW_STYLE = re.compile(r"(?P<module>(?:.*\.)?)parametrizations\.(?P<name>\w+)\.(?P<part>original[01]?)")


@dataclass(frozen=True)
class Merged:
    """A weight, and the names of what it was put together from."""

    value: Tensor
    parts: tuple[str, ...]


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
