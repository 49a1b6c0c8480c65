"""What a network gives with some of its weights changed, without running again what comes before them.

Its operators are recorded once; the recording is walked forward, and from where the changed weights are first read
on it is run beside. So a change late in a network costs little: over all layers about half of running it whole.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx, nn

from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels.graph import bound, operator_name, set_argument
from jetpress.pipeline.network.channels.tracing import names_of, recorded
from jetpress.pipeline.sparse.walking import step
from jetpress.pipeline.training.allocator import keep_memory

Outputs = tuple[Tensor, ...]
CLOSE = 1e-3
"""Of the largest output: so near a recording must come to the network itself."""


class Whole:
    """The network as it is, run from the start."""

    def __init__(self, module: nn.Module, inputs: Outputs) -> None:
        self.module, self.inputs = module, inputs

    def first_reader(self, names: Iterable[str]) -> int:
        """All changes are alike."""
        return 0

    def outputs(self, start: int = 0) -> Outputs:
        """With the weights as they are now."""
        return models.outputs_of(self.module(*self.inputs))


class Replay:
    """A recording on ``inputs``; what is asked for goes from the front to the back."""

    def __init__(self, module: nn.Module, inputs: Outputs) -> None:
        source = recorded(module, inputs)
        named = names_of(module)
        self.nodes = list(source.graph.nodes)
        self.names = {
            named[id(value)]: node
            for node in self.nodes
            if node.op == "get_attr" and id(value := getattr(source, str(node.target))) in named
        }
        for node in self.nodes:  # as in training.norms.of_the_batch
            if operator_name(node) == "batch_norm" and bound(node)["running_mean"] is not None:
                for name, value in (("running_mean", None), ("running_var", None), ("training", True)):
                    set_argument(node, name, value)
        self.last_use = {used: node for node in self.nodes for used in node.all_input_nodes}
        self.written = _written(self.nodes)
        self.run = fx.Interpreter(source, garbage_collect_values=False)
        self.run.env.update(zip(self.nodes, inputs, strict=False))
        self.at = len(inputs)

    def first_reader(self, names: Iterable[str]) -> int:
        """Where one of these parameters is first read."""
        readers = {user for name in names if name in self.names for user in self.names[name].users}
        start = next((k for k, node in enumerate(self.nodes) if node in readers), 0)
        for made, last in reversed(self.written):  # what is changed in place from here on is made anew
            if made < start <= last:
                start = made
        return start

    def outputs(self, start: int = 0) -> Outputs:
        """With the weights as they are now, all that was read before node ``start`` being as it was."""
        self._forward(start)
        env, at = dict(self.run.env), self.at
        self._forward(len(self.nodes))
        found = self.run.env[self.nodes[-1]]
        self.run.env, self.at = env, at
        return tuple(one for one in found if isinstance(one, Tensor))

    def _forward(self, until: int) -> None:
        for node in self.nodes[self.at : until]:
            step(self.run, node, self.last_use)
        self.at = max(self.at, until)


def of(module: nn.Module, inputs: Outputs) -> Whole | Replay:
    """A recording where it gives what the network gives with BatchNorm on the statistics of the batch."""
    keep_memory()
    whole = Whole(module, inputs)
    wanted = whole.outputs()
    try:
        replay = Replay(module, inputs)
        found = replay.outputs()
    except Exception:  # noqa: BLE001  (the user's code runs, and may do anything)
        return whole
    return replay if len(found) == len(wanted) and all(map(_alike, wanted, found)) else whole


def _alike(wanted: Tensor, found: Tensor) -> bool:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return False
    wanted, found = wanted.double(), found.double()
    return bool(
        torch.allclose(wanted, found, rtol=0.0, atol=CLOSE * float(wanted.abs().max()), equal_nan=True)
    )


def _written(nodes: Sequence[fx.Node]) -> list[tuple[int, int]]:
    """Where a tensor is made, and where it is last changed in place: in the order of the former."""
    number = {node: k for k, node in enumerate(nodes)}
    roots, found = dict[fx.Node, fx.Node](), dict[int, int]()
    for node in nodes:
        schema = getattr(node.target, "_schema", None)
        result = schema.returns[0].alias_info if schema is not None and schema.returns else None
        if (result is not None or node.target is operator.getitem) and isinstance(node.args[0], fx.Node):
            roots[node] = roots.get(node.args[0], node.args[0])
        if schema is not None and schema.is_mutable:
            root = roots.get(node, node)
            if root.op != "call_function":
                raise ValueError("an input or a parameter is changed in place")
            found[number[root]] = number[node]
    return sorted(found.items())
