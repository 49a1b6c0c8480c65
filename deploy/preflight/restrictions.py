"""The conditions under which a TensorRT takes an operator, held against a node.

operators.json has each condition in NVIDIA's words, and the words decide: ``RULES`` pairs a sentence with
the check that it stands for, so no rule names a version. A test holds that every sentence of every version
has its rule, or is in ``UNDECIDABLE``, because it cannot be told from the file or does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jetpress.deploy.preflight.graph import Graph, Node
from jetpress.deploy.preflight.operators import Row

FLOATS = (1, 10, 11, 16)
FOLD = "fix the shapes that it is computed from and fold constants, as `jetpress run` does when it exports"


@dataclass(frozen=True)
class Said:
    """What is to be said about one node: ``error`` or ``warning``, why, and what to do."""

    level: str
    what: str
    remedy: str = ""


Check = Callable[[Graph, Node, "re.Match[str]"], Said | None]


def violations(graph: Graph, node: Node, row: Row) -> Iterator[Said]:
    """What speaks against ``node`` in the conditions of ``row``."""
    for pattern, check in RULES:
        for found in re.finditer(pattern, row.restriction):
            said = check(graph, node, found)
            if said is not None:
                yield said


def _rank(graph: Graph, node: Node, name: int | str = 0) -> int | None:
    shape = graph.value(node.input(name)).shape
    return None if shape is None else len(shape)


def _quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def _constant(graph: Graph, node: Node, found: re.Match[str]) -> Said | None:
    for name in _quoted(found[0]):
        if node.input(name) and not graph.is_constant(node.input(name)):
            return Said("error", f"its input `{name}` is computed at run time and must be a constant", FOLD)
    return None


def _constant_where_float(graph: Graph, node: Node, found: re.Match[str]) -> Said | None:
    return _constant(graph, node, found) if graph.value(node.input(0)).kind in FLOATS else None


def _spatial(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    rank = _rank(graph, node)
    # The tables say 2 or 3; the importers also take 1 and add a second (onnx-tensorrt, poolingHelper).
    if rank is None or 3 <= rank <= 5:
        return None
    return Said(
        "error", f"it works on {rank - 2} spatial dimensions, and TensorRT on 1 to 3", "split or reshape"
    )


def _rank_3_to_5(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    rank = _rank(graph, node)
    if rank is None or 3 <= rank <= 5:
        return None
    return Said(
        "error", f"its input has {rank} dimensions, and TensorRT takes 3 to 5", "reshape before and after"
    )


def _must_be_4d(graph: Graph, node: Node, found: re.Match[str]) -> Said | None:
    names: list[int | str] = [*_quoted(found[0])] or [0]
    for name in names:
        rank = _rank(graph, node, name)
        if rank not in (None, 4):
            shown = f"`{name}`" if name else ""
            return Said(
                "error", f"its input {shown} has {rank} dimensions, and TensorRT takes 4", "reshape to 4"
            )
    return None


def _later_outputs(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    used = [name for name in node.outputs[1:] if name in graph.used]
    if not used:
        return None
    return Said(
        "error", "its second output is used, and TensorRT gives the first only", "compute it another way"
    )


def _dilations(_: Graph, node: Node, __: re.Match[str]) -> Said | None:
    if all(one == 1 for one in node.attributes.get("dilations", ())):
        return None
    return Said(
        "error", "it has dilations, and TensorRT pools without", "use a convolution or pool without dilation"
    )


def _lower_case(_: Graph, node: Node, __: re.Match[str]) -> Said | None:
    equation = str(node.attributes.get("equation", ""))
    if equation == equation.lower():
        return None
    remedy = "name its axes with lower-case letters (jetpress does so in what it exports)"
    return Said("error", f"its equation {equation!r} has capital letters", remedy)


def _einsum(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
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
        why = "broadcasting between its operands" if any(len(found) > 1 for found in sizes.values()) else ""
    remedy = "write it as Transpose, Reshape and MatMul"
    return Said("error", f"its equation {equation!r} needs {why}", remedy) if why else None


def _resize(_: Graph, node: Node, found: re.Match[str]) -> Said | None:
    asked = [("coordinate_transformation_mode", "half_pixel", 1), ("mode", "nearest", 2)]
    if node.attributes.get("mode", "nearest") == "nearest":
        asked.append(("nearest_mode", "round_prefer_floor", 3))
    for name, default, group in asked:
        value, taken = node.attributes.get(name, default), _quoted(found[group])
        if value not in taken:
            return Said("error", f"it has {name} = {value}", f"use one of {', '.join(taken)}")
    return None


def _resize_axes(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    axes, rank = node.attributes.get("axes"), _rank(graph, node)
    if (
        axes is None
        or rank is None
        or list(axes) == list(range(rank))
        or graph.is_constant(node.input("scales"))
    ):
        return None
    return Said("error", "it scales some axes by a factor computed at run time", "make the scales a constant")


def _attribute(_: Graph, node: Node, found: re.Match[str]) -> Said | None:
    name, value = found[1], int(found[2])
    if node.attributes.get(name, value) == value:
        return None
    return Said(
        "error", f"it has {name} = {node.attributes[name]}, and TensorRT takes {value}", "change the layer"
    )


def _only(name: str, allowed: str | int) -> Check:
    """The attribute may have its default alone."""

    def check(_: Graph, node: Node, __: re.Match[str]) -> Said | None:
        value = node.attributes.get(name, allowed)
        if value == allowed:
            return None
        return Said("error", f"it has {name} = {value}, and TensorRT takes {allowed}", "change the layer")

    return check


def _no_attributes(_: Graph, node: Node, found: re.Match[str]) -> Said | None:
    there = [name for name in _quoted(found[0]) if node.attributes.get(name)]
    return (
        Said("error", f"TensorRT does not know its attribute {there[0]}", "leave it out") if there else None
    )


def _no_inputs(_: Graph, node: Node, found: re.Match[str]) -> Said | None:
    there = [name for name in _quoted(found[0]) if node.input(name)]
    return (
        Said("error", f"TensorRT does not take its input {there[0]}", "compute it another way")
        if there
        else None
    )


def _static(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    if not graph.value(node.input(0)).open:
        return None
    return Said(
        "error", "its input has open dimensions", "export with fixed shapes (export.dynamic_batch = false)"
    )


def _static_axis(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    shape, axis = graph.value(node.input(0)).shape, node.attributes.get("axis", -1)
    if shape is None or not -len(shape) <= axis < len(shape) or shape[axis] is not None:
        return None
    return Said("error", f"the dimension of its axis {axis} is open", "export with this dimension fixed")


def _padded(_: Graph, __: Node, ___: re.Match[str]) -> Said | None:
    return Said(
        "warning",
        "its output has a fixed length: what is not found is filled up",
        "read as many rows as there are detections, or leave it to the post-processing",
    )


def _negative_indices(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    indices = graph.array(node.input("indices"))
    if indices is None or (indices >= 0).all():
        return None
    return Said("error", "it gathers at negative indices", "count them from the start")


def _two_zero_pads(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    pads, value = graph.array(node.input("pads")), graph.array(node.input("constant_value"))
    if node.attributes.get("mode", "constant") != "constant" or (value is not None and value.any()):
        return Said("error", "it pads with something else than zeros", "pad with zeros")
    if pads is not None and int(pads.reshape(2, -1).any(0).sum()) > 2:
        return Said("error", "it pads more than two dimensions", "pad one after the other")
    return None


def _same_activations(_: Graph, node: Node, __: re.Match[str]) -> Said | None:
    chosen = list(node.attributes.get("activations", ()))
    half = len(chosen) // 2
    if node.attributes.get("direction") != "bidirectional" or chosen[:half] == chosen[half:]:
        return None
    return Said("error", "its two directions have different activations", "use the same in both")


def _less_than(graph: Graph, node: Node, found: re.Match[str]) -> Said | None:
    array = graph.array(node.input(found[1]))
    if array is None or (array < int(found[2])).all():
        return None
    return Said(
        "error", f"`{found[1]}` is {int(array.max())}, and TensorRT takes less than {found[2]}", "take fewer"
    )


def _ignored_seed(_: Graph, node: Node, __: re.Match[str]) -> Said | None:
    if "seed" not in node.attributes:
        return None
    return Said("warning", "TensorRT ignores its seed", "give the random numbers as an input")


def _not_training(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    flag = graph.array(node.input(2)) if node.input(2) else None
    if not node.input(2) or (flag is not None and not flag.any()):
        return None
    return Said("error", "it is in training mode", "export the network in evaluation mode: model.eval()")


def _deformable(graph: Graph, node: Node, _: re.Match[str]) -> Said | None:
    rank, pads = _rank(graph, node), list(node.attributes.get("pads", ()))
    if rank not in (None, 3, 4):
        return Said("error", f"its input has {rank} dimensions, and TensorRT takes 3 or 4", "reshape")
    if pads[: len(pads) // 2] != pads[len(pads) // 2 :]:
        return Said("error", "it pads begin and end differently", "pad before it")
    return None


# fmt: off
RULES: tuple[tuple[str, Check], ...] = (
    (r"2D or 3D (?:[Pp]ooling|convolutions|deconvolutions) only", _spatial),
    (r"`axis` dimension of input must be a build-time constant", _static_axis),
    ((r"[^.;]*`(?: clip values| input)? must be (?:an initializer|initializers|(?:a|resolvable to a) "
      r"(?:build-time )?constant(?: tensor)?)(?! and)"), _constant),
    (r"Floating point inputs are only supported if [^.]* are initializers", _constant_where_float),
    (r"`Indices` output tensor unsupported|Only the first output `Y` is supported", _later_outputs),
    (r"(?:`\w+`(?:, )?)+ outputs unsupported", _later_outputs),
    (r"`dilations` must be empty or all ones", _dilations),
    (r"Input rank must be >=3 & <=5", _rank_3_to_5),
    (r"(?:(?:`\w+`(?:, | and )?)+|Input) must be 4D(?: input)?", _must_be_4d),
    (r"Ellipsis and diagonal operations are not supported\. Broadcasting between inputs is not supported",
     _einsum),
    (r"`equation` takes lower-case letters only", _lower_case),
    ((r"Supported resize transformation modes: ([^.]*)\. Supported resize modes: ([^.]*)\. "
      r"Supported nearest modes: ([^.]*)"), _resize),
    (r"Supported aspect ratio policy: `stretch`", _only("keep_aspect_ratio_policy", "stretch")),
    (r"When `scales` is a tensor input, `axes` must be an iota vector of length rank\(input\)", _resize_axes),
    (r"Antialiasing is not supported", _only("antialias", 0)),
    (r"`reduction` (?:is|other than `none` is) not supported", _only("reduction", "none")),
    (r"`(?!\w*zero_point)(\w+)` (?:attribute )?must be (-?\d+)(?=\.|$)", _attribute),
    (r"`sparse_value`[^.]* attributes are unsupported", _no_attributes),
    (r"(?:`\w+`(?: and )?)+ attributes unsupported", _no_attributes),
    (r"(?:`\w+`(?:, )?)+ inputs unsupported", _no_inputs),
    (r"Dynamic input shapes are unsupported|`input` must have static dimensions", _static),
    (r"Output has fixed shape and is padded to \[[^\]]*\]", _padded),
    (r"Only positive indices \(>=0\) are supported", _negative_indices),
    (r"Zero-constant padding on two dimensions only", _two_zero_pads),
    (r"For bidirectional \w+, activation functions must be the same for both the forward and reverse pass",
     _same_activations),
    (r"`(K)` input must be less than (\d+)", _less_than),
    (r"`seed` value is ignored by TensorRT", _ignored_seed),
    (r"`is_training` must be an initializer and evaluate to False", _not_training),
    ((r"`input` must have 1D or 2D spatial dimensions\. `pads` for the beginning and end along each spatial "
      r"axis must be the same"), _deformable),
)
# Said by deploy/quantization.py, unknowable from the file, or without consequence for it.
ELSEWHERE: tuple[str, ...] = (
    r"`[xy]_zero_point` must be (?:zero|0)",
    r"Output tensors of the two conditional branches must have [^.]*names",
    r"Scan output length cannot be dynamic",
    r"The shape of Loop carried dependencies must be the same across all loop iterations",
    r"Input must be real-valued",
    r"`position_ids` must be INT64",
    r"Compile with `-DSUPPORT_NEGATIVE_GATHER=1` to enable support for negative indices",
    r"`q_num_heads`/`kv_num_heads` given by the second dimension of Q and K/V",
)
# fmt: on
