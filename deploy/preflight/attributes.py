"""Conditions on what a node is set to: each takes a graph, a node and the sentence's match, and gives a finding."""

from __future__ import annotations

import re

from jetpress.deploy.preflight.finding import Check, Finding, quoted, rank_of
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node


def dilations(_: Graph, node: Node, __: re.Match[str]) -> Finding | None:
    """Pooling without dilation."""
    if all(dilation == 1 for dilation in node.integers("dilations")):
        return None
    return Finding(
        "error", "it has dilations, and TensorRT pools without", "use a convolution or pool without dilation"
    )


def lower_case(_: Graph, node: Node, __: re.Match[str]) -> Finding | None:
    """The letters of an Einsum."""
    equation = str(node.attributes.get("equation", ""))
    if equation == equation.lower():
        return None
    remedy = "name its axes with lower-case letters (jetpress does so in what it exports)"
    return Finding("error", f"its equation {equation!r} has capital letters", remedy)


def einsum(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """No ellipsis, no diagonal, no broadcasting in an Einsum."""
    equation = str(node.attributes.get("equation", "")).replace(" ", "")
    terms = equation.split("->")[0].split(",")
    why = ""
    if "." in equation:
        why = "an ellipsis"
    elif any(len(set(term)) < len(term) for term in terms):
        why = "a diagonal (a letter twice in one operand)"
    else:
        sizes: dict[str, set[int]] = {}
        for term, name in zip(terms, node.inputs, strict=False):
            for letter, size in zip(term, graph.value(name).shape or (), strict=False):
                sizes.setdefault(letter, set()).update({size} if size is not None else ())
        why = (
            "broadcasting between its operands"
            if any(len(different) > 1 for different in sizes.values())
            else ""
        )
    remedy = "write it as Transpose, Reshape and MatMul"
    return Finding("error", f"its equation {equation!r} needs {why}", remedy) if why else None


def resize(_: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """The modes of a Resize that the sentence lists."""
    asked = [("coordinate_transformation_mode", "half_pixel", 1), ("mode", "nearest", 2)]
    if node.attributes.get("mode", "nearest") == "nearest":
        asked.append(("nearest_mode", "round_prefer_floor", 3))
    for name, default, group in asked:
        value, taken = node.attributes.get(name, default), quoted(sentence[group])
        if value not in taken:
            return Finding("error", f"it has {name} = {value}", f"use one of {', '.join(taken)}")
    return None


def resize_axes(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """A Resize by scales that are computed takes all axes."""
    axes, rank = node.integers("axes"), rank_of(graph, node)
    if not axes or rank is None or axes == list(range(rank)) or graph.is_constant(node.input("scales")):
        return None
    return Finding(
        "error", "it scales some axes by a factor computed at run time", "make the scales a constant"
    )


def attribute(_: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """One attribute has one value."""
    name, value = sentence[1], int(sentence[2])
    if node.attributes.get(name, value) == value:
        return None
    return Finding(
        "error", f"it has {name} = {node.attributes[name]}, and TensorRT takes {value}", "change the layer"
    )


def only(name: str, allowed: str | int) -> Check:
    """The attribute may have its default alone."""

    def check(_: Graph, node: Node, __: re.Match[str]) -> Finding | None:
        value = node.attributes.get(name, allowed)
        if value == allowed:
            return None
        return Finding("error", f"it has {name} = {value}, and TensorRT takes {allowed}", "change the layer")

    return check


def no_attributes(_: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """None of the attributes that the sentence names."""
    there = [name for name in quoted(sentence[0]) if node.attributes.get(name)]
    return (
        Finding("error", f"TensorRT does not know its attribute {there[0]}", "leave it out")
        if there
        else None
    )


def same_activations(_: Graph, node: Node, __: re.Match[str]) -> Finding | None:
    """Both directions of a recurrent layer have the same activations."""
    chosen = node.texts("activations")
    half = len(chosen) // 2
    if node.attributes.get("direction") != "bidirectional" or chosen[:half] == chosen[half:]:
        return None
    return Finding("error", "its two directions have different activations", "use the same in both")


def ignored_seed(_: Graph, node: Node, __: re.Match[str]) -> Finding | None:
    """Random numbers do not repeat."""
    if "seed" not in node.attributes:
        return None
    return Finding("warning", "TensorRT ignores its seed", "give the random numbers as an input")
