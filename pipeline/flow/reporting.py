"""From what a walk came by to the report."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from safetensors.numpy import load_file

from jetpress.benchmarks.report import record
from jetpress.benchmarks.report.record import Machine, RunReport, Stage
from jetpress.benchmarks.report.record.changes import (
    Check,
    Curve,
    Epoch,
    Histogram,
    Layer,
    Round,
    RoundTime,
    RoundTimes,
    SparseLayer,
    SparsityReport,
    Time,
    Unpruned,
)
from jetpress.benchmarks.report.record.engines import BuilderLog, EquivalenceRow, Findings, QuantizationReport
from jetpress.benchmarks.report.record.networks import NetworkReport, PartReport, Ratio, Ratios
from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.check import cores, cpu_name, gpu_name
from jetpress.deploy.targets import BOARD
from jetpress.pipeline.flow.layers import layers
from jetpress.pipeline.flow.measured import Session, benchmark, latency_of, mixed_latency, session
from jetpress.pipeline.flow.outcome import Exports, OnDevice, Outcome
from jetpress.pipeline.flow.predictions import pictured, predicted
from jetpress.pipeline.flow.rounds import Round as Pruned
from jetpress.pipeline.flow.verdict import verdict
from jetpress.pipeline.recipe.given import TABLES
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.sparse.kernels import TWIN, of_engine
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel, canonical
from jetpress.pipeline.store.facts.network import PartPoints, Points, Pruning
from jetpress.pipeline.store.facts.network import SparseLayer as MaskedLayer
from jetpress.pipeline.store.facts.onnx_file import Score
from jetpress.pipeline.store.fingerprint import versions
from jetpress.pipeline.store.steps import Step

HISTOGRAMS = 12
"""Calibrated tensors that are shown."""
LIBRARIES = {
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "numpy",
    *(one.module for one in BACKENDS.values()),
}


def report(outcome: Outcome, place: Path, steps: Sequence[Step], digest: str) -> RunReport:
    """All that is known about a run whose folder is ``place``; ``digest`` is of what the report is made of."""
    plan, device, found = outcome.plan, outcome.device, session(outcome.device.numbers)
    dense, compressed = _network(outcome, found, "dense"), _network(outcome, found, "compressed")
    judged, faster = benchmark(found, plan.recipe.budget), found.against.get("dense")
    networks = outcome.networks
    rounds = networks.rounds if networks else ()
    return RunReport(
        format=record.FORMAT,
        name=plan.recipe.name,
        jetpress=versions({"jetpress"}).get("jetpress", "0.1.0"),
        target=_target(plan),
        verdict=verdict(outcome, compressed, faster, judged),
        engine_built=device.engine is not None,
        next=device.next.format(bundle=place / "bundle", engine=place / "engine") or None,
        dense=dense,
        compressed=compressed,
        ratios=_ratios(dense, compressed, faster),
        benchmark=judged,
        layers=_cut(outcome) or _layers(rounds),
        unpruned=_unpruned(rounds),
        rounds=tuple(_round(number, one) for number, one in enumerate(rounds, 1)),
        curves=tuple(_curve(stage, made) for stage, made in networks.tuned) if networks else (),
        histograms=_histograms(networks.dense, networks.compressed) if networks else (),
        sparsity=_sparsity(outcome, found),
        quantization=_quantization(outcome.exports, found),
        equivalence=tuple(_equivalence(outcome)),
        builder=_builder(device),
        versions=versions(LIBRARIES),
        machine=Machine(cpu=cpu_name(), cores=cores(), gpu=gpu_name()),
        recipe=_decided(plan),
        reproduce=_again(plan, place),
        id=place.name,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        stages=tuple(Stage(**as_table(step)) for step in steps),
        digest=digest,
        measured=networks.dense.facts.measured if networks else "accuracy",
        unit=networks.dense.facts.unit if networks else "%",
        parts=tuple(_parts(outcome.accuracy.facts.parts)) if outcome.accuracy else (),
        predictions=predicted(outcome),
        samples=pictured(outcome),
        beside=_beside(outcome),
        layer_costs=layers(outcome),
        round_times=_round_times(device, rounds),
    )


def _decided(plan: Plan) -> dict[str, JsonValue]:
    """Every value decided that means something here."""
    whole = as_table(plan.recipe)
    if plan.file is not None:
        whole = {"file": as_table(plan.file), **{name: whole[name] for name in ("name", *TABLES)}}
    plain: dict[str, JsonValue] = json.loads(canonical(whole))
    return plain


def _again(plan: Plan, place: Path) -> str:
    """The command that does the same."""
    if plan.file is not None:
        return plan.file.reproduce
    target = BOARD if plan.target.derived else plan.target.name
    return f"jetpress run {place / 'recipe.toml'} --target {target}"


def _beside(outcome: Outcome) -> str:
    """What the compressed network is measured beside."""
    return "dense" if outcome.plan.file is None else f"the file {outcome.exports.dense.facts.headline}"


def _target(plan: Plan) -> dict[str, JsonValue]:
    """The target's record, and what was decided for it."""
    decided = {"precision": plan.recipe.build.precision, "opset": plan.recipe.export.opset}
    plain: dict[str, JsonValue] = json.loads(canonical({**as_table(plan.target), **decided}))
    return {key: plain[key] for key in (*as_table(plan.target), *decided)}


def _network(outcome: Outcome, found: Session, name: Literal["dense", "compressed"]) -> NetworkReport:
    """Everything known about the dense or the compressed network."""
    made: Checkpoint | None = getattr(outcome.networks, name, None)
    exported: OnnxModel = getattr(outcome.exports, name)
    accuracy: Points | None = getattr(outcome.accuracy.facts, name) if outcome.accuracy else None
    engine, tried = outcome.device.engine, outcome.device.tried
    timed = found.engines.get(name)
    cut, after = outcome.exports.compressed.facts.cut, name == "compressed"
    return NetworkReport(
        validation=accuracy.validation if accuracy else None,
        test=accuracy.test if accuracy else None,
        parameters=made.facts.parameters if made else cut.parameters[after] if cut else None,
        macs=made.facts.macs if made else cut.macs[after] if cut else None,
        onnx_bytes=exported.facts.bytes,
        engine_bytes=engine.facts.bytes.get(name) if engine else None,
        engine_accuracy=tried.facts.points.get(name) if tried else None,
        latency=latency_of(timed) if timed else None,
        samples_ms=timed.samples_ms if timed else None,
        millijoules=timed.power.millijoules if timed and timed.power else None,
    )


def _parts(told: PartPoints) -> Iterator[PartReport]:
    for name in dict.fromkeys([*told.dense, *told.compressed]):
        yield PartReport(name=name, dense=told.dense.get(name), compressed=told.compressed.get(name))


def _ratios(dense: NetworkReport, compressed: NetworkReport, faster: Ratio | None) -> Ratios:
    """Dense over compressed: how many times smaller or faster."""
    return Ratios(
        parameters=_over(dense.parameters, compressed.parameters),
        macs=_over(dense.macs, compressed.macs),
        size=_over(dense.onnx_bytes, compressed.onnx_bytes),
        latency=faster,
    )


def _over(dense: int | None, compressed: int | None) -> float | None:
    return dense / compressed if dense is not None and compressed else None


def _cut(outcome: Outcome) -> tuple[Layer, ...]:
    """What was removed from a file that was given."""
    cut = outcome.exports.compressed.facts.cut
    return tuple(Layer(**as_table(one)) for one in cut.layers) if cut else ()


def _layers(rounds: Sequence[Pruned]) -> tuple[Layer, ...]:
    """Channels of each pruned layer before the first and after the last kept round."""
    layers: dict[str, Layer] = {}
    for one in rounds:
        if one.kept and (found := one.pruned.facts.pruning):
            for width in found.layers:
                first = layers.get(width.name, width)
                layers[width.name] = Layer(name=width.name, before=first.before, after=width.after)
    return tuple(layers.values())


def _unpruned(rounds: Sequence[Pruned]) -> Unpruned | None:
    """What the last kept round left whole and why; why the network goes on as its graph, if it does."""
    if not rounds:
        return None
    found = ([one for one in rounds if one.kept] or rounds[-1:])[-1].pruned.facts.pruning or Pruning()
    return Unpruned(
        fixed={**found.left, **found.fixed, **found.refused}, as_graph=found.why if found.as_graph else None
    )


def _round(number: int, one: Pruned) -> Round:
    found = one.pruned.facts.pruning or Pruning()
    tuned = one.tuned.facts if one.tuned else None
    recovery = tuned.recovery if tuned else None
    return Round(
        round=number,
        ratio=one.share,
        blocks=found.blocks,
        time=record.part(Time, asdict(found.time)) if found.time else None,
        pruned=one.pruned.facts.pruned,
        check=Check(error=found.check.error, precision=found.check.precision) if found.check else None,
        kept=one.kept,
        why=one.why,
        removed_channels=found.removed_channels,
        after_pruning=recovery.after_pruning if recovery else None,
        after_recalibration=recovery.after_recalibration if recovery else None,
        validation=tuned.validation if tuned else None,
        macs=one.pruned.facts.macs,
        parameters=one.pruned.facts.parameters,
    )


def _round_times(device: OnDevice, rounds: Sequence[Pruned]) -> RoundTimes | None:
    """What the networks of the rounds take; None where there are none."""
    if device.rounds is None:
        return RoundTimes(untimed=device.untimed) if device.untimed else None
    found = device.rounds.facts
    trained = [number for number, one in enumerate(rounds, 1) if one.tuned is not None]
    times = zip(trained, found.rounds, strict=False)  # none where they could not be timed
    return RoundTimes(
        dense_ms=found.dense_ms,
        rounds=tuple(RoundTime(round=number, **asdict(one)) for number, one in times),
        turns=found.turns,
        untimed=found.untimed,
    )


def _curve(stage: str, made: Checkpoint) -> Curve:
    learnt = made.facts.training
    return Curve(stage=stage, points=tuple(Epoch(**asdict(one)) for one in learnt.curve) if learnt else ())


def _histograms(dense: Checkpoint, compressed: Checkpoint) -> tuple[Histogram, ...]:
    from jetpress.benchmarks.report.weights import histograms  # draws, too: matplotlib takes a second

    return histograms(_weights(dense), _weights(compressed))


def _weights(made: Checkpoint) -> dict[str, NDArray[np.generic]]:
    tensors = load_file(made.path / "weights.safetensors")
    return {name: array for name, array in tensors.items() if array.ndim > 1}


def _sparsity(outcome: Outcome, found: Session) -> SparsityReport:
    if why := outcome.plan.skipped.get("sparsify"):
        return SparsityReport(skipped=why)
    told = outcome.networks.compressed.facts.sparsity if outcome.networks else None
    if told is None:
        return SparsityReport(skipped="no layer was made 2:4")
    engine, speed = outcome.device.engine, found.against.get(TWIN)
    built = engine.facts.models.get("compressed") if engine else None
    return SparsityReport(
        method=told.method,
        pattern=told.pattern,
        layers=tuple(_sparse_layer(one) for one in told.layers),
        eligible=told.eligible,
        masked=told.masked,
        kept_magnitude=told.kept_magnitude,
        kept_unpermuted=told.kept_unpermuted,
        permutation_error=told.permutation_error,
        engine=of_engine(built, speed) if built and built.sparse else None,
    )


def _sparse_layer(one: MaskedLayer) -> SparseLayer:
    mask = asdict(one.mask) if one.mask else {}
    return SparseLayer(name=one.name, sparse=one.sparse, reason=one.reason, **mask)


def _quantization(exports: Exports, found: Session) -> QuantizationReport | None:
    """What the stage tells, with a dozen of its histograms; None where nothing was quantized."""
    if exports.compressed.facts.quantization is None:
        return None
    told = json.loads((exports.compressed.path / "quantization.json").read_text())
    step = max(1, -(-len(told["tensors"]) // HISTOGRAMS))
    shown = {"tensors": told["tensors"][::step], "trained": exports.training or None}
    return record.part(QuantizationReport, {**told, **shown, "mixed_latency": mixed_latency(found)})


def _equivalence(outcome: Outcome) -> Iterator[EquivalenceRow]:
    """PyTorch (or the file as given) against the files, then these against the engines. A stage raises where that does
    not hold."""
    pair = "PyTorch = ONNX Runtime" if outcome.networks else "as given = as it is now"
    exports, precision = outcome.exports, outcome.plan.recipe.build.precision.upper()
    if cut := exports.compressed.facts.cut:
        for one in cut.agreement:
            yield replace(_row("as given, pruned: agreement", "compressed", one, one.mean_cosine), met=None)
        pair = "pruned = as it is now"
    for network, same in (
        ("compressed", exports.same),
        (f"compressed, {precision}", exports.same_quantized),
        ("dense", exports.dense_same),
    ):
        for one in same.facts.outputs if same else ():
            cosine = one.mean_cosine if same is exports.same_quantized else one.cosine
            yield _row(pair, network, one, cosine)
    for network, outputs in (outcome.device.tried.facts.same if outcome.device.tried else {}).items():
        for one in outputs:
            yield _row("ONNX Runtime = engine", network, one, one.cosine)


def _row(pair: str, network: str, one: Score, cosine: float) -> EquivalenceRow:
    return EquivalenceRow(
        pair=pair,
        network=network,
        output=one.output,
        inputs=one.samples,
        max_abs=one.max_absolute,
        max_rel=one.max_relative,
        cosine=cosine,
        top1_agreement=one.top1,
        met=True,
    )


def _builder(device: OnDevice) -> tuple[BuilderLog, ...]:
    """What the builder of each engine said in its log."""
    built = device.engine.facts.models if device.engine else {}
    return tuple(
        BuilderLog(
            engine=name,
            seconds=round(one.build_seconds, 1),
            flags=one.flags,
            findings=record.part(Findings, asdict(one.findings)) if one.findings else None,
            warnings=one.warnings,
            bytes=one.size,
        )
        for name, one in built.items()
    )
