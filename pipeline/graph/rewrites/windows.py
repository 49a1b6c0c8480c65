"""Windows and borders that TensorRT's importers do not take: cropping, wrapping, dilated pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from jetpress.pipeline.graph.rewrites.attributes import LAST
from jetpress.pipeline.graph.rewrites.site import RefusedError, Site

MOST_SLICES = 32


def crop(at: Site) -> ir.Value | bool:
    """A negative pad cuts off: first the cut as a Slice, then what is left to pad."""
    if at.constant_of(1) is None:
        return False
    pads = _pads(at)
    if (pads >= 0).all():
        return False
    if at.attribute("mode", "constant") not in ("constant", "edge"):
        raise RefusedError("it reflects what it cuts")
    cut, value = np.minimum(pads, 0), at.x()
    axes = np.flatnonzero(cut.any(0))
    starts, ends = -cut[0, axes], np.where(cut[1, axes] < 0, cut[1, axes], LAST)
    value = at.op("Slice", value, *(at.constant(one.astype(np.int64)) for one in (starts, ends, axes)))
    left = np.maximum(pads, 0)
    if not left.any():
        return value
    inputs = (value, at.constant(left.ravel()), *([at.input(2)] if at.input(2) is not None else []))
    return at.op("Pad", *inputs, mode=at.attribute("mode", "constant"))


def wrap(at: Site) -> ir.Value | bool:
    """What is put before comes from the end, and what is put behind from the start (opset 19)."""
    if at.attribute("mode", "constant") != "wrap":
        return False
    pads, shape, value = _pads(at), at.shape(), at.x()
    for axis in map(int, np.flatnonzero(pads.any(0))):
        before, behind = (int(one) for one in pads[:, axis])
        size = None if shape is None else shape[axis]
        if size is None or not (0 <= before <= size and 0 <= behind <= size):
            raise RefusedError("it wraps more than once, or a dimension of unknown length")
        parts = [
            *([_slice(at, value, axis, size - before, size)] if before else []),
            value,
            *([_slice(at, value, axis, 0, behind)] if behind else []),
        ]
        value = at.op("Concat", *parts, axis=axis)
    return value


def dilated_pool(at: Site) -> ir.Value | bool:
    """The largest of a window's places, one slice each: first along one dimension, then along the next."""
    dilations = at.attribute("dilations") or []
    if all(one == 1 for one in dilations):
        return False
    shape, kernel = at.shape(), at.attribute("kernel_shape")
    plain = at.attribute("auto_pad", "NOTSET") == "NOTSET" and not at.attribute("ceil_mode", 0)
    if shape is None or None in shape[2:] or not plain or sum(kernel) > MOST_SLICES:
        raise RefusedError("its shape is open, rounded up, padded by itself, or its window is large")
    if at.x().dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        raise RefusedError("it does not work on floating point")
    spatial = len(kernel)
    pads = np.array(at.attribute("pads") or [0] * 2 * spatial).reshape(2, spatial)
    strides = at.attribute("strides") or [1] * spatial
    value = at.x()
    if pads.any():
        lowest = at.constant(np.array(np.finfo(at.numpy_type()).min))
        full = np.hstack([np.zeros((2, 2), np.int64), pads]).ravel()
        value = at.op("Pad", value, at.constant(full), lowest, mode="constant")
    for axis, (taps, step, stride) in enumerate(zip(kernel, dilations, strides, strict=True)):
        size = (shape[2 + axis] or 0) + int(pads[:, axis].sum())
        count = (size - step * (taps - 1) - 1) // stride + 1
        ends = [tap * step + stride * (count - 1) + 1 for tap in range(taps)]
        parts = [_slice(at, value, 2 + axis, tap * step, end, stride) for tap, end in enumerate(ends)]
        value = at.op("Max", *parts) if len(parts) > 1 else parts[0]
    return value


def pool_indices(at: Site) -> tuple[ir.Value, ...] | bool:
    """Where the largest of each window lies, counted through the whole tensor: by ArgMax, as windows do not overlap."""
    if len(at.node.outputs) < 2:
        return False
    shape, kernel = [size or 0 for size in at.shape() or []], np.array(at.attribute("kernel_shape"))
    sizes, strides = np.array(shape[2:]), at.attribute("strides") or [1] * len(kernel)
    plain = not any(at.attribute("pads") or []) and not at.attribute("storage_order", 0)
    plain = plain and all(one == 1 for one in at.attribute("dilations") or [])
    if not (plain and np.prod(shape) and (kernel == strides).all() and not (sizes % kernel).any()):
        raise RefusedError("its shape is open, or its windows overlap, are padded or do not fill it")
    counts = sizes // kernel
    order = [0, 1, *range(2, 2 + 2 * len(kernel), 2), *range(3, 3 + 2 * len(kernel), 2)]
    apart = np.stack([counts, kernel], axis=1).ravel()
    windows = at.op("Reshape", at.x(), at.constant(np.array([*shape[:2], *apart])))
    windows = at.op("Transpose", windows, perm=order)
    windows = at.op("Reshape", windows, at.constant(np.array([*shape[:2], *counts, kernel.prod()])))
    place = at.op("ArgMax", windows, axis=len(shape), keepdims=0)
    inside = np.arange(sizes.prod()).reshape(sizes)[tuple(map(slice, kernel))].ravel()
    corners = np.arange(sizes.prod()).reshape(sizes)[tuple(slice(None, None, step) for step in kernel)]
    planes = sizes.prod() * np.arange(shape[0] * shape[1]).reshape(*shape[:2], *[1] * len(kernel))
    indices = at.op("Add", at.op("Gather", at.constant(inside), place), at.constant(corners))
    found = at.op("MaxPool", at.x(), kernel_shape=kernel.tolist(), strides=kernel.tolist())
    return found, at.op("Add", indices, at.constant(planes))


def _pads(at: Site) -> NDArray[Any]:
    """Of every dimension: before in the first row, behind in the second."""
    axes, pads, rank = at.constant_of(3), at.constant_of(1), at.rank()
    if pads is None or (at.input(3) is not None and axes is None):
        raise RefusedError("its pads or axes are computed at run time")
    full = np.zeros((2, rank), np.int64)
    full[:, np.arange(rank) if axes is None else axes.ravel() % rank] = pads.reshape(2, -1)
    return full


def _slice(at: Site, value: ir.Value, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
    numbers = (start, end, axis, *([step] if step != 1 else []))
    return at.op("Slice", value, *(at.constant(np.array([one], np.int64)) for one in numbers))
