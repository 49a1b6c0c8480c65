"""Runs to report on: a realistic one, as large as a resnet18's, and a hostile one."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from jetpress.benchmarks.ratio import compare
from jetpress.benchmarks.report.latency import summary
from jetpress.benchmarks.report.predictions import counted
from jetpress.benchmarks.report.weights import histograms


def plain(record: Any) -> Any:
    """As in the JSON."""
    return TypeAdapter(type(record)).dump_python(record, mode="json", by_alias=True, exclude_defaults=True)


WIDTHS = (64, 128, 256, 512)


def _layers() -> list[tuple[str, int, int]]:
    names = [("conv1.weight", 64, 32)]
    for stage, width in enumerate(WIDTHS, 1):
        for block in range(2):
            names += [(f"layer{stage}.{block}.conv{i}.weight", width, width // 2) for i in (1, 2)]
    return names


def _weights(rng: np.random.Generator, share: float) -> dict[str, np.ndarray]:
    shapes = {name: (int(width * share), int(width * share) // 4, 3, 3) for name, width, _ in _layers()}
    return {n: rng.laplace(0, 1 / np.sqrt(9 * s[1]), s).astype(np.float32) for n, s in shapes.items()}


def _points(rng: np.random.Generator, epochs: int, loss: float, best: float) -> list[dict[str, Any]]:
    return [
        {
            "epoch": e + 1,
            "loss": loss * float(np.exp(-2.2 * e / epochs) + 0.05 * rng.random()),
            "validation": best - 30 * float(np.exp(-4 * (e + 1) / epochs)) + float(rng.random()),
            "learning_rate": 0.05 * (1 + float(np.cos(np.pi * e / epochs))) / 2,
            "seconds": 9.0 + float(rng.random()),
        }
        for e in range(epochs)
    ]


def _network(rng: np.random.Generator, samples: np.ndarray, scale: float) -> dict[str, Any]:
    return {
        "validation": 98.89 - 0.37 * (scale < 1),
        "test": 98.52 - 0.37 * (scale < 1),
        "parameters": int(11_181_642 * scale),
        "macs": int(37_220_352 * scale),
        "onnx_bytes": int(44_731_210 * scale),
        "engine_bytes": None,
        "engine_accuracy": 98.44 - 0.4 * (scale < 1),
        "latency": plain(summary(samples.tolist(), 1)),
        "samples_ms": samples.tolist(),
    }


def realistic() -> dict[str, Any]:
    """As the digits recipe on the host gives it: a fresh copy each time."""
    copy: dict[str, Any] = json.loads(_realistic())
    return copy


def _quantization(rng: np.random.Generator) -> dict[str, Any]:
    layers = [
        {
            "name": f"{name}/Conv",
            "weight": f"{name}.weight",
            "weights": 9 * out * out,
            "error": float(rng.random() / 50),
            "int8": place > 0,
            "why": "" if place else "too sensitive",
        }
        for place, (name, out, _) in enumerate(_layers())
    ]
    counts = np.histogram(np.maximum(rng.standard_normal(9999), 0), 64, (-4, 4))[0].tolist()
    return {
        "dialect": "onnxruntime",
        "numbers": "INT8",
        "bias_correction": True,
        "cosine": 0.9971,
        "least_cosine": 0.99,
        "trained": "cosine 0.9700 of the scores to FP32's, equivalence asks for 0.99: kept",
        "mixed_latency": {
            "mixed_ms": 1.21,
            "throughout_ms": 1.17,
            "times_as_fast": {"value": 0.967, "low": 0.955, "high": 0.978},
            "verdicts": ["valid", "noisy"],
        },
        "method": "mse",
        "errors": {"max": 0.04, "mse": 0.03},
        "error": 0.03,
        "images": 128,
        "warnings": [],
        "layers": layers,
        "validation": {"fp32": 98.5, "int8": 98.2, "least": 97.9, "images": 229},
        "tries": [{"without": [], "points": 97.0}, {"without": ["conv1/Conv"], "points": 98.2}],
        "met": True,
        "stored": False,
        "tensors": [
            {"name": name, "low": 0.0, "high": 4.0, "range": [0.0, 3.1], "counts": counts}
            for name in ("relu", "relu_1")
        ],
    }


DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEANl9ngAAA"
    "AABJRU5ErkJggg=="
)


def _layer_costs(rng: np.random.Generator) -> dict[str, Any]:
    def cost(width: int) -> dict[str, Any]:
        return {"macs": 144 * width * width, "bytes": 40 * width * width, "ms": float(rng.random()) / 10}

    pairs = [
        {"name": name.removesuffix(".weight"), "dense": cost(before), "compressed": cost(after)}
        for name, before, after in _layers()
    ]
    pairs[3]["compressed"], pairs[5]["dense"]["ms"] = None, None
    return {
        "layers": pairs,
        "dense": {"whole": 3.42, "rest": 0.2},
        "compressed": {"whole": 1.17, "rest": 0.1},
        "untimed": "",
        "roof": {"operations": 1.67e13, "bandwidth": 1.02e11, "precision": "fp16", "source": "a data sheet"},
    }


def _predictions(rng: np.random.Generator) -> dict[str, Any]:
    labels = rng.integers(0, 10, 269)
    dense, compressed = (np.where(rng.random(269) < p, (labels + 1) % 10, labels) for p in (0.03, 0.05))
    differ = np.flatnonzero(dense != compressed)[:12].tolist()
    shown = [
        {"number": n, "label": labels[n], "dense": dense[n], "compressed": compressed[n], "picture": DOT}
        for n in differ
    ]
    return plain(counted(labels, dense, compressed, [f"digit {n}" for n in range(10)], shown))


@cache
def _realistic() -> str:
    rng = np.random.default_rng(7)
    n = 700
    drift = 1 + 0.004 * np.sin(np.linspace(0, 6, n))
    dense, compressed = (m * drift * rng.lognormal(0, 0.018, n) for m in (3.42, 1.17))
    dense[[90, 411]] *= 2.4
    ratio = compare(dense.reshape(70, 10).tolist(), compressed.reshape(70, 10).tolist()).ratio
    run = {
        "format": 1,
        "id": "digits-host-1a2b3c4d",
        "name": "digits",
        "created": "2026-11-23T15:00:00Z",
        "digest": "5e" * 32,
        "jetpress": "0.1.0",
        "target": {
            "name": "host",
            "title": "This computer (ONNX Runtime)",
            "backend": "onnxruntime",
            "tensorrt": "",
            "jetpack": "",
            "compute_capability": None,
            "opset": 18,
            "precision": "fp32",
        },
        "verdict": {
            "met": True,
            "checks": [
                {
                    "what": "accuracy drop on the test split",
                    "limit": 1.0,
                    "found": 0.37,
                    "unit": "points",
                    "met": True,
                    "at_most": True,
                },
                {
                    "what": "latency",
                    "limit": 5.0,
                    "found": 1.17,
                    "unit": "ms",
                    "met": True,
                    "at_most": True,
                },
            ],
        },
        "engine_built": True,
        "next": None,
        "dense": _network(rng, dense, 1.0),
        "compressed": _network(rng, compressed, 0.252),
        "ratios": {
            "latency": {
                "value": ratio.value,
                "low": ratio.low,
                "high": ratio.high,
                "level": 95,
                "sessions": 5,
            },
            "parameters": 3.97,
            "macs": 3.93,
            "size": 3.97,
        },
        "benchmark": {
            "verdict": "valid",
            "reasons": [],
            "knobs": {"threads": 2, "batch": 1, "interleaved": True, "warmup_ms": 200.0, "spin": False},
        },
        "quantization": _quantization(rng),
        "predictions": _predictions(rng),
        "layer_costs": _layer_costs(rng),
        "layers": [{"name": name, "before": b, "after": a} for name, b, a in _layers()],
        "unpruned": {"fixed": {"fc.weight": "it gives the outputs"}, "as_graph": None},
        "rounds": [
            {
                "round": 1,
                "ratio": 0.3,
                "pruned": True,
                "kept": True,
                "after_pruning": 71.1,
                "after_recalibration": 91.5,
                "validation": 98.9,
                "removed_channels": 1152,
                "blocks": [],
                "time": None,
                "check": {"error": 3e-7, "precision": "double"},
                "why": "",
            },
            {
                "round": 2,
                "ratio": 0.5,
                "pruned": True,
                "kept": True,
                "after_pruning": 45.2,
                "after_recalibration": 80.7,
                "validation": 98.5,
                "removed_channels": 768,
                "blocks": [],
                "time": None,
                "check": None,
                "why": "",
            },
            {
                "round": 3,
                "ratio": 0.7,
                "pruned": True,
                "kept": False,
                "after_pruning": 12.2,
                "after_recalibration": 38.0,
                "validation": 96.3,
                "removed_channels": 768,
                "blocks": [],
                "time": None,
                "check": None,
                "why": "2.6 points below dense, the budget is 1.0: the last good round is kept",
            },
        ],
        "curves": [
            {"stage": "train", "points": _points(rng, 8, 2.2, 98.0)},
            *({"stage": f"finetune, round {r}", "points": _points(rng, 4, 0.5, 98.0)} for r in (1, 2, 3)),
        ],
        "histograms": [plain(one) for one in histograms(_weights(rng, 1.0), _weights(rng, 0.5))],
        "sparsity": {"skipped": "this computer has no sparse tensor cores: 2:4 cannot pay here"},
        "builder": [
            {
                "engine": name,
                "bytes": 4_200_000,
                "seconds": 61.5,
                "flags": ["FP16", "SPARSE_WEIGHTS"],
                "warnings": ["WARNING: a line of TensorRT"],
                "findings": {
                    "skipped_tactics": 3,
                    "skipped_for_memory": 2,
                    "int64_casts": 1,
                    "dla_fallback": 0,
                    "lines": ["WARNING: Skipping tactic 3 due to insufficient memory"],
                    "sparsity": {"eligible": 39, "eligible_layers": [], "chosen": 4, "chosen_layers": []},
                },
            }
            for name in ("dense", "compressed")
        ],
        "equivalence": [
            {
                "pair": pair,
                "network": network,
                "output": "output",
                "inputs": 80,
                "max_abs": 3.3e-6,
                "max_rel": 2.9e-7,
                "cosine": 0.99999998,
                "top1_agreement": 1.0,
                "met": True,
            }
            for network in ("dense", "compressed")
            for pair in ("PyTorch = ONNX Runtime", "PyTorch = folded")
        ],
        "stages": [
            {
                "name": name,
                "state": state,
                "seconds": seconds,
                "digest": "9f86d081884c7d659a2feaa0c55ad015" * 2,
                "why": "",
            }
            for name, state, seconds in (
                ("train", "cached", 84.2),
                ("prune", "ran", 3.1),
                ("finetune", "ran", 131.0),
                ("export", "ran", 4.4),
                ("build", "ran", 0.8),
                ("bench", "ran", 9.3),
            )
        ]
        + [
            {
                "name": "sparsify",
                "state": "skipped",
                "seconds": None,
                "digest": None,
                "why": "this computer has no sparse tensor cores",
            }
        ],
        "versions": {
            "python": "3.11.7",
            "torch": "2.15.0",
            "onnx": "1.20.0",
            "onnxruntime": "1.24.1",
            "numpy": "2.4.6",
        },
        "machine": {"cpu": "AMD EPYC 9R14", "cores": 2, "gpu": None},
        "recipe": {
            "name": "digits",
            "seed": 0,
            "model": {
                "builder": "torchvision:resnet18",
                "arguments": {"num_classes": 10},
                "weights": None,
                "inputs": [{"shape": [3, 32, 32], "name": "input"}],
            },
            "train": {"epochs": 8, "learning_rate": 0.05, "schedule": "cosine"},
            "budget": {"accuracy_drop": 1.0},
        },
        "reproduce": "jetpress run recipes/digits.toml --target host",
    }
    return json.dumps(run)


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>|**`$x_1$`\x1b[31m\u202eevil\x00\ud800\nnext"
NAN = float("nan")


def hostile() -> dict[str, Any]:
    """Every name is an attack, and many numbers are none."""
    run = realistic()
    long = "層." + "ünïcödé_🦜" * 30
    names = (EVIL, long, "{{ 7 * 7 }}", "a" * 300, "$\\frac{")
    for place, name in enumerate(names):
        run["layers"][place]["name"] = run["histograms"][place]["name"] = name
        run["layer_costs"]["layers"][place]["name"] = run["layer_costs"]["roof"]["source"] = name
        told = run["predictions"]
        told["classes"][place]["name"] = told["confusion"]["names"][place] = name
        told["disagreements"][place]["label"] = told["disagreements"][place]["dense"] = name
        run["stages"][place]["name"] = run["stages"][place]["why"] = name
    machine = {"cpu": EVIL, "cores": None, "gpu": long}
    run.update(id=EVIL, name=long, created=EVIL, reproduce=EVIL, next=EVIL, machine=machine)
    run["target"]["title"] = EVIL
    run["stages"][0]["state"] = EVIL
    run["verdict"] = {
        "met": False,
        "checks": [{"what": EVIL, "limit": NAN, "found": NAN, "unit": EVIL, "met": False, "at_most": True}],
    }
    run["benchmark"] = {"verdict": "invalid", "reasons": [EVIL, long], "knobs": {EVIL: long}}
    run["dense"].update(test=NAN, validation=float("inf"), parameters=None, latency=None)
    run["compressed"]["samples_ms"][3] = NAN
    run["ratios"] = {
        "latency": {"value": NAN, "low": 1.0, "high": 2.0},
        "parameters": NAN,
        "macs": 0.0,
        "size": 0.5,
    }
    points = [{"epoch": 1, "loss": NAN}, {"epoch": 2, "loss": None}]
    run["curves"][1] = {
        "stage": EVIL,
        "points": [{**one, "learning_rate": NAN, "validation": None} for one in points],
    }
    run["unpruned"] = {"fixed": {EVIL: long}, "as_graph": EVIL}
    run["equivalence"][0].update(output=EVIL, max_abs=NAN, cosine=None, top1_agreement=None, met=False)
    run["builder"][0].update(engine=EVIL, warnings=[EVIL], seconds=NAN)
    run["rounds"][0].update(why=EVIL, ratio=NAN)
    run["sparsity"] = {
        "layers": [{"name": EVIL, "sparse": False, "reason": long}],
        "eligible": 1,
        "kept_magnitude": NAN,
    }
    run["recipe"] = {"name": EVIL, EVIL: {"inner key": [EVIL, {"a": 1}]}, "empty": {}}
    return run


def bare() -> dict[str, Any]:
    """The least that a run may hold: a board that was not there, a network that was given and left as it is."""
    network = {
        "validation": None,
        "test": None,
        "parameters": 650,
        "macs": 640,
        "onnx_bytes": 2900,
        "engine_bytes": None,
        "engine_accuracy": None,
        "latency": None,
    }
    return {
        "format": 1,
        "name": "digits",
        "jetpress": "0.1.0",
        "target": {"name": "orin-nano", "title": "Jetson Orin Nano 8GB (JetPack 6.2)"},
        "verdict": {
            "met": None,
            "checks": [
                {
                    "what": "accuracy drop on the test split",
                    "limit": 1.0,
                    "found": 0.37,
                    "unit": "points",
                    "met": True,
                    "at_most": True,
                },
                {"what": "latency", "limit": 5.0, "found": None, "unit": "ms", "met": None, "at_most": True},
            ],
        },
        "engine_built": False,
        "next": "copy runs/digits-orin-nano/bundle to the device and run `python3 runner.pyz build`",
        "dense": network,
        "compressed": dict(network),
        "ratios": {"parameters": 1.0, "macs": 1.0, "size": 1.0, "latency": None},
        "benchmark": None,
        "layers": [],
        "unpruned": None,
        "rounds": [],
        "curves": [],
        "histograms": [],
        "sparsity": {"skipped": "no layer was made 2:4"},
        "quantization": None,
        "equivalence": [],
        "builder": [],
        "versions": {},
        "machine": {"cpu": None, "cores": None, "gpu": None},
        "recipe": {},
        "reproduce": "",
        "id": "digits-orin-nano-1a2b3c4d",
        "created": "2026-11-23T15:00:00+00:00",
        "stages": [],
        "digest": "5e" * 32,
    }
