"""An LSTM whose state is projected (``proj_size``; Sak et al., 2014), without that: ONNX's has no projection.

Its recurrent weight takes the projected state. So the product of both weights takes the state as it is, and what the
layer gives is projected behind it: the same function, with more products where the projection is narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

LSTM = (torch.lstm, torch.ops.aten.lstm.input)


def is_projected(params: Any, biases: Any, layers: Any, bidirectional: Any) -> bool:
    """Whether each layer has a weight more; anything but the weights of whole sequences has none."""
    whole = isinstance(params, list | tuple) and isinstance(layers, int)
    return whole and len(params) == layers * (2 if bidirectional else 1) * (5 if biases else 3)


def unprojected(
    func: Callable[..., tuple[Tensor, Tensor, Tensor]],
    x: Tensor,
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``torch.lstm`` gives of these arguments, by calls without projections, layer by layer.

    The first projected state must be zero, as it is where none is given: no other state is known that it is made of.
    """
    del dropout, train  # of evaluation
    ways, each = 2 if bidirectional else 1, 5 if biases else 3
    found: list[list[Tensor]] = [[], []]
    for layer in range(layers):
        first = layer * ways
        rows = [params[each * way : each * (way + 1)] for way in range(first, first + ways)]
        cells = states[1][first : first + ways]
        flat = [one for w_ih, w_hh, *more, w_hr in rows for one in (w_ih, w_hh @ w_hr, *more)]
        x, state, cell = func(
            x, (torch.zeros_like(cells), cells), flat, biases, 1, 0.0, False, bidirectional, batch_first
        )
        parts = x.split(cells.shape[-1], -1)
        x = torch.cat([part @ row[-1].T for part, row in zip(parts, rows, strict=True)], -1)
        found[0] += [state[way] @ row[-1].T for way, row in enumerate(rows)]
        found[1].append(cell)
    return x, torch.stack(found[0]), torch.cat(found[1])
