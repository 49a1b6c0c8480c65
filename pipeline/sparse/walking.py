"""A traced network walked through operator by operator, by many batches in step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from jetpress.pipeline.network.channels.graph import Trace, trace
from jetpress.pipeline.training.allocator import keep_memory

ALIVE = 2**27
"""Numbers of all feature maps that are kept at a time (0.5 GB)."""


def traced(module: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> Trace:
    """``module`` as :func:`walk` takes it. What is done to its tensors in place is done to those of the trace.

    Where the batches are of one size it is recorded at that, which is quicker than an export for every size.

    Raises:
        StageError: it cannot be traced.
    """
    if len({len(x) for batch in batches for x in batch}) == 1:
        return trace(module, batches[0])
    return trace(module, tuple(x[:2] for x in batches[0]), any_batch=True)


def walk(
    source: Trace, batches: Sequence[tuple[Tensor, ...]], wanted: Container[fx.Node]
) -> Iterator[tuple[fx.Node, list[dict[fx.Node, Any]]]]:
    """Run the graph over the batches in step; stop before each wanted operator to show what is known by then.

    Where feature maps are large the first batches go alone: the others follow, from the start, once the maps from there
    on are small enough for all that are on the way.
    """
    keep_memory()
    nodes = list(source.module.graph.nodes)
    last_use = {used: node for node in nodes for used in node.all_input_nodes}
    most = _samples_at_once(nodes, last_use)
    runs: list[fx.Interpreter] = []
    for number, node in enumerate(nodes):
        if node.op == "output":
            return
        while len(runs) < len(batches) and (not runs or (len(runs) + 1) * len(batches[0][0]) <= most[number]):
            run = fx.Interpreter(source.module, garbage_collect_values=False)
            run.args_iter = iter(batches[len(runs)])
            for earlier in nodes[:number]:
                step(run, earlier, last_use)
            runs.append(run)
        if node in wanted:
            yield node, [run.env for run in runs]
        for run in runs:
            step(run, node, last_use)


def step(run: fx.Interpreter, node: fx.Node, last_use: Mapping[fx.Node, fx.Node]) -> None:
    """Run one operator, and forget what nothing reads any more."""
    with torch.no_grad():
        run.env[node] = run.run_node(node)
    for used in node.all_input_nodes:
        if last_use[used] is node:
            run.env.pop(used, None)


def _samples_at_once(nodes: Sequence[fx.Node], last_use: Mapping[fx.Node, fx.Node]) -> list[int]:
    """For each node: how many samples may go through it and through all that follow, by what they keep in memory."""
    alive, peaks = dict[fx.Node, float](), list[float]()
    given = [shape for node in nodes if node.op == "placeholder" for shape in node.meta["shapes"] if shape]
    size = given[0][0] if given else 1
    for node in nodes:
        if node.op in (
            "placeholder",
            "call_function",
        ):  # windows of Swin, say, are along the axis of the batch
            alive[node] = sum(math.prod(shape) for shape in node.meta.get("shapes", ())) / size
        peaks.append(sum(alive.values()))
        for used in node.all_input_nodes:
            if last_use[used] is node:
                alive.pop(used, None)
    from_here = itertools.accumulate(reversed(peaks), max)
    return [int(ALIVE / max(peak, 1)) for peak in from_here][::-1]
