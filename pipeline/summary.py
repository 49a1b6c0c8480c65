"""The run's folder: what a person looks at. Facts of all artifacts become the report; bundle and engine beside it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jetpress.benchmarks import stats
from jetpress.deploy import console
from jetpress.deploy.backends import BACKENDS
from jetpress.deploy.check import cores, cpu_name, gpu_name
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.recipe.reading import Plan
from jetpress.pipeline.recipe.sections import as_table
from jetpress.pipeline.sparse.kernels import of_engine
from jetpress.pipeline.store.artifact import Artifact, Checkpoint, canonical
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import versions, write_atomically

HISTOGRAMS = 12
"""Calibrated tensors that are shown."""
LIBRARIES = {
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "numpy",
    *(one.library for one in BACKENDS.values()),
}


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
        RecipeError: there is none; the runs that exist are listed.
    """
    for candidate in (Path(name), home() / name):
        if (candidate / "report.json").is_file():
            return candidate
    known = sorted(p.parent.name for p in home().glob("*/report.json"))
    raise RecipeError(f"there is no finished run {name!r}", f"runs: {', '.join(known) or 'none yet'}")


def needed(root: Path) -> set[str]:
    """Digests of all artifacts that a run in ``root`` refers to."""
    reports = (json.loads(path.read_text()) for path in root.glob("*/report.json"))
    return {step["digest"] for report in reports for step in report["stages"] if step["digest"]}


def write(outcome: Outcome, place: Path, doing: Doing) -> dict[str, Any]:
    """Put report, bundle and engine into the run's folder; say the verdict.

    Returns:
        the report as plain values, and ``folder``
    """
    steps = [as_table(step) for step in doing.steps]
    told = [[s["name"], s["digest"], s["why"]] for s in steps]
    parts = [place.name, outcome.invalid, told, versions(LIBRARIES)]
    digest = hashlib.sha256(canonical(parts).encode()).hexdigest()
    place.mkdir(parents=True, exist_ok=True)
    report = _known(place / "report.json")
    if report and report.get("digest") == digest and (place / "report.html").is_file():
        console.say(f"  {'report':<14} {'cached':<12}")
    else:
        from jetpress.benchmarks.report import render

        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        report = {
            **_facts(outcome, place),
            "id": place.name,
            "created": now,
            "stages": steps,
            "digest": digest,
        }
        render(report, place)
        write_atomically(place / "recipe.toml", outcome.plan.recipe.to_toml())
        console.say(f"  {'report':<14} {'ran':<12}")
    for name, artifact in (("bundle", outcome.bundle), ("engine", outcome.engine)):
        if artifact is not None:
            _copy(artifact, place / name)
    _say_verdict(report, outcome, place)
    return {**report, "folder": str(place)}


def _known(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _copy(artifact: Artifact, place: Path) -> None:
    """A copy that the user may move or change; the store keeps the original."""
    mark = place / "artifact.json"
    if mark.is_file() and mark.read_bytes() == (artifact.path / "artifact.json").read_bytes():
        return
    draft = place.with_name(f".{place.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(artifact.path, draft)
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)


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
        "curves": [{"stage": name, "points": made.facts.get("curve", [])} for name, made in outcome.tuned],
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


def _network(outcome: Outcome, name: str) -> dict[str, Any]:
    """Everything known about the dense or the compressed network."""
    made = outcome.dense if name == "dense" else outcome.compressed
    exported = outcome.dense_onnx if name == "dense" else outcome.onnx
    assert made is not None
    assert exported is not None
    accuracy = outcome.accuracy.facts[name] if outcome.accuracy else {}
    found: dict[str, Any] = {
        "validation": accuracy.get("validation"),
        "test": accuracy.get("test"),
        "parameters": made.facts["parameters"],
        "macs": made.facts["macs"],
        "onnx_bytes": exported.facts["bytes"],
        "engine_bytes": outcome.engine.facts["bytes"].get(name) if outcome.engine else None,
        "engine_accuracy": outcome.tried.facts["top1"].get(name) if outcome.tried else None,
        "latency": None,
    }
    if outcome.numbers is not None:
        event = _events(outcome)[name]
        found["samples_ms"] = event["raw"]["latency"]
        found["latency"] = stats.summary(found["samples_ms"], event["knobs"]["batch"])
    return found


def _told(outcome: Outcome) -> list[dict[str, Any]]:
    """All that the runner said while measuring; nothing where it did not."""
    numbers = outcome.numbers
    return json.loads((numbers.path / "bench.json").read_text()) if numbers else []


def _events(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The runner's results by model; under ``ratio`` the interleaved one of compressed and dense."""
    events = _told(outcome)
    return {
        event.get("model", event["event"]): event
        for event in events
        if event["event"] == "result" or (event["event"] == "ratio" and event["against"] == "dense")
    }


def _timing(outcome: Outcome) -> dict[str, Any]:
    if outcome.invalid:
        return {"benchmark": {"verdict": "invalid", "reasons": [outcome.invalid], "knobs": {}}}
    if outcome.numbers is None:
        return {}
    events = _events(outcome)
    order = ("valid", "noisy", "invalid")
    verdict = max((events[name]["verdict"] for name in ("dense", "compressed")), key=order.index)
    reasons = [f"{name}: {why}" for name in ("dense", "compressed") for why in events[name]["reasons"]]
    benchmark = {"verdict": verdict, "reasons": reasons, "knobs": events["compressed"]["knobs"]}
    return {"benchmark": benchmark, "ratio": events.get("ratio")}


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
    what = f"{_measured(outcome)} drop on the test split"
    checks = [_limit(what, budget.accuracy_drop, drop, "points", at_most=True)]
    if budget.latency_ms is not None:
        checks.append(_limit("median latency", budget.latency_ms, latency.get("p50"), "ms", at_most=True))
    if budget.fps is not None:
        checks.append(_limit("throughput", budget.fps, latency.get("fps"), "samples/s", at_most=False))
    met = [check["met"] for check in checks]
    return {"met": False if False in met else None if None in met else True, "checks": checks}


def _measured(outcome: Outcome) -> str:
    """What the points are called."""
    return str(outcome.dense.facts.get("measured", "accuracy")) if outcome.dense else "accuracy"


def _limit(what: str, limit: float, found: float | None, unit: str, *, at_most: bool) -> dict[str, Any]:
    met = None if found is None else (found <= limit if at_most else found >= limit)
    return {"what": what, "limit": limit, "found": found, "unit": unit, "met": met, "at_most": at_most}


def _layers(outcome: Outcome) -> list[dict[str, Any]]:
    """Channels of each pruned layer before the first and after the last kept round."""
    layers: dict[str, dict[str, Any]] = {}
    for one in outcome.rounds:
        if one.kept:
            for layer in one.pruned.facts.get("layers", []):
                first = layers.setdefault(layer["name"], dict(layer))
                first["after"] = layer["after"]
    return list(layers.values())


def _unpruned(outcome: Outcome) -> dict[str, Any]:
    """What the last kept round left whole and why; why the network goes on as its graph, if it does."""
    if not outcome.rounds:
        return {}
    kept = [one for one in outcome.rounds if one.kept] or outcome.rounds[-1:]
    facts = kept[-1].pruned.facts
    fixed = {
        **facts.get("left", {}),
        **facts.get("fixed", {}),
        **dict.fromkeys(facts.get("refused", ()), "the cut changed the function"),
    }
    return {"fixed": fixed, "as_graph": facts.get("why", "") if facts.get("as_graph") else None}


def _rounds(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(outcome.rounds, 1):
        tuned = one.tuned.facts if one.tuned else {}
        yield {
            "round": number,
            "ratio": one.share,
            "blocks": list(one.pruned.facts.get("blocks", [])),
            "time": one.pruned.facts.get("time"),
            "pruned": one.pruned.facts.get("pruned"),
            "check": one.pruned.facts.get("check"),
            "kept": one.kept,
            "why": one.why,
            "removed_channels": one.pruned.facts.get("removed_channels"),
            "after_pruning": tuned.get("after_pruning"),
            "after_recalibration": tuned.get("after_recalibration"),
            "validation": tuned.get("validation"),
        }


def _equivalence(outcome: Outcome) -> Iterator[dict[str, Any]]:
    pairs = (
        ("compressed", outcome.same),
        (f"compressed, {outcome.plan.recipe.build.precision.upper()}", outcome.same_int8),
        ("dense", outcome.dense_same),
    )
    for network, same in pairs:
        for one in same.facts["outputs"] if same else ():
            yield {
                "pair": "PyTorch = ONNX Runtime",
                "network": network,
                "output": one["output"],
                "inputs": one["samples"],
                "max_abs": one["max_absolute"],
                "max_rel": one["max_relative"],
                "cosine": one["mean_cosine"] if same is outcome.same_int8 else one["cosine"],
                "top1_agreement": one["top1"],
                "met": True,  # the stage raises when it does not hold
            }
    tried = outcome.tried.facts.get("same", {}) if outcome.tried else {}
    for network, outputs in tried.items():
        for one in outputs:
            yield {
                "pair": "ONNX Runtime = engine",
                "network": network,
                "output": one["output"],
                "inputs": one["samples"],
                "max_abs": one["max_absolute"],
                "max_rel": one["max_relative"],
                "cosine": one["cosine"],
                "top1_agreement": one["top1"],
                "met": True,
            }


def _builder(outcome: Outcome) -> list[dict[str, Any]]:
    """What the builder of each engine said in its log."""
    built = outcome.engine.facts["stamp"]["models"] if outcome.engine else {}
    return [
        {
            "engine": name,
            "seconds": round(one["build_seconds"], 1),
            "flags": one["flags"],
            "findings": one["findings"],
            "warnings": one.get("warnings", []),
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
    found = dict(outcome.compressed.facts.get("sparsity", {"skipped": "no layer was made 2:4"}))
    built = outcome.engine.facts["stamp"]["models"].get("compressed", {}) if outcome.engine else {}
    if built.get("sparse"):
        found["engine"] = of_engine(built, _told(outcome))
    return found


def _quantization(outcome: Outcome) -> dict[str, Any] | None:
    """What the stage tells, with a dozen of its histograms; None where nothing was quantized."""
    if outcome.onnx is None or "quantization" not in outcome.onnx.facts:
        return None
    told = json.loads((outcome.onnx.path / "quantization.json").read_text())
    tensors = told.pop("tensors")
    step = max(1, -(-len(tensors) // HISTOGRAMS))
    trained = outcome.training or None
    return {**told, "tensors": tensors[::step], "trained": trained, "mixed_latency": _mixed_latency(outcome)}


def _mixed_latency(outcome: Outcome) -> dict[str, Any] | None:
    """What the layers in higher precision cost: medians of both engines, and how much longer the mixed one takes."""
    events = _told(outcome)
    medians = {one["model"]: one["latency"]["median"] for one in events if one["event"] == "result"}
    ratio = next((one for one in events if one["event"] == "ratio" and one["against"] == NOT_MIXED), None)
    if NOT_MIXED not in medians or ratio is None:
        return None
    low, high = ratio["interval"]
    return {
        "mixed_ms": medians["compressed"],
        "throughout_ms": medians[NOT_MIXED],
        "times_as_fast": {"value": ratio["ratio"], "low": low, "high": high},
        "verdicts": [
            one["verdict"]
            for one in events
            if one.get("model") in ("compressed", NOT_MIXED) and one["event"] == "result"
        ],
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
