"""The run's folder: what a person looks at. Facts of all artifacts become the report; bundle and engine beside it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetpress.benchmarks import stats
from jetpress.deploy import console
from jetpress.deploy.check import cores, cpu_name, gpu_name
from jetpress.deploy.device.events import VERDICTS, Event, Ratio, Result, by_model, understood
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.sparse.kernels import of_engine
from jetpress.pipeline.store.artifact import Checkpoint, canonical
from jetpress.pipeline.store.facts.network import Pruning
from jetpress.pipeline.store.fingerprint import fingerprint, versions
from jetpress.pipeline.store.needs import report_of
from jetpress.pipeline.store.publish import clear, publish
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import write_atomically

HISTOGRAMS = 12
"""Calibrated tensors that are shown."""
LIBRARIES = {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "tensorrt_rtx", "tensorrt"}


def home() -> Path:
    """Folder of all runs."""
    return Path(os.environ.get("JETPRESS_RUNS", "runs"))


def folder(plan: Plan, root: Path | None) -> Path:
    """The folder of a plan's run: the same recipe and target always give the same one."""
    digest = hashlib.sha256(canonical([as_table(plan.recipe), plan.target.name]).encode()).hexdigest()[:8]
    return (root or home()) / f"{plan.recipe.name}-{plan.target.name}-{digest}"


def find_run(name: str) -> Path:
    """The folder of a finished run.

    Raises:
        RecipeError: there is none (the runs that exist are listed), or its report is damaged.
    """
    for candidate in (Path(name), home() / name):
        if (candidate / "report.json").is_file():
            if report_of(candidate) is None:
                raise RecipeError(
                    f"{candidate / 'report.json'} is damaged", "run it again: only the report is made anew"
                )
            return candidate
    known = sorted(p.parent.name for p in home().glob("*/report.json"))
    raise RecipeError(f"there is no finished run {name!r}", f"runs: {', '.join(known) or 'none yet'}")


def write(outcome: Outcome, place: Path, doing: Doing) -> dict[str, Any]:
    """Put report, bundle and engine into the run's folder; say the verdict.

    Returns:
        the report as plain values, and ``folder``
    """
    place.mkdir(parents=True, exist_ok=True)
    with doing.store.locked(place.name, "another process writes this run's folder"):
        clear(place)
        report = _written(outcome, place, doing)
        for name, artifact in (("bundle", outcome.bundle), ("engine", outcome.engine)):
            if artifact is not None:
                publish(doing.store, artifact, place / name)
    _say_verdict(report, outcome, place)
    return {**report, "folder": str(place)}


def _written(outcome: Outcome, place: Path, doing: Doing) -> dict[str, Any]:
    """The report; what it was made of decides whether the one that is there is still it."""
    told = [[step.name, step.digest, step.why] for step in doing.steps]
    code = fingerprint(_render.__module__, _render.__name__)
    parts = [place.name, outcome.invalid, told, versions(LIBRARIES), code]
    digest = hashlib.sha256(canonical(parts).encode()).hexdigest()
    report = report_of(place)
    if report and report.get("digest") == digest and (place / "report.html").is_file():
        console.say(f"  {'report':<14} {'cached':<12}")
        return report
    read = (outcome.dense, outcome.compressed, outcome.onnx, outcome.numbers)
    doing.store.verify(*(artifact for artifact in read if artifact is not None))
    report = _render(outcome, place, [as_table(step) for step in doing.steps], digest)
    write_atomically(place / "recipe.toml", outcome.plan.recipe.to_toml())
    console.say(f"  {'report':<14} {'ran':<12}")
    return report


def _render(outcome: Outcome, place: Path, steps: list[Any], digest: str) -> dict[str, Any]:
    from jetpress.benchmarks.report import render

    report = {
        **_facts(outcome, place),
        "id": place.name,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "stages": steps,
        "digest": digest,
    }
    render(report, place)
    return report


def _facts(outcome: Outcome, place: Path) -> dict[str, Any]:
    """All that the report shows and that does not change from one cached run to the next."""
    plan, target = outcome.plan, outcome.plan.target
    dense, compressed = _network(outcome, "dense"), _network(outcome, "compressed")
    timing = _timing(outcome)
    return {
        "format": 1,
        "name": plan.recipe.name,
        "jetpress": versions({"jetpress"}).get("jetpress", "0.1.0"),
        "target": {
            **as_table(target),
            "precision": plan.recipe.build.precision,
            "opset": plan.recipe.export.opset,
        },
        "verdict": _verdict(outcome, dense, compressed),
        "engine_built": outcome.engine is not None,
        "next": outcome.next.format(bundle=place / "bundle", engine=place / "engine") or None,
        "dense": dense,
        "compressed": compressed,
        "ratios": _ratios(dense, compressed, timing),
        "benchmark": timing.get("benchmark"),
        "layers": _layers(outcome),
        "unpruned": _unpruned(outcome),
        "rounds": list(_rounds(outcome)),
        "curves": [{"stage": name, "points": _curve(made)} for name, made in outcome.tuned],
        "histograms": _histograms(outcome),
        "sparsity": _sparsity(outcome),
        "quantization": _quantization(outcome),
        "equivalence": list(_equivalence(outcome)),
        "builder": _builder(outcome),
        "versions": versions(LIBRARIES),
        "machine": {"cpu": cpu_name(), "cores": cores(), "gpu": gpu_name()},
        "recipe": json.loads(canonical(as_table(plan.recipe))),
        "reproduce": f"jetpress run {place / 'recipe.toml'} --target {target.name}",
    }


def _curve(made: Checkpoint) -> list[dict[str, float]]:
    return [asdict(entry) for entry in made.facts.training.curve] if made.facts.training else []


def _network(outcome: Outcome, name: str) -> dict[str, Any]:
    """Everything known about the dense or the compressed network."""
    made = outcome.dense if name == "dense" else outcome.compressed
    exported = outcome.dense_onnx if name == "dense" else outcome.onnx
    assert made is not None
    assert exported is not None
    accuracy = as_table(getattr(outcome.accuracy.facts, name)) if outcome.accuracy else {}
    found: dict[str, Any] = {
        "validation": accuracy.get("validation"),
        "test": accuracy.get("test"),
        "parameters": made.facts.parameters,
        "macs": made.facts.macs,
        "onnx_bytes": exported.facts.bytes,
        "engine_bytes": outcome.engine.facts.bytes.get(name) if outcome.engine else None,
        "engine_accuracy": outcome.tried.facts.top1.get(name) if outcome.tried else None,
        "latency": None,
    }
    if outcome.numbers is not None:
        result = by_model(_events(outcome), Result)[name]
        found["samples_ms"] = list(result.latencies)
        found["latency"] = stats.summary(found["samples_ms"], result.batch)
    return found


def _events(outcome: Outcome) -> list[Event]:
    """What the runner measured; nothing where it did not."""
    numbers = outcome.numbers
    sources = json.loads((numbers.path / "bench.json").read_text()) if numbers else []
    return [understood(source) for source in sources]


def _side_by_side(events: list[Event], against: str) -> Ratio | None:
    """How many times as fast the compressed engine is as another one of the session."""
    ratios = [event for event in events if isinstance(event, Ratio) and event.of == "compressed"]
    return next((ratio for ratio in ratios if ratio.against == against), None)


def _timing(outcome: Outcome) -> dict[str, Any]:
    if outcome.invalid:
        return {"benchmark": {"verdict": "invalid", "reasons": [outcome.invalid], "knobs": {}}}
    if outcome.numbers is None:
        return {}
    events = _events(outcome)
    results = by_model(events, Result)
    both = [results[name] for name in ("dense", "compressed")]
    verdict = max((result.verdict for result in both), key=VERDICTS.index)
    reasons = [f"{result.model}: {why}" for result in both for why in result.reasons]
    benchmark = {"verdict": verdict, "reasons": reasons, "knobs": results["compressed"].knobs}
    ratio = _side_by_side(events, "dense")
    return {"benchmark": benchmark, "ratio": ratio.source if ratio else None}


def _ratios(
    dense: Mapping[str, Any], compressed: Mapping[str, Any], timing: Mapping[str, Any]
) -> dict[str, Any]:
    """Dense over compressed: how many times smaller or faster."""
    found: dict[str, Any] = {
        name: dense[key] / compressed[key]
        for name, key in (("parameters", "parameters"), ("macs", "macs"), ("size", "onnx_bytes"))
    }
    ratio = timing.get("ratio")
    if ratio and timing["benchmark"]["verdict"] != "invalid":
        low, high = ratio["interval"]
        found["latency"] = {"value": ratio["ratio"], "low": low, "high": high}
    else:
        found["latency"] = None
    return found


def _verdict(outcome: Outcome, dense: Mapping[str, Any], compressed: Mapping[str, Any]) -> dict[str, Any]:
    """Each limit of the budget against what was found; None where it could not be measured."""
    budget = outcome.plan.recipe.budget
    drop = None if dense["test"] is None else round(dense["test"] - compressed["test"], 4)
    latency = compressed["latency"] or {}
    checks = [_limit("accuracy drop on the test split", budget.accuracy_drop, drop, "points", at_most=True)]
    if budget.latency_ms is not None:
        checks.append(_limit("median latency", budget.latency_ms, latency.get("p50"), "ms", at_most=True))
    if budget.fps is not None:
        checks.append(_limit("throughput", budget.fps, latency.get("fps"), "samples/s", at_most=False))
    met = [check["met"] for check in checks]
    return {"met": False if False in met else None if None in met else True, "checks": checks}


def _limit(what: str, limit: float, found: float | None, unit: str, *, at_most: bool) -> dict[str, Any]:
    met = None if found is None else (found <= limit if at_most else found >= limit)
    return {"what": what, "limit": limit, "found": found, "unit": unit, "met": met, "at_most": at_most}


def _plain(record: Any) -> Any:
    """A record of facts as JSON values."""
    return json.loads(canonical(as_table(record)))


def _layers(outcome: Outcome) -> list[dict[str, Any]]:
    """Channels of each pruned layer before the first and after the last kept round."""
    layers: dict[str, dict[str, Any]] = {}
    for one in outcome.rounds:
        if one.kept:
            for layer in one.pruned.facts.pruning.layers if one.pruned.facts.pruning else ():
                layers.setdefault(layer.name, asdict(layer))["after"] = layer.after
    return list(layers.values())


def _unpruned(outcome: Outcome) -> dict[str, Any]:
    """What the last kept round left whole and why; why the network goes on as its graph, if it does."""
    if not outcome.rounds:
        return {}
    kept = [one for one in outcome.rounds if one.kept] or outcome.rounds[-1:]
    found = kept[-1].pruned.facts.pruning or Pruning()
    refused = dict.fromkeys(found.refused, "the cut changed the function")
    return {
        "fixed": {**found.left, **found.fixed, **refused},
        "as_graph": found.why if found.as_graph else None,
    }


def _rounds(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(outcome.rounds, 1):
        found = one.pruned.facts.pruning or Pruning()
        tuned = one.tuned.facts if one.tuned else None
        recovery = tuned.recovery if tuned else None
        yield {
            "round": number,
            "ratio": one.share,
            "blocks": list(found.blocks),
            "time": _plain(found.time),
            "pruned": one.pruned.facts.pruned,
            "check": _plain(found.check),
            "kept": one.kept,
            "why": one.why,
            "removed_channels": found.removed_channels,
            "after_pruning": recovery.after_pruning if recovery else None,
            "after_recalibration": recovery.after_recalibration if recovery else None,
            "validation": tuned.validation if tuned else None,
        }


def _equivalence(outcome: Outcome) -> Iterator[dict[str, Any]]:
    pairs = (
        ("compressed", outcome.same),
        (f"compressed, {outcome.plan.recipe.build.precision.upper()}", outcome.same_int8),
        ("dense", outcome.dense_same),
    )
    for network, same in pairs:
        for one in same.facts.outputs if same else ():
            yield {
                "pair": "PyTorch = ONNX Runtime",
                "network": network,
                "output": one.output,
                "inputs": one.samples,
                "max_abs": one.max_absolute,
                "max_rel": one.max_relative,
                "cosine": one.mean_cosine if same is outcome.same_int8 else one.cosine,
                "top1_agreement": one.top1,
                "met": True,  # the stage raises when it does not hold
            }
    tried = outcome.tried.facts.same if outcome.tried else {}
    for network, outputs in tried.items():
        for one in outputs:
            yield {
                "pair": "ONNX Runtime = engine",
                "network": network,
                "output": one.output,
                "inputs": one.samples,
                "max_abs": one.max_absolute,
                "max_rel": one.max_relative,
                "cosine": one.cosine,
                "top1_agreement": one.top1,
                "met": True,
            }


def _builder(outcome: Outcome) -> list[dict[str, Any]]:
    """What the builder of each engine said in its log."""
    built = outcome.engine.facts.models if outcome.engine else {}
    return [
        {
            "engine": name,
            "seconds": round(one.build_seconds, 1),
            "flags": list(one.flags),
            "findings": _plain(one.findings),
            "warnings": list(one.warnings),
        }
        for name, one in built.items()
    ]


def _histograms(outcome: Outcome) -> list[dict[str, Any]]:
    from jetpress.benchmarks.report import histograms

    assert outcome.dense is not None
    assert outcome.compressed is not None
    return histograms(_weights(outcome.dense), _weights(outcome.compressed))


def _weights(made: Checkpoint) -> dict[str, Any]:
    from safetensors.numpy import load_file

    tensors = load_file(made.path / "weights.safetensors")
    return {name: array for name, array in tensors.items() if array.ndim > 1}


def _sparsity(outcome: Outcome) -> dict[str, Any]:
    if why := outcome.plan.skipped.get("sparsify"):
        return {"skipped": why}
    assert outcome.compressed is not None
    told = outcome.compressed.facts.sparsity
    if told is None:
        return {"skipped": "no layer was made 2:4"}
    layers = [
        {"name": one.name, "sparse": one.sparse, "reason": one.reason, **(_plain(one.mask) or {})}
        for one in told.layers
    ]
    found = {**asdict(told), "layers": layers}
    built = outcome.engine.facts.models.get("compressed") if outcome.engine else None
    if built and built.sparse:
        found["engine"] = of_engine(built, _events(outcome))
    return found


def _quantization(outcome: Outcome) -> dict[str, Any] | None:
    """What the stage tells, with a dozen of its histograms; None where nothing was quantized."""
    if outcome.onnx is None or outcome.onnx.facts.quantization is None:
        return None
    told = json.loads((outcome.onnx.path / "quantization.json").read_text())
    tensors = told.pop("tensors")
    step = max(1, -(-len(tensors) // HISTOGRAMS))
    trained = outcome.training or None
    return {**told, "tensors": tensors[::step], "trained": trained, "mixed_latency": _mixed_latency(outcome)}


def _mixed_latency(outcome: Outcome) -> dict[str, Any] | None:
    """What the layers in higher precision cost: medians of both engines, and how much longer the mixed one takes."""
    events = _events(outcome)
    results, ratio = by_model(events, Result), _side_by_side(events, NOT_MIXED)
    if NOT_MIXED not in results or ratio is None:
        return None
    low, high = ratio.interval
    both = [results["compressed"], results[NOT_MIXED]]
    return {
        "mixed_ms": both[0].median,
        "throughout_ms": both[1].median,
        "times_as_fast": {"value": ratio.ratio, "low": low, "high": high},
        "verdicts": [result.verdict for result in both],
    }


def _say_verdict(report: Mapping[str, Any], outcome: Outcome, place: Path) -> None:
    met = report["verdict"]["met"]
    for check in report["verdict"]["checks"]:
        found = "not measured yet" if check["found"] is None else f"{check['found']:.2f} {check['unit']}"
        console.say(f"  {check['what']}: {found} (budget {check['limit']:g} {check['unit']})")
    ratio = report["ratios"]["latency"]
    if ratio:
        console.say(
            f"  {ratio['value']:.2f} times as fast as dense (95 % interval {ratio['low']:.2f} to {ratio['high']:.2f})"
        )
    console.say(f"  report: {place / 'report.html'}")
    if outcome.engine is None:
        console.say(f"  bundle: {place / 'bundle'} (no engine was built: that happens on the device)")
    else:
        console.say(f"  engine: {place / 'engine'}")
    console.say({True: "budget met", False: "budget NOT met", None: "budget not measured in full"}[met])
    if report["next"]:
        console.say(f"next: {report['next']}")
