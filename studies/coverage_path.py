"""One network through the path that decides whether it counts.

Prune (l2, ratio 0.5, widths a multiple of 8) > one training step at another batch size > save > replay, load,
equal > ONNX from one trace at every opset asked for > equal in ONNX Runtime > taken by the preflight of a board. A
record says how far it came. A network of which nothing goes is a failure.
torch-pruning goes as far as the training step.
"""

from __future__ import annotations

import collections
import copy
import functools
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from jetpress.deploy.errors import JetpressError
from jetpress.deploy.preflight import compatibility
from jetpress.deploy.targets import find
from jetpress.pipeline.graph import exporting, session
from jetpress.pipeline.network import channels, checkpoints, models
from jetpress.pipeline.pruning import allocate, criteria
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from studies.coverage_networks import TooLargeError, build
from studies.coverage_table import OURS

RATIO, MULTIPLE = 0.5, 8
TOLERANCE = 1e-3
"""Of ONNX Runtime, single precision: largest error relative to the largest output."""

BOARD = "orin-nano"
"""Whose operator table a file is held against."""
Record = dict[str, Any]


def one(reference: str, tool: str, opsets: Sequence[int]) -> Record:
    """The record of one network: what came out, or where and how it failed."""
    record: Record = {"network": reference, "tool": tool, "ok": False, "stage": "build"}
    started = time.process_time()
    try:
        module, inputs, batch = build(reference)
        smaller = _ours(record, module, batch) if tool == OURS else _peer(record, module, batch)
        record |= {
            "parameters_before": sum(p.numel() for p in module.parameters()),
            "parameters": sum(p.numel() for p in smaller.parameters()),
        }
        record["ok"] = tool != OURS or not opsets
        if tool == OURS and opsets:
            record["stage"] = "export"
            record["opsets"] = _onnx(smaller, inputs, opsets)
            first = record["opsets"][str(opsets[0])]
            refused = first.get("refused", [])
            record["ok"] = first.get("error", np.inf) <= TOLERANCE and not refused and bool(record["cut"])
            if not record["cut"]:
                record |= {"stage": "prune", "error": "no group of channels was cut"}
            elif refused:
                record |= {"stage": "preflight", "error": refused[0]}
            elif not record["ok"]:
                record["error"] = first.get("reason") or f"ONNX Runtime differs by {first['error']:.1e}"
    except TooLargeError as error:
        record |= {"skipped": str(error)}
    except Exception as error:  # noqa: BLE001  (a crash is a result here)
        record["error"] = _line(error)
    record["seconds"] = round(time.process_time() - started, 1)
    return record


def _line(error: BaseException) -> str:
    text = error.what if isinstance(error, JetpressError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _ours(record: Record, module: nn.Module, batch: tuple[Tensor, ...]) -> nn.Module:
    record["stage"] = "analysis"
    started = time.process_time()
    graph = channels.analyse(module, batch)
    record["analysis_s"] = time.process_time() - started
    record["recorded"] = "_Recording" in {kind.__name__ for kind in type(graph.trace.module).__mro__}
    record["groups"], record["fixed"] = len(graph.groups), fixed_by(graph.fixed)
    record["stage"] = "prune"
    removal = allocate.uniform(graph, criteria.scores("l2", module, graph), RATIO, allocate.Room(MULTIPLE))
    smaller, step = channels.cut(module, batch, graph, removal)
    record |= {"cut": len(step["units"]), "refused": step["refused"], "graph": step["graph"]}
    record |= {"oracle": step["error"], "precision": step["precision"]}
    record["why"] = step.get("why", "")
    record["odd"] = sum(1 for g in graph.groups if g.name in step["units"] and _left(g, step) % MULTIPLE)
    record["stage"] = "train"
    _train_step(smaller, batch)
    record["stage"] = "load"
    _check_replay(module, smaller, batch, json.loads(json.dumps(step)))
    return smaller


def fixed_by(fixed: Mapping[str, str]) -> dict[str, int]:
    """Operator -> parameters of which it fixed all or some channels."""
    counts = collections.Counter(re.sub(r"^\d+ of \d+ channels: ", "", why) for why in fixed.values())
    result: collections.Counter[str] = collections.Counter()
    for why, count in counts.items():
        result[why.partition(" in ")[0]] += count
    return dict(result)


def _left(group: channels.Group, step: Mapping[str, Any]) -> int:
    before, after = step["units"][group.name]
    return int(group.width * after // before)


def _peer(record: Record, module: nn.Module, batch: tuple[Tensor, ...]) -> nn.Module:
    """The same with torch-pruning, called as its README shows: group magnitude, only the classifier ignored."""
    import torch_pruning

    smaller = copy.deepcopy(module)
    last = [part for part in smaller.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    record["stage"] = "analysis"
    started = time.process_time()
    channels.analyse(module, batch)
    record["jetpress_analysis_s"] = time.process_time() - started  # of the same minute: a pair
    started = time.process_time()
    pruner = torch_pruning.pruner.MagnitudePruner(
        smaller,
        batch[0] if len(batch) == 1 else batch,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        round_to=MULTIPLE,
        ignored_layers=last,
    )
    groups = pruner.DG.get_all_groups(
        ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types
    )
    record["groups"] = len(list(groups))
    record["analysis_s"] = time.process_time() - started
    record["stage"] = "prune"
    pruner.step()
    record["stage"] = "train"
    _train_step(smaller, batch)
    return smaller


def _train_step(module: nn.Module, batch: tuple[Tensor, ...]) -> None:
    """One step at another batch size than the traced one; some weight gets a gradient."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4)
    found = models.outputs_of(module(*(torch.cat([x, x[:1]]) for x in batch)))
    losses = [(t.float() - 1).square().mean() for t in found if t.is_floating_point()]
    torch.stack(losses).sum().backward()
    if not any(p.grad is not None and bool(p.grad.any()) for p in module.parameters()):
        raise RuntimeError("no gradient arrives")
    optimizer.step()
    module.eval()


def _check_replay(
    module: nn.Module, smaller: nn.Module, batch: tuple[Tensor, ...], step: dict[str, Any]
) -> None:
    """Saved, replayed on the dense network and loaded, it gives the same numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_model(smaller, str(path))
        again = channels.replay(module, batch, step).eval()
        checkpoints.fill(again, load_file(path))
    with torch.no_grad():
        for a, b in zip(models.outputs_of(smaller(*batch)), models.outputs_of(again(*batch)), strict=True):
            if not torch.equal(a, b):
                raise RuntimeError(f"replayed, the outputs differ by {(a - b).abs().max():.1e}")


def _onnx(module: nn.Module, inputs: tuple[InputConfig, ...], opsets: Sequence[int]) -> dict[str, Record]:
    """Per opset what was delivered and how far ONNX Runtime is off; at batch 1, as engines are built."""
    batch = models.example_inputs(inputs, 1, seed=1)
    with torch.no_grad():
        expected = models.outputs_of(module(*batch))
    found: dict[str, Record] = {}
    with _one_trace():
        for opset in opsets:
            try:
                config = ExportConfig(
                    opset=opset, parser=find(BOARD).tensorrt
                )  # as a run for that board does
                proto = exporting.to_onnx(module, inputs, (), config)
                error = _error(proto, batch, expected)
                found[str(opset)] = {"delivered": exporting.opset_of(proto), "error": error}
                if opset == opsets[0]:
                    found[str(opset)]["refused"] = _refused(proto)
            except Exception as problem:  # noqa: BLE001
                found[str(opset)] = {"reason": _line(problem)}
    return found


def _refused(proto: onnx.ModelProto) -> list[str]:
    """What the preflight of :data:`BOARD` has against it."""
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, path := Path(folder) / "model.onnx")
        verdict = compatibility.preflight(path, find(BOARD), trial=False)
    return [] if verdict.ok else [one.what for one in verdict.problems if one.level == "error"]


@contextmanager
def _one_trace() -> Iterator[None]:
    """All opsets up to 18 are lowered from the same simplified trace: make it once, and hand out copies."""
    stage = vars(exporting)
    trace, simplify = stage["trace"], stage["simplify"]

    @functools.cache
    def made(*arguments: Any, **named: Any) -> Any:
        model = trace(*arguments, **named)
        simplify(model)
        return model

    stage["trace"] = lambda *arguments, **named: made(*arguments, **named).clone()
    stage["simplify"] = lambda _: None
    try:
        yield
    finally:
        stage["trace"], stage["simplify"] = trace, simplify


def _error(model: onnx.ModelProto, batch: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    ((_, feed),) = session.feeds(model, batch, len(batch[0]))
    found = session.load(model, threads=1)(feed).values()  # this process may have been forked
    return max(
        float(np.abs(a - b.numpy()).max() / max(float(b.abs().max()), 1e-12))
        for a, b in zip(found, expected, strict=True)
    )
