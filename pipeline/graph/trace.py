"""PyTorch's own ONNX export, as it comes: nothing optimised, inputs and outputs named as the recipe says.

Values keep the names that the exporter gives them (``relu_3``), and the passes that follow keep them too. So
this graph is also what a finished one is held against when it gives other numbers
(:mod:`jetpress.pipeline.graph.divergence`).
"""

from __future__ import annotations

import ast
import inspect
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from jetpress.deploy.errors import JetpressError, RecipeError, StageError
from jetpress.pipeline.graph.projected import LSTM, is_projected, unprojected
from jetpress.pipeline.graph.translations import read_once
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels.inside import inside, outside
from jetpress.pipeline.recipe.sections.model import InputConfig

SCOPES = "pkg.torch.onnx.name_scopes"
"""A node's note of the modules that it came from, outermost first."""
BATCH = "batch"
"""Name of an open batch dimension."""


def trace(
    module: nn.Module,
    inputs: Sequence[InputConfig],
    outputs: Sequence[str],
    opset: int,
    batch: int = 1,
    max_batch: int | None = None,
) -> ir.Model:
    """Export ``module`` in evaluation mode.

    Args:
        inputs: in the order of ``forward``, shapes without the batch dimension.
        outputs: their names, flattened; empty for ``output``, ``output_1``, ...
        opset: 18 or newer: asked for less, PyTorch quietly writes 18.
        batch: size of a fixed batch.
        max_batch: largest batch of an open one; None for a fixed one.

    Raises:
        RecipeError: more or fewer output names than outputs.
        StageError: PyTorch cannot export this network, or not at this opset.
    """
    ends = [*(one.name for one in inputs), *(outputs or ["output"])]
    if len(set(ends)) != len(ends):
        raise RecipeError("model.inputs and model.outputs use a name twice", "name every one differently")
    return translate(capture(module, inputs, batch, max_batch), inputs, outputs, opset)


def capture(
    module: nn.Module, inputs: Sequence[InputConfig], batch: int = 1, max_batch: int | None = None
) -> ExportedProgram:
    """The first half of :func:`trace`: the operators that ``forward`` calls, whatever the opset.

    Raises:
        StageError: PyTorch cannot follow ``forward``, or it fixes the batch that should be open.
    """
    is_open = max_batch is not None and max_batch > 1
    open_batch = torch.export.Dim(BATCH, min=1, max=max_batch) if is_open else None
    given = models.example_inputs(tuple(inputs), 2 if is_open else batch)  # 1 would be taken for a constant
    shapes = _open(module, given, open_batch) if is_open else None
    failures = list[Exception]()
    for strict in (False, True):  # what fails without PyTorch's compiler sometimes works with it
        try:
            with quiet(), _Plain():
                return torch.export.export(inside(module.eval()), given, dynamic_shapes=shapes, strict=strict)
        except Exception as error:  # noqa: BLE001 - PyTorch raises whatever forward raises
            failures.append(error)
    why = failures[0]
    if f"({BATCH})" in str(why):
        raise StageError(
            f"an open batch was asked for, and forward fixes it at {given[0].shape[0]}",
            "write x.shape[0] instead of len(x), do not loop over the batch, or set export.dynamic_batch = false",
        ) from why
    raise _untraced(module, given, why, is_open) from why


def translate(
    program: ExportedProgram, inputs: Sequence[InputConfig], outputs: Sequence[str], opset: int
) -> ir.Model:
    """The second half of :func:`trace`: the operators of ``program`` as ONNX's.

    Raises:
        RecipeError: more or fewer output names than outputs.
        StageError: ONNX does not have what the network does, or not at this opset.
    """
    is_open = bool(program.range_constraints)
    named = tuple({0: BATCH} for _ in inputs) if is_open else None
    try:
        with quiet(), read_once(), _Plain():  # it is traced once more
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=named,
                optimize=False,
                verbose=False,
            )
    except Exception as error:
        raise _untranslated(program, error) from error
    assert made is not None
    model = made.model
    _take_out(model)
    if (delivered := model.opset_imports[""]) != opset:
        raise StageError(
            f"opset {opset} was asked for, and PyTorch's exporter wrote {delivered}",
            "set export.opset to 18 or older",
        )
    _drop_zero_biases(model.graph)
    _name(model, [one.name for one in inputs], outputs)
    return model


def _take_out(model: ir.Model) -> None:
    """Names as the network itself has them."""
    for value in list(model.graph.initializers.values()):
        value.name = outside(value.name or "")
    for node in model.graph.all_nodes():
        if scopes := node.metadata_props.get(SCOPES):
            node.metadata_props[SCOPES] = repr([outside(name) for name in ast.literal_eval(scopes)])


def _open(module: nn.Module, given: tuple[Tensor, ...], batch: object) -> tuple[Any, ...]:
    """An open axis 0 for every input, as ``forward`` takes them: ``*x`` is one argument that holds several."""
    bound = inspect.signature(module.forward).bind(*given).arguments.values()
    return tuple(tuple({0: batch} for _ in one) if isinstance(one, tuple) else {0: batch} for one in bound)


def _untraced(module: nn.Module, given: tuple[Tensor, ...], why: Exception, is_open: bool) -> StageError:
    """Does ``forward`` run at all? Only then it is how it is written that the tracer cannot follow."""
    try:
        with quiet(), torch.no_grad():
            module(*given)
    except Exception as own:  # noqa: BLE001 - whatever forward raises
        shapes = ", ".join(str(list(one.shape)) for one in given)
        what = f"{type(module).__name__} does not run on inputs of {shapes}: {cause(own)}"
        return StageError(what, "model.inputs and forward must agree")
    fixed = " nor fix the batch size; try export.dynamic_batch = false" if is_open else ""
    return StageError(
        f"PyTorch cannot export {type(module).__name__} to ONNX: {cause(why)}",
        f"its forward must not branch on the values of tensors{fixed}",
    )


def _untranslated(program: ExportedProgram, error: Exception) -> StageError:
    """An operator that ONNX has no word for is named with its place; anything else is said as it came."""
    why = cause(error)
    if (found := re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", why)) is None:
        return StageError(
            f"PyTorch cannot export this network to ONNX: {why}", "replace what the message names"
        )
    name = found[1]
    nodes = (node for node in program.graph.nodes if str(node.target).startswith(name))
    stacks = (list(node.meta.get("nn_module_stack", {}).values()) for node in nodes)
    module = outside(next((stack[-1][0] for stack in stacks if stack), ""))
    place = f" (PyTorch module {module!r})" if module else ""
    remedy = "write it with other operators in forward"
    if "adaptive_max_pool" in name:
        remedy = (
            "sizes that are no multiple of the output's have no fixed window: take max_pool, or multiples"
        )
    return StageError(f"ONNX has no operator for {name}{place}, and PyTorch cannot write it out", remedy)


class _Plain(TorchFunctionMode):
    """Attention and projected LSTMs in a form that the exporter takes.

    Attention has four axes, and results that lie as they are counted: the exporter translates no other number of axes
    (Twins has five). And where it decomposes attention (a mask that is computed, as in BEiT), the result lies otherwise
    in memory than that of the fused kernel which was traced, so that a ``view`` recorded after it cannot be taken.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        attends = func in (
            F.scaled_dot_product_attention,
            torch.ops.aten.scaled_dot_product_attention.default,
        )
        if attends:
            return _attention(func, *args, **(kwargs or {}))
        if func in LSTM and len(args) == 9 and is_projected(args[2], args[3], args[4], args[7]):
            return unprojected(func, *args)
        return func(*args, **(kwargs or {}))


def _attention(
    func: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **named: object,
) -> Tensor:
    """``[..., heads, tokens, width]`` as ``[n, heads, tokens, width]`` and back."""
    leading = query.shape[:-3]
    if not leading:
        query, key, value = (t.unsqueeze(0) for t in (query, key, value))
    if len(leading) > 1:
        query, key, value = (t.flatten(0, -4) for t in (query, key, value))
        if attn_mask is not None and attn_mask.ndim > 3:
            attn_mask = attn_mask.expand(*leading, *attn_mask.shape[-3:]).flatten(0, -4)
    found = func(query, key, value, attn_mask, dropout_p, is_causal, **named).contiguous()
    if len(leading) > 1:
        found = found.unflatten(0, leading)
    return found if leading else found.squeeze(0)


def _drop_zero_biases(graph: ir.Graph) -> None:
    """A convolution without bias stays one.

    PyTorch's exporter gives it zeros, and in three dimensions (onnxscript 0.7) as ``[channels, 2]``, which is no bias.
    """
    for node in graph.all_nodes():
        bias = node.inputs[2] if node.op_type == "Conv" and len(node.inputs) > 2 else None
        if bias is not None and bias.producer() is not None and _is_zero(bias):
            node.resize_inputs(2)


def _is_zero(value: ir.Value | None) -> bool:
    """Whether ``value`` is a constant of zeros, brought into another shape or type."""
    while (
        value is not None
        and (node := value.producer()) is not None
        and node.op_type in ("Expand", "CastLike")
    ):
        value = node.inputs[0]
    constant = ir.convenience.get_const_tensor(value) if value is not None else None
    return constant is not None and not constant.numpy().any()


def _name(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Names of inputs and outputs as asked; values inside that have one of these names give way."""
    graph = model.graph
    count = len(graph.outputs)
    names = list(outputs) or ["output", *(f"output_{i}" for i in range(1, count))]
    if len(names) != count:
        raise RecipeError(
            f"model.outputs names {len(names)} outputs, and the network has {count}",
            "name every tensor that forward returns, dicts and tuples flattened, or leave it out",
        )
    _separate(graph)
    ends = dict(zip([*graph.inputs, *graph.outputs], [*inputs, *names], strict=True))
    inner = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    for value in inner:
        if value not in ends and value.name in ends.values():
            value.name = f"{value.name}_inner"
    for value, name in ends.items():
        value.name = name


def _separate(graph: ir.Graph) -> None:
    """A tensor returned twice, or an input returned as it is, gets an Identity: an output is one value."""
    seen = {*graph.inputs, *graph.initializers.values()}
    for index, value in enumerate(graph.outputs):
        if value in seen:
            same = ir.node("Identity", [value], name=f"{value.name}_again")
            same.outputs[0].shape, same.outputs[0].type = value.shape, value.type
            graph.append(same)
            graph.outputs[index] = same.outputs[0]
        seen.add(graph.outputs[index])


def cause(error: BaseException) -> str:
    """The first line of the innermost error that says anything."""
    if isinstance(error, JetpressError):
        return error.what
    inner = error.__cause__ or error.__context__
    if inner is not None and str(inner).strip():
        return cause(inner)
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text[:300]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings, log lines and listings: what matters is checked and said by us."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
