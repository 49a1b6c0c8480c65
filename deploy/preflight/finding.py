"""What is to be said about one node, and the shape of a check that may say it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node


@dataclass(frozen=True)
class Finding:
    """``error`` or ``warning``, why, and what to do."""

    level: str
    what: str
    remedy: str = ""


Check = Callable[[Graph, Node, "re.Match[str]"], Finding | None]
"""Holds a node against one sentence of the operator table, given as the match of its pattern."""


def rank_of(graph: Graph, node: Node, name: int | str = 0) -> int | None:
    """How many dimensions an input has; None where that is not known."""
    shape = graph.value(node.input(name)).shape
    return None if shape is None else len(shape)


def quoted(text: str) -> list[str]:
    """The names that a sentence has in backquotes."""
    return re.findall(r"`([^`]+)`", text)
