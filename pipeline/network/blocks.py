"""Whole blocks that may go: depth is what pays when layers are narrow already.

A block is a module that returns its input once all its weights are zero: a residual block, an inverted
bottleneck with a shortcut, an encoder layer. Such a block can be bypassed, it is replaced by ``nn.Identity``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from jetpress.pipeline.network.channels.graph import TracedNet, evaluating


def removable(module: nn.Module, inputs: tuple[Tensor, ...], ignore: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the blocks, innermost only, in the order in which they run.

    Args:
        module: the network; a traced graph has no modules, so no blocks.
        inputs: its arguments, any batch.
        ignore: shell patterns of parameters; a block that holds one of these stays.
    """
    if isinstance(module, TracedNet):
        return ()
    with torch.no_grad(), evaluating(module):
        seen = _inputs(module, tuple(x[:2] for x in inputs))
        found = [name for name, x in seen.items() if _is_residual(module.get_submodule(name), x)]
    innermost = [n for n in found if not any(other.startswith(f"{n}.") for other in found)]
    return tuple(n for n in innermost if not _ignored(module, n, ignore))


def _inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What goes into every module that is called once, with one tensor, and returns one of the same shape."""
    calls: dict[str, list[Tensor | None]] = {}

    def note(
        name: str, _: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object
    ) -> None:
        one = args[0] if len(args) == 1 and not kwargs else None
        seen = calls.setdefault(name, [])
        if isinstance(one, Tensor) and isinstance(output, Tensor):
            seen.append(one if one.shape == output.shape and one.dtype == output.dtype else None)
        else:
            seen.append(None)

    hooks = [
        part.register_forward_hook(functools.partial(note, name), with_kwargs=True)
        for name, part in module.named_modules()
        if name and any(p.ndim > 1 for p in part.parameters())
    ]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[0] for name, found in calls.items() if len(found) == 1 and found[0] is not None}


def _is_residual(part: nn.Module, x: Tensor) -> bool:
    """Is it the identity when all that it holds is zero?"""
    tensors = [t for t in (*part.parameters(), *part.buffers()) if t.is_floating_point()]
    saved = [t.clone() for t in tensors]
    try:
        for tensor in tensors:
            tensor.zero_()
        return bool(x.any()) and torch.equal(part(x), x)
    finally:
        for tensor, value in zip(tensors, saved, strict=True):
            tensor.copy_(value)


def _ignored(module: nn.Module, name: str, ignore: Sequence[str]) -> bool:
    held = [f"{name}.{leaf}" for leaf, _ in module.get_submodule(name).named_parameters()]
    return any(fnmatchcase(one, pattern) for one in held for pattern in ignore)


@contextmanager
def bypassed(module: nn.Module, name: str) -> Iterator[None]:
    """Without this block, for a while."""
    part = module.get_submodule(name)
    module.set_submodule(name, nn.Identity())
    try:
        yield
    finally:
        module.set_submodule(name, part)


def remove(module: nn.Module, names: Sequence[str]) -> nn.Module:
    """Replace these blocks, in place; :func:`jetpress.pipeline.network.models.load` does it again from the history."""
    for name in names:
        module.set_submodule(name, nn.Identity())
    return module
