"""Constants folded, BatchNorm fused, no-ops and dead nodes gone; nodes named after the modules they came from.

The passes are those of onnxscript's optimizer, which PyTorch's exporter itself uses, in the same order, but for one
rule: two slices that make one Split. It tries every slice with every other and walks the whole graph for each, so that
its time grows with the square of the graph: of the 6.5 s that a Swin-T took it took five.
"""

from __future__ import annotations

import ast
from string import ascii_lowercase

import onnx_ir as ir
from onnx_ir.passes import Sequential, common
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules.common import slice_split_rule

from jetpress.pipeline.graph import batchnorm
from jetpress.pipeline.graph.trace import SCOPES, quiet

LARGEST_CONSTANT = 2**26
"""Elements of a constant up to which it is folded: position tables and transposed weights, all of them."""
ROUNDS = 2
RULES = [
    rule
    for rule in rewriter._DEFAULT_REWRITE_RULES  # noqa: SLF001 - there is no other list of them
    if rule.name != slice_split_rule.name
]


def simplify(model: ir.Model, named: bool = False) -> None:
    """All of the above, in place; nodes that are ``named`` already keep their names."""
    with quiet():
        common.InlinePass()(model)
        fold(model)
        batchnorm.fuse(model)
        # The optimizer loses types behind Reshapes; without them a CastLike stays, one for each layer of attention.
        common.ShapeInferencePass()(model)
        for _ in range(ROUNDS):
            fold(model)
            changed = rewriter.RewritePass(RULES)(model).modified
            common.RemoveUnusedNodesPass()(model)
            if not changed:
                break
        _PASSES(model)
    _lower_case(model)
    if not named:
        _name_nodes(model)


def _lower_case(model: ir.Model) -> None:
    """Name the axes of every Einsum ``a``, ``b``, ...: TensorRT takes lower-case letters only (IEinsumLayer)."""
    for node in model.graph.all_nodes():
        if node.op_type == "Einsum":
            equation = node.attributes["equation"].as_string().replace(" ", "")
            letters = dict.fromkeys(filter(str.isalpha, equation))
            # Without an arrow the output's axes are in alphabetical order: then names mean something.
            if "->" in equation and len(letters) <= len(ascii_lowercase):
                renamed = str.maketrans(dict(zip(letters, ascii_lowercase, strict=False)))
                node.attributes["equation"] = ir.AttrString("equation", equation.translate(renamed))


def fold(model: ir.Model) -> None:
    """Compute what follows from constants, in place; an If whose condition is one becomes its branch."""
    optimizer.fold_constants(model, input_size_limit=LARGEST_CONSTANT, output_size_limit=LARGEST_CONSTANT)


_PASSES = Sequential(
    common.RemoveUnusedOpsetsPass(),
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    common.LiftSubgraphInitializersToMainGraphPass(),
    common.DeduplicateInitializersPass(),
    common.CommonSubexpressionEliminationPass(),
    common.OutputFixPass(),
    common.NameFixPass(),
    common.ShapeInferencePass(),
)


def _name_nodes(model: ir.Model) -> None:
    """Name every node after the innermost PyTorch module that it came from: ``layer1.0.conv1/Conv``."""
    for node in model.graph.all_nodes():
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
        node.name = "/".join([*scopes[-2:-1], node.op_type]).lstrip("/")
