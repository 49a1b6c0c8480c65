"""How much memory a board needs to build and to run an engine: an estimate, before it dies of it.

The builder holds the parsed weights, a copy of them, and the engine's; then the largest set of activations
that live at one time, and scratch memory. What Linux, the CUDA context and TensorRT's libraries take beside
that, and how much scratch is enough, are rules of thumb.
"""

from __future__ import annotations

from dataclasses import dataclass

from jetpress.deploy.preflight.graph import Graph

SYSTEM = int(1.5 * 2**30)
WORKSPACE = 256 * 2**20
"""TensorRT takes more where it can, and is slower with less."""


@dataclass(frozen=True)
class Need:
    """Estimated bytes."""

    weights: int
    """As the file has them, like the activations."""
    activations: int
    """Of the tensors that are alive at once."""
    building: int
    """While the engine is built."""
    running: int
    """While it runs."""


def estimate(graph: Graph, precision: str) -> Need:
    """Bytes of the weights and activations as the file has them, and what building and running take."""
    share = 1.0 if precision == "fp32" else 0.5
    weights, activations = graph.weight_bytes, most_alive(graph)
    running = int((weights + activations) * share)
    building = 2 * weights + running + WORKSPACE
    return Need(weights, activations, building, running)


def most_alive(graph: Graph) -> int:
    """The most bytes of activations that are needed at one time, open dimensions taken as 1."""
    last = {name: at for at, node in enumerate(graph.nodes) for name in node.inputs}
    alive = sum(value.bytes for value in graph.inputs.values())
    most = alive
    for at, node in enumerate(graph.nodes):
        made = [name for name in node.outputs if name and name not in graph.constants]
        alive += sum(graph.value(name).bytes for name in made)
        most = max(most, alive)
        done = [name for name in {*node.inputs, *made} if name and last.get(name, at) <= at]
        alive -= sum(graph.value(name).bytes for name in done if name not in graph.constants)
    return most


def shown(size: int) -> str:
    """As people say it."""
    return f"{size / 2**30:.1f} GiB"
