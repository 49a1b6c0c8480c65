"""What each layer of both networks costs by its graph, and takes by the runner's profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetpress.benchmarks.report.record.layers import LayerCost, LayerPair, LayerReport, Profiled, Roof
from jetpress.deploy.peaks import PEAKS
from jetpress.pipeline.flow.outcome import OnDevice, Outcome
from jetpress.pipeline.store.artifact import OnnxModel

if TYPE_CHECKING:
    from jetpress.pipeline.graph.layers import Cost

PROFILE = "profile.json"
BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "fp8": 1}


def layers(outcome: Outcome) -> LayerReport:
    """For the report."""
    plan, timed = outcome.plan, _profiles(outcome.device)
    precision = plan.recipe.build.precision
    own = {
        "compressed": precision,
        "dense": plan.target.default_precision if BYTES[precision] == 1 else precision,
    }
    found = {
        name: _of(made, BYTES[own[name]], timed.get(name))
        for name, made in (("dense", outcome.exports.dense), ("compressed", outcome.exports.compressed))
    }
    (dense, whole), (compressed, after) = found["dense"], found["compressed"]
    names = [*dense, *(name for name in compressed if name not in dense)]
    untimed = outcome.device.tried.facts.untimed if outcome.device.tried else "no engine ran"
    return LayerReport(
        layers=tuple(LayerPair(name=n, dense=dense.get(n), compressed=compressed.get(n)) for n in names),
        dense=whole,
        compressed=after,
        untimed="" if timed else untimed,
        roof=_roof(plan.target.name, precision),
    )


def _profiles(device: OnDevice) -> dict[str, Mapping[str, Any]]:
    """The runner's :class:`~jetpress.deploy.device.events.Profile` of each engine."""
    path = None if device.tried is None else device.tried.path / PROFILE
    told = json.loads(path.read_text()) if path and path.is_file() else []
    return {one["model"]: one for one in told}


def _of(
    made: OnnxModel, width: int, profile: Mapping[str, Any] | None
) -> tuple[dict[str, LayerCost], Profiled | None]:
    """Layers by name, and the whole where it was timed."""
    costs, owners = _graph(made.path / "model.onnx", {one.name: one.shape for one in made.facts.inputs})
    taken: dict[str, float] = {}
    if profile is not None:
        from jetpress.pipeline.graph.layers import attributed

        taken = attributed(profile["layers"], owners)
    known = {
        name: LayerCost(macs=one.macs, bytes=width * (one.activations + one.weights), ms=taken.get(name))
        for name, one in costs.items()
    }
    if profile is None:
        return known, None
    rest = sum(ms for name, ms in taken.items() if name not in known)
    return known, Profiled(whole=profile["latency"], rest=rest)


def _graph(path: Path, inputs: Mapping[str, tuple[int | str, ...]]) -> tuple[dict[str, Cost], dict[str, str]]:
    import onnx  # only where a report is made anew

    from jetpress.pipeline.graph.layers import costs, owners_of

    proto = onnx.load(path, load_external_data=False)
    owners = owners_of(proto)
    return costs(proto, inputs), owners


def _roof(target: str, precision: str) -> Roof | None:
    peak = PEAKS.get(target)
    if peak is None or precision not in peak.operations:
        return None
    operations = peak.operations[precision]
    return Roof(operations=operations, bandwidth=peak.bandwidth, precision=precision, source=peak.source)
