"""Which channels depend on which, and networks without some of them.

:func:`analyse` carries labels through the traced graph and gives the groups of channels that stand or fall
together, whatever layers they run through. :func:`cut` removes units of such groups: parameters are sliced by
the labels that survive, wherever they live, so there is no function per type of layer. Every cut is checked
against the dense network before it is accepted. :func:`replay` repeats a recorded cut on a fresh network.

    graph = analyse(module, inputs)
    smaller, step = cut(module, inputs, graph, {"layer1.0.conv1.weight": [3, 5]})
    same = replay(build(), inputs, json.loads(json.dumps(step)))      # then same.load_state_dict(...)

What it does not do: choose channels (``criteria.py``, ``allocate.py``), or reduce depth.
"""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jetpress.deploy.console import progress
from jetpress.deploy.errors import StageError
from jetpress.pipeline.network.channels import attributes, modes, oracle, tracing
from jetpress.pipeline.network.channels.graph import Place, Survivors, Trace, TracedNet, rewritten, trace
from jetpress.pipeline.network.channels.groups import ChannelGraph, channel_graph
from jetpress.pipeline.network.channels.labels import Axes, Indices

LAST = torch.channels_last
Step = dict[str, Any]
"""One cut as JSON: ``kept`` ranges per parameter and axis, ``attributes``, ``graph``, ``units`` per group; ``error``
and ``precision`` of its check."""

CHANGES = "the cut changed the function"
"""Why a group is refused that no rule should have let go."""


def analyse(module: nn.Module, example_inputs: tuple[Tensor, ...], any_batch: bool = False) -> ChannelGraph:
    """Find the groups of channels of ``module``, which is not changed.

    Args:
        module: any network that runs on the inputs, or that ``torch.export`` can trace.
        example_inputs: its arguments; axis 0 is the batch where all of them agree on it.
        any_batch: ``trace`` of the result runs at every batch size, not only at that of the inputs: slower.

    Raises:
        StageError: the network cannot be traced.
    """
    with progress("groups of channels"):
        return channel_graph(trace(module, example_inputs, any_batch))


def cut(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    graph: ChannelGraph,
    remove: Mapping[str, Sequence[int]],
) -> tuple[nn.Module, Step]:
    """Remove units, by group name, from a copy of ``module``.

    The result is the module at its new widths, or its traced graph where the module's own code computes
    widths that cannot be changed (``step["graph"]``, and ``step["why"]``). Groups whose removal does not leave
    the same function, in inference and in training, are left alone and listed in ``step["refused"]`` with the reason.

    Raises:
        StageError: no group could be removed.
    """
    wanted = {group.name: group for group in graph.groups if len(remove.get(group.name, ()))}
    drawn = oracle.random_weights(graph.trace, _tensors(module, graph.trace))
    dense = _Dense(module, example_inputs, graph.trace, drawn)
    accepted: list[str] = []
    best: tuple[nn.Module, Step] | None = None
    refused: dict[str, str] = {}
    pending = [list(wanted)]
    with progress("cut, and held against the dense network") as line:
        while pending:
            names = pending.pop()
            survivors = _survivors(graph.trace, {n: wanted[n].slices for n in accepted + names}, remove)
            result = _verified(dense, survivors)
            if not isinstance(result, str):
                accepted, best = accepted + names, result
                line.step(f"{len(accepted)} of {len(wanted)} groups")
            elif len(names) > 1:
                pending += [names[len(names) // 2 :], names[: len(names) // 2]]
            else:
                refused[names[0]] = result
    if best is None:
        raise _nothing_goes(refused)
    smaller, step = best
    step["units"] = {n: [wanted[n].units, wanted[n].units - len(remove[n])] for n in accepted}
    step["refused"] = refused
    return smaller, step


def _nothing_goes(refused: Mapping[str, str]) -> StageError:
    first = next(iter(refused.values()))
    what = f"none of {', '.join(list(refused)[:5])} can be removed: {first}"
    if first == CHANGES:
        rules = "pipeline/network/channels/rules.py"
        return StageError(
            what, f"please report this network: one of its operators has a wrong rule ({rules})"
        )
    return StageError(what, "keep widths in attributes of the module and not in the text of forward")


@dataclass(frozen=True)
class _Dense:
    """The network before the cut, and the random weights that it is judged on."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    trace: Trace
    drawn: Mapping[str, Tensor]

    @functools.cached_property
    def trains_otherwise(self) -> str:
        """Why its graph cannot be trained in its place; empty where it can."""
        return modes.trains_otherwise(self.module, self.inputs)

    @functools.cached_property
    def opened(self) -> Trace:
        """What the network lives on as, if it must: its graph at any batch size."""
        return trace(self.module, self.inputs, any_batch=True)


def _tensors(module: nn.Module, source: Trace) -> dict[str, Tensor]:
    """Every tensor of the trace by name, as the module holds it now."""
    held: dict[str, Tensor] = {**dict(module.named_buffers()), **dict(module.named_parameters())}
    for node in source.module.graph.nodes:
        if (name := node.meta.get("name")) is not None and name not in held:
            held[name] = operator.attrgetter(str(node.target))(source.module)
    return {name: held[name] for name in source.tensors if name in held}


def _survivors(
    source: Trace, slices: Mapping[str, Mapping[Place, Indices]], remove: Mapping[str, Sequence[int]]
) -> Survivors:
    dead = np.zeros(source.labels.size, dtype=np.bool_)
    for name, places in slices.items():
        for (tensor, axis), indices in places.items():
            gone = source.tensors[tensor][axis][indices[np.asarray(remove[name], dtype=np.int64)].ravel()]
            dead[source.labels.find(gone)] = True
    return Survivors(source.labels, dead)


def _verified(dense: _Dense, survivors: Survivors) -> tuple[nn.Module, Step] | str:
    """The dense network without the channels: as a module, else as its graph, else why neither is the same."""
    tensors = dense.trace.tensors
    if any(len(axis) and not survivors.count(axis) for axes in tensors.values() for axis in axes):
        return "nothing would be left of a layer"
    kept = {name: _kept(axes, survivors) for name, axes in tensors.items() if survivors.changes(axes)}
    step: Step = {"kept": {n: {str(k): _ranges(s) for k, s in axes.items()} for n, axes in kept.items()}}
    expected = oracle.masked(dense.trace, survivors, dense.drawn, dense.inputs)
    drawn = {name: _sliced(tensor, kept.get(name, {})) for name, tensor in dense.drawn.items()}
    reasons = []
    for guess in attributes.guesses(dense.module, dense.trace, survivors):
        smaller = _without(dense.module, kept)
        values = attributes.merged(guess, attributes.known(smaller, dense.trace, survivors))
        attributes.apply(smaller, values)
        found = oracle.verdict(smaller, drawn, dense.inputs, expected)
        if not found.why:
            return smaller, {**step, "attributes": values, "graph": False, **found.as_step()}
        reasons.append(found.why)
    if dense.trains_otherwise:
        return f"its code cannot take the widths ({reasons[0]}), and {dense.trains_otherwise}, which its graph loses"
    traced = _as_graph(dense.module, dense.opened, kept)
    found = oracle.verdict(traced, drawn, dense.inputs, expected)
    if found.why:
        return CHANGES
    step |= {"attributes": {}, "graph": True, "why": reasons[0], **found.as_step()}
    return traced.train(dense.module.training), step


def _as_graph(module: nn.Module, source: Trace, kept: Mapping[str, Mapping[int, Indices]]) -> TracedNet:
    """The exported network ``source`` of ``module`` at the widths that are left."""
    dead = np.zeros(source.labels.size, dtype=np.bool_)
    for name, axes in kept.items():
        for k, keep in axes.items() if name in source.tensors else ():
            dead[source.labels.find(np.delete(source.tensors[name][k], keep))] = True
    survivors = Survivors(source.labels, dead)
    tensors = _tensors(module, source)
    left = {name: _sliced(t, _kept(source.tensors[name], survivors)) for name, t in tensors.items()}
    return rewritten(source, survivors, left)


def _kept(axes: Axes, survivors: Survivors) -> dict[int, Indices]:
    keep = {k: survivors.keep(axis) for k, axis in enumerate(axes)}
    return {k: positions for k, positions in keep.items() if len(positions) < len(axes[k])}


def replay(module: nn.Module, example_inputs: tuple[Tensor, ...], step: Step) -> nn.Module:
    """The structure that ``step`` left, from the network that it started from; load the weights afterwards."""
    kept = positions(step)
    if not step["graph"]:
        smaller = _without(module, kept)
        attributes.apply(smaller, step["attributes"])
        return smaller
    source = trace(module, example_inputs, any_batch=True)
    return _as_graph(module, source, kept).train(module.training)


def positions(step: Step) -> dict[str, dict[int, Indices]]:
    """What is left of every tensor that was cut: name -> axis -> positions."""
    return {
        name: {int(k): np.concatenate([np.arange(a, b) for a, b in ranges]) for k, ranges in axes.items()}
        for name, axes in step.get("kept", {}).items()
    }


def _without(module: nn.Module, kept: Mapping[str, Mapping[int, Indices]]) -> nn.Module:
    """A copy with its tensors sliced, wherever it holds them, and without what it cached for inference."""
    return copied(module, lambda name, tensor: _sliced(tensor, kept.get(name, {})))


def copied(module: nn.Module, made: Callable[[str, Tensor], Tensor] | None = None) -> nn.Module:
    """A copy whose tensors, wherever it holds them, are ``made`` of the name and the tensor there; None: equal ones.

    Each is made once: weights that are shared stay so. Modes, hooks and frozen parameters are as they were.
    """
    make = made or (lambda _, tensor: _sliced(tensor, {}))
    names = tracing.names_of(module)
    held = [*module.parameters(), *module.buffers(), *tracing.plain_tensors(module).values()]
    memo = {id(tensor): make(names[id(tensor)], tensor) for tensor in held}
    were = [part.training for part in module.modules()]
    with modes.evaluating(module):
        smaller = copy.deepcopy(module, memo)
    modes.set_modes(dict(zip(smaller.modules(), were, strict=True)))
    return smaller


def _sliced(tensor: Tensor, keep: Mapping[int, Indices]) -> Tensor:
    """What is left of a tensor, in its order of memory; a parameter stays one."""
    last = tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=LAST)
    result = tensor.detach()
    for axis, positions in keep.items():
        result = result.index_select(axis, torch.from_numpy(positions).to(result.device))
    result = result.clone(memory_format=LAST if last else torch.preserve_format)
    return nn.Parameter(result, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result


def _ranges(positions: Indices) -> list[list[int]]:
    """Sorted positions as half-open ranges."""
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    return [[int(run[0]), int(run[-1]) + 1] for run in np.split(positions, breaks)]
