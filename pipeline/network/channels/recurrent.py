"""What recurrent layers do to channels: a hidden unit is a row of every gate, and a column of what reads the state.

torch gives an LSTM, a GRU or an RNN one hidden size for all of its layers and both directions, so a unit goes in all of
them. Without its weights and biases a unit that starts at zero stays there: tanh(0) = 0, and an LSTM's cell is halved
at most.
"""

from __future__ import annotations

import numpy as np
from torch import fx

from jetpress.pipeline.network.channels.labels import Axes, Call, Indices, Value, outside


def recurrent(call: Call) -> Value:
    """A sequence ``[*, *, features]``: steps stay, features meet the input weights, hidden units are new channels."""
    x, states, weights = call.axes("input"), _states(call), call.tensors("params")
    ways = 2 if call.arguments["bidirectional"] else 1
    step = len(weights) // (call.arguments["num_layers"] * ways)
    hidden, given = states[-1][-1], states[0][-1]
    if not (projected := step in (3, 5)):  # a product behind the state: LSTM's proj_size
        call.unite(given, hidden)
    call.fix(*x[:-1], *(axis for state in states for axis in state[:-1]))
    both = np.concatenate([given] * ways)
    for i, axes in enumerate(weights):
        position = i % step
        if projected and position == step - 1:
            call.unite(axes[0], given)
            call.unite(axes[1], hidden)
            continue
        _gates(call, axes[0], hidden)
        if position < 2:
            read = given if position else both if i >= ways * step else x[-1]
            call.unite(read, axes[1])
    call.produced += [weights[0][0], *([weights[step - 1][0]] if projected else [])]
    places = [outside(shape[0]) for shape in call.shapes[1:]]
    after = [[place, *state[1:]] for place, state in zip(places, states, strict=True)]
    return [[*x[:-1], both], *after]


def cell(call: Call) -> Value:
    """One step of it."""
    x, states = call.axes("input"), _states(call)
    hidden = states[-1][-1]
    call.unite(states[0][-1], hidden)
    inward, state = call.axes("w_ih"), call.axes("w_hh")
    call.unite(x[-1], inward[1])
    call.unite(hidden, state[1])
    for name in ("w_ih", "w_hh", "b_ih", "b_hh"):
        if (axes := call.optional(name)) is not None:
            _gates(call, axes[0], hidden)
    call.produced.append(inward[0])
    results = [[*x[:-1], hidden] for _ in call.shapes]
    return results if len(results) > 1 else results[0]


def _states(call: Call) -> list[Axes]:
    """Hidden state; of an LSTM the cell's as well."""
    return [call.axes("hx")] if isinstance(call.arguments["hx"], fx.Node) else call.tensors("hx")


def _gates(call: Call, rows: Indices, hidden: Indices) -> None:
    """Every gate has one row for each hidden unit."""
    call.unite(rows.reshape(-1, len(hidden)), hidden[None])
