"""Translations and their signatures are read once, given back, and make the same files."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module

import onnx_ir as ir
import pytest
from torch import nn

from jetpress.pipeline.graph import trace
from jetpress.pipeline.graph.translations import read_once
from jetpress.pipeline.recipe.sections.model import InputConfig

INPUTS = [InputConfig((4,))]


def exported() -> bytes:
    module = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    made = trace.translate(trace.capture(module, INPUTS), INPUTS, (), 18)
    return bytes(ir.to_proto(made).SerializeToString(deterministic=True))


def test_it_is_read_once_and_given_back() -> None:
    asked = vars(import_module("torch.onnx._internal._lazy_import"))["onnxscript_apis"]
    own = asked.get_torchlib_ops
    with read_once():
        listed = asked.get_torchlib_ops()
        assert listed is asked.get_torchlib_ops()
        with read_once():
            assert listed == asked.get_torchlib_ops()
    assert asked.get_torchlib_ops is own


def test_signatures_are_read_once_and_given_back() -> None:
    asked = import_module("torch.onnx._internal.exporter._registration")
    schemas = vars(asked)["_schemas"]
    own = schemas.op_signature_from_function
    with read_once():
        first, again = (asked.ONNXRegistry.from_torchlib().functions for _ in range(2))
    assert first.keys() == again.keys()
    for name in first:
        assert all(a.signature is b.signature for a, b in zip(first[name], again[name], strict=True))
    assert schemas.op_signature_from_function is own


def test_operators_are_listed_once_in_an_export_and_again_in_the_next() -> None:
    utils = import_module("torch._export.utils")
    own, kept = utils._materialize_cpp_cia_ops, []
    for _ in range(2):
        with read_once():
            kept.append(utils._materialize_cpp_cia_ops)
            assert kept[-1].cache_info().currsize == 0
    assert kept[0] is not kept[1]
    assert utils._materialize_cpp_cia_ops is own


def test_an_export_is_the_same_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first with it, a later one, which finds them, and one that reads its own."""
    first, again = exported(), exported()
    monkeypatch.setattr(trace, "read_once", nullcontext)
    assert first == again == exported()
