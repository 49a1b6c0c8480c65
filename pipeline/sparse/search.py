"""An order of a matrix's columns in which N:M keeps more.

Take one column out of every group of M: what each group would keep with each of them put back is one table, and
the best way to put all of them back at once is an assignment problem, solved exactly. It is repeated with other
columns, at first with some noise on the table, which dies away; several searches go abreast. Pool & Yu ("Channel
Permutations for N:M Sparsity", NeurIPS 2021) try the 35 ways to part two groups of four, pair by pair; here all
groups trade in one step, for any N:M.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from jetpress.pipeline.network.channels.labels import Indices
from jetpress.pipeline.sparse import masks

NOISE = 0.2
"""Of the first step, in standard deviations of the table (after its row and column means); searches abreast have from
half to twice as much."""
WORK = 4e9
"""Comparisons that one search may cost: some seconds on one core."""
STEPS = (32, 400)
"""At least and at most this many, whatever the work."""
ALONE = 32
"""From so many groups on one search is enough. Fewer get stuck more easily and cost little: of these (ALONE / groups)^5
searches go abreast, and the best is taken."""
ABREAST = 24
"""At most so many, nor more than one for so many rows: little is decided there."""
LISTED = 2**20
"""Where all groups that M of the columns can form have no more places in an array (2:4: 32 columns), what each is worth
is computed once."""
ABREAST_LISTED = 96
"""Of those: a step costs no product of the matrix, and most get stuck."""

Table = NDArray[np.float64]
Worth = Callable[[Indices], Table]


def search(matrix: Tensor, kept: int = masks.KEPT, group: int = masks.GROUP, seed: int = 0) -> Tensor:
    """An order of the columns in which N:M keeps more.

    Args:
        matrix: what each weight matters, ``[rows, in]``, not negative.
        kept: N.
        group: M; ``in`` is a multiple of it.
        seed: of the columns taken out and of the noise.

    Returns:
        permutation ``[in]``: position -> column. Never keeps less than the order given.
    """
    groups, total = matrix.shape[1] // group, matrix.shape[1]
    if groups < 2 or kept >= group:
        return torch.arange(total)
    columns = matrix.float().t().contiguous()
    steps = int(np.clip(WORK / (groups * columns.numel() / group), *STEPS))
    if total**group <= LISTED:
        listed = _listed(columns, kept, group)
        order = _best(
            lambda members: _looked_up(listed, members), (ABREAST_LISTED, groups, group), steps, seed
        )
    else:
        abreast = np.clip((ALONE / groups) ** 5, 1, np.clip(len(matrix) // ABREAST, 1, ABREAST))
        order = _best(
            lambda members: _worth(columns, members, kept), (int(abreast), groups, group), steps, seed
        )
    found = torch.from_numpy(order)
    better_than_given = masks.magnitude(matrix[:, found], kept, group) > masks.magnitude(matrix, kept, group)
    return found if better_than_given else torch.arange(total)


def _best(worth: Worth, shape: tuple[int, int, int], steps: int, seed: int) -> Indices:
    """The order ``[in]`` that gained most, of ``shape``: searches abreast, groups, M."""
    random = np.random.default_rng(seed)
    abreast, groups, group = shape
    order = best = np.tile(np.arange(groups * group), (abreast, 1))
    gained, most, scale = np.zeros(abreast), np.zeros(abreast), np.zeros((abreast, 1, 1))
    spread = 2.0 ** np.linspace(-1, 1, abreast)[:, None, None] if abreast > 1 else np.ones((1, 1, 1))
    for step in range(steps):
        members = np.take_along_axis(order.reshape(shape), random.random(shape).argsort(-1), 2)
        table = worth(members)
        scale = scale if step else NOISE * float(_centred(table).std()) * spread
        noise = scale * (1 - step / steps) * random.gumbel(size=table.shape)
        chosen = np.stack([linear_sum_assignment(one, maximize=True)[1] for one in table + noise])
        gained = gained + _gain(table, chosen)
        members[..., -1] = np.take_along_axis(members[..., -1], chosen, 1)
        order = members.reshape(abreast, -1)
        better = gained > most
        most = np.where(better, gained, most)
        best = np.where(better[:, None], order, best)
    found: Indices = best[int(most.argmax())]
    return found


def _worth(columns: Tensor, members: Indices, kept: int) -> Table:
    """What group i keeps with the last member of group j in place of its own, but for a constant of row i.

    In each row the group's other members keep their N - 1 largest, and the Nth or the newcomer is kept,
    whichever is larger: summed over rows that is half of both sums and their distance in the 1-norm.

    Args:
        columns: ``[in, rows]``.
        members: ``[searches, groups, M]``.
        kept: N.

    Returns:
        ``[searches, groups, groups]``
    """
    rest = [columns[members[..., k]] for k in range(members.shape[-1] - 1)]
    if kept == 2 and len(rest) == 3:  # 2:4: the second of three without sorting, a fifth of the search's time
        a, b, c = rest
        threshold = torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
    else:
        threshold = torch.stack(rest).sort(dim=0, descending=True).values[kept - 1]
    newcomers = columns[members[..., -1]]
    distance: Tensor = torch.cdist(threshold, newcomers, p=1)
    worth: Table = (distance + newcomers.sum(-1).unsqueeze(1)).double().numpy() / 2
    return worth


def _listed(columns: Tensor, kept: int, group: int) -> Table:
    """What every group of M different columns keeps: an array of M axes, each of them the columns."""
    total, rows = columns.shape
    every = torch.combinations(torch.arange(total), group)
    parts = every.split(max(1, 2**21 // rows))  # bounds the memory
    worth = torch.cat([_kept(columns[some], kept).sum(-1, dtype=torch.float64) for some in parts])
    listed = np.zeros((total,) * group)
    for places in itertools.permutations(every.numpy().T):
        listed[places] = worth.numpy()
    return listed


def _kept(groups: Tensor, kept: int) -> Tensor:
    """Per row the sum of the N largest of ``[groups, M, rows]``."""
    if (
        kept == 2 and groups.shape[1] == 4
    ):  # without sorting, a tenth of the time: one of each pair, or both of one
        a, b, c, d = groups.unbind(1)
        return torch.maximum(torch.maximum(a, b) + torch.maximum(c, d), torch.maximum(a + b, c + d))
    return groups.topk(kept, 1).values.sum(1)


def _looked_up(listed: Table, members: Indices) -> Table:
    """As :func:`_worth`, of what is ``listed``."""
    rest, newcomers = np.moveaxis(members[..., :-1], -1, 0)[..., None], members[:, None, :, -1]
    found: Table = listed[(*rest, newcomers)]
    return found


def _gain(table: Table, chosen: Indices) -> Table:
    """What each search wins when its groups take the newcomers ``chosen`` ``[searches, groups]``."""
    new, old = np.take_along_axis(table, chosen[..., None], 2), np.diagonal(table, axis1=1, axis2=2)
    won: Table = new.sum((1, 2)) - old.sum(1)
    return won


def _centred(table: Table) -> Table:
    """Without what every choice for a group, or of a newcomer, has in common."""
    rows, columns = table.mean(2, keepdims=True), table.mean(1, keepdims=True)
    centred: Table = table - rows - columns + rows.mean(1, keepdims=True)
    return centred
