"""The shapes that a file's inputs take: those it states, those that are asked for, and which axes stay open.

An open axis has a name (``batch``, ``height``), and the same name is the same size everywhere. So a size that is
asked for of one input is known of every other, and inside of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import onnx

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.graph.exporting import described
from jetpress.pipeline.recipe.given import Sizes, Sizing
from jetpress.pipeline.store.facts.onnx_file import Profile, TensorSpec

Ends = tuple[int, int, int]
"""Least, usual and largest size of an axis."""


def inputs_of(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What has to be fed: old files list their weights among the inputs."""
    weights = {one.name for one in proto.graph.initializer}
    return [one for one in proto.graph.input if one.name not in weights]


def settle(proto: onnx.ModelProto, asked: Mapping[str, Sizing]) -> tuple[list[TensorSpec], list[str]]:
    """Give every input its shape, in place; what was assumed, in words.

    An axis that is asked for in one size is fixed; in several it stays open, with a profile. An open first axis that
    nothing is said about becomes 1.

    Raises:
        RecipeError: there is no such input, the shape is not one that it takes, or an open axis is not said.
    """
    inputs = inputs_of(proto)
    names = [one.name for one in inputs]
    for name in asked:
        if name not in names:
            hint = f"{did_you_mean(name, names)} It takes {', '.join(map(_shown, inputs))}".strip()
            raise RecipeError(f"--shape {name}=...: the file has no input {name!r}", hint)
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    inputs = list(proto.graph.input)
    sizes, said = _sizes(inputs, asked), list[str]()
    specs = []
    for value in inputs:
        ends = [_end(value, axis, sizes, said) for axis in range(len(value.type.tensor_type.shape.dim))]
        for dim, (low, _, high) in zip(value.type.tensor_type.shape.dim, ends, strict=True):
            if low == high:
                dim.dim_value = low
        least, usual, most = (tuple(end[side] for end in ends) for side in range(3))
        profile = Profile(least, usual, most) if least != most else None
        specs.append(replace(described(value), shape=usual, profile=profile))
    _forget(proto, sizes)
    return specs, said


def _sizes(inputs: Sequence[onnx.ValueInfoProto], asked: Mapping[str, Sizing]) -> dict[str, Ends]:
    """The sizes of every named axis that something is said about. Axes without a name get one."""
    sizes: dict[str, Ends] = {}
    for value in inputs:
        if value.type.WhichOneof("value") != "tensor_type":
            raise RecipeError(f"input {value.name!r} is no tensor", "TensorRT takes tensors only")
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if dim.dim_value <= 0 and not dim.dim_param.strip("?"):  # some exporters write -1, some ?
                dim.dim_param = f"{value.name}_{axis}"
        wanted = asked.get(value.name)
        if wanted is None:
            continue
        if not value.type.tensor_type.HasField("shape"):
            dims.extend(
                onnx.TensorShapeProto.Dimension(dim_param=f"{value.name}_{n}") for n in range(len(wanted.opt))
            )
        if len(dims) != len(wanted.opt):
            raise RecipeError(
                f"--shape {value.name}={_row(wanted.opt)}: the input has {len(dims)} axes",
                f"it is {_shown(value)}",
            )
        for dim, *ends in zip(dims, wanted.min, wanted.opt, wanted.max, strict=True):
            now = (ends[0], ends[1], ends[2])
            before = (dim.dim_value,) * 3 if dim.dim_value > 0 else sizes.setdefault(dim.dim_param, now)
            if before != now:
                what = f"--shape {value.name}={_row(wanted.opt)}: an axis is {before[1]} already"
                raise RecipeError(what, f"the file takes {_shown(value)}; the same name is the same size")
    return sizes


def _end(value: onnx.ValueInfoProto, axis: int, sizes: dict[str, Ends], said: list[str]) -> Ends:
    """Sizes of one axis."""
    dim = value.type.tensor_type.shape.dim[axis]
    if dim.dim_value > 0:
        return (dim.dim_value,) * 3
    if dim.dim_param not in sizes:
        if axis:
            usual = "x".join(
                str(one.dim_value) if one.dim_value > 0 else "N" for one in value.type.tensor_type.shape.dim
            )
            raise RecipeError(
                f"input {_shown(value)} has open axes, and an engine needs their sizes",
                f"--shape {value.name}={usual} with numbers for N, or MIN:OPT:MAX for several sizes",
            )
        sizes[dim.dim_param] = (1, 1, 1)
        said.append(f"{value.name}: the open first axis is 1 (--shape {value.name}=... says otherwise)")
    return sizes[dim.dim_param]


def _forget(proto: onnx.ModelProto, sizes: Mapping[str, Ends]) -> None:
    """Shapes behind the inputs follow from them; what the file says of them may be another's."""
    fixed = {name: ends[0] for name, ends in sizes.items() if ends[0] == ends[2]}
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param in fixed:
                dim.dim_value = fixed[dim.dim_param]
            elif dim.dim_value <= 0 and not dim.dim_param.strip("?"):
                dim.dim_param = f"{value.name}_{axis}"


def each(specs: Sequence[TensorSpec]) -> Iterator[tuple[str, dict[str, Sizes]]]:
    """The shapes that a file is held against: the usual ones, and the ends of its profiles."""
    yield "usual", {one.name: _numbers(one.shape) for one in specs}
    if any(one.profile for one in specs):
        for kind in ("min", "max"):
            yield kind, {one.name: _numbers(getattr(one.profile, kind, one.shape)) for one in specs}


def _numbers(shape: Sequence[int | str]) -> Sizes:
    return tuple(size for size in shape if isinstance(size, int))


def _row(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _shown(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"{value.name} [{', '.join(str(d.dim_value) if d.dim_value > 0 else d.dim_param or '?' for d in dims)}]"
