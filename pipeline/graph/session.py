"""The one way to run an ONNX graph on this machine: in ONNX Runtime, on the CPU, by the names of its tensors.

Boards run engines by :mod:`jetpress.deploy.runner`; what runs here is the reference that those are held against.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph.suppress import PLUGIN, standard

Array = NDArray[Any]
Feed = Mapping[str, Array]
"""Input -> array, of the batch size and type that the graph takes."""
Run = Callable[[Feed], dict[str, Array]]
"""From a feed to the outputs by name: the graph's own in their order, then those shown besides."""


def load(
    model: onnx.ModelProto | Path,
    shown: Collection[str] = (),
    optimise: bool = True,
    threads: int = 0,
    unknown: str = "",
) -> Run:
    """A function that runs ``model``.

    Args:
        model: the graph, or its file where weights may lie beside it.
        shown: intermediate tensors that are to be outputs, too.
        optimise: False: ONNX Runtime fuses nothing, so that every tensor is really computed.
        threads: that one run takes; 0: one for each core.
        unknown: what a refusal means where the graph is not of our making; empty: it is.

    Raises:
        StageError: ONNX Runtime does not take the graph, or, from the function, what it is fed.
    """
    proto = _proto(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    # Its threads would wait by spinning, and PyTorch's need the cores in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What ONNX Runtime 1.31 does to INT8's Q/DQ it does to FP8's, too: it then refuses them or computes nonsense.
    if not optimise or any(one.data_type == onnx.TensorProto.FLOAT8E4M3FN for one in proto.graph.initializer):
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if isinstance(model, Path):
        folder = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(folder, str(model.resolve().parent))
    source = _showing(_known(proto, model), shown).SerializeToString()
    try:
        opened = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        what = f"{unknown or 'ONNX Runtime cannot load the graph'}: {_line(error)}"
        raise StageError(what, "export the network again" if unknown else "please report this") from error
    names = [one.name for one in opened.get_outputs()]

    def run(feed: Feed) -> dict[str, Array]:
        try:
            found = opened.run(names, dict(feed))
        except Exception as error:
            given = ", ".join(f"{name} {one.dtype} {list(one.shape)}" for name, one in feed.items())
            takes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in opened.get_inputs())
            what = f"ONNX Runtime cannot run the graph on {given}: {_line(error)}"
            raise StageError(what, f"it takes {takes}") from error
        return dict(zip(names, found, strict=True))

    return run


def feeds(
    model: onnx.ModelProto | Path, samples: Sequence[Any], at_once: int
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Samples in portions that ``model`` takes: how many of a portion are real, and the feed.

    Where the graph fixes the batch size every portion has that many, the last one filled up with its first sample.

    Args:
        samples: for each input in the graph's order ``[n, ...]``, an array or a tensor on the CPU.
        at_once: size of a portion where the batch is open.

    Raises:
        StageError: other inputs than the graph's: their number, or a type that cannot be theirs.
    """
    inputs = _proto(model).graph.input
    if len(samples) != len(inputs):
        what = f"{len(samples)} inputs are given, and the graph takes {len(inputs)}"
        raise StageError(what, f"it takes {', '.join(one.name for one in inputs)}")
    arrays = {one.name: _typed(np.asarray(given), one) for one, given in zip(inputs, samples, strict=True)}
    if len({len(one) for one in arrays.values()}) != 1:
        counts = ", ".join(f"{name} {len(one)}" for name, one in arrays.items())
        raise StageError(f"the inputs have different numbers of samples: {counts}", "give each the same")
    fixed = inputs[0].type.tensor_type.shape.dim[0].dim_value  # 0 where the batch is open
    size, whole = fixed or at_once, len(next(iter(arrays.values())))
    for start in range(0, whole, size):
        real = min(size, whole - start)
        yield real, {name: _filled(one[start : start + real], fixed) for name, one in arrays.items()}


def cut(output: Any, real: int) -> Array:
    """Of an array or tensor ``[batch, ...]`` the first ``real`` samples; a single number becomes ``[1]``."""
    return np.atleast_1d(np.asarray(output))[:real]


def tensors(model: onnx.ModelProto) -> list[str]:
    """Everything that a node of the main graph computes, in the order of the graph; not what a plugin does, whose
    place other nodes take here."""
    return [name for node in model.graph.node if node.op_type != PLUGIN for name in node.output if name]


def _proto(model: onnx.ModelProto | Path) -> onnx.ModelProto:
    return onnx.load(model, load_external_data=False) if isinstance(model, Path) else model


def _known(proto: onnx.ModelProto, model: onnx.ModelProto | Path) -> onnx.ModelProto:
    """Without the plugin of TensorRT that has a form in ONNX."""
    if not any(node.op_type == PLUGIN for node in proto.graph.node):
        return proto
    whole = onnx.load(model) if isinstance(model, Path) else proto
    plain = ir.from_proto(onnx.shape_inference.infer_shapes(whole))  # a graph in INT8 has lost its shapes
    standard(plain)
    return ir.to_proto(plain)


def _showing(proto: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A copy with more outputs. Polygraphy's ``ModifyOutputs`` reads names with brackets as patterns."""
    if not names:
        return proto
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    present = {one.name for one in proto.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=one) for one in names if one not in present)
    return shown


def _typed(array: Array, value: onnx.ValueInfoProto) -> Array:
    """In the type of an input: INT32 where the network takes INT64, but no other kind of number."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if not np.can_cast(array.dtype, kind, "same_kind"):
        raise StageError(f"input {value.name!r} is {array.dtype}", f"the graph takes {kind}")
    return array.astype(kind, copy=False)


def _filled(some: Array, batch: int) -> Array:
    missing = max(0, batch - len(some))
    return np.ascontiguousarray(np.concatenate([some, np.repeat(some[:1], missing, axis=0)]))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
