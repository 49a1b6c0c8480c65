"""What :mod:`benchmarks.opsets` runs, what of it counts, and the page about it."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.coverage_networks import networks

Record = dict[str, Any]
SETS = {
    "torchvision": "torchvision classifiers",
    "segmentation": "torchvision segmentation",
    "detection": "torchvision detection, raw heads",
    "timm": "timm families",
}
# What the parsers lack that read up to this opset: TensorRT 8.2, 8.5, 10 and newer.
LOWERED = {13: ("LayerNormalization", "HardSwish"), 17: ("LayerNormalization",), 20: ()}
TOLERANCE = 1e-3
BUILT = 17
"""The opset whose file TensorRT-RTX builds."""


def subjects() -> dict[str, list[str]]:
    """Set -> networks, the smaller ones of torchvision first."""
    import torchvision.models as zoo

    found = networks()
    detectors = [f"detection:{name}" for name in zoo.list_models(module=zoo.detection)]
    return {family: sorted({**found, "detection": detectors}[family], key=parameters) for family in SETS}


def parameters(reference: str) -> int:
    """As torchvision says it of the trained network; 0 where it does not know it."""
    import torchvision.models as zoo

    family, _, name = reference.partition(":")
    return 0 if family == "timm" else int(next(iter(zoo.get_model_weights(name))).meta["num_params"])


def records(*paths: Path) -> dict[str, Record]:
    """Network -> its last record."""
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return {record["network"]: record for record in map(json.loads, lines)}


def failures(record: Record) -> Iterator[tuple[str, str]]:
    """Opset (or ``RTX``) and reason, for each that does not count."""
    if "error" in record:
        yield "all", record["error"]
        return
    for opset, found in record["opsets"].items():
        if "reason" in found:
            yield opset, found["reason"]
        elif found["delivered"] != int(opset):
            yield opset, f"delivered at {found['delivered']}"
        elif record.get("moves", 1) < 10 * TOLERANCE:
            yield opset, f"another image moves its outputs by {record['moves']:.0e}: equality says nothing"
        elif not found["error"] <= TOLERANCE:
            yield opset, f"differs by {found['error']:.1e} of the largest output"
        if found.get("rtx", {}).get("ok") is False:
            yield "RTX", found["rtx"]["reason"]


HEAD = """# Opsets

Written by `python -m benchmarks.opsets table RESULTS --write docs/opsets.md` on {date} from the results of
`python -m benchmarks.opsets run RESULTS` ({versions}; processor only). The networks are
dense, at batch 1, in FP32, with random weights and BatchNorms that have seen four random images.

Counted: the file has exactly the opset that was asked for, passes `onnx.checker` in full, and ONNX Runtime gives
PyTorch's outputs within 1e-3 of the largest (in brackets: the largest error of those that count). At 13
LayerNormalization and HardSwish are primitives (TensorRT 8.2 lacks them), at 17 LayerNormalization (8.5 does). *RTX*:
TensorRT-RTX built an engine from the file at 17, ahead of time for compute capability 8.6, without a GPU; it is a
recent TensorRT, and says little about TensorRT 8. Detectors end at the numbers of their heads, of
the R-CNNs with one region for each level.
"""


def table(*results: Path) -> str:
    """Counts, the largest error of each cell, every failure with its reason, and what was not run."""
    packages = ("torch", "torchvision", "timm", "onnx", "onnxruntime-gpu", "tensorrt-rtx-cu13")
    versions = ", ".join(f"{one} {importlib.metadata.version(one)}" for one in packages)
    lines = [HEAD.format(date=dt.datetime.now(dt.UTC).date(), versions=versions)]
    lines += ["| networks | run | 13 | 17 | 20 | RTX |", "|---|---|---|---|---|---|"]
    found, known, missing = records(*results), subjects(), list[str]()
    for family, title in SETS.items():
        chosen = [found[name] for name in known[family] if name in found]
        missing += [name for name in known[family] if name not in found]
        cells = [cell(chosen, opset) for opset in LOWERED]
        built = [r["opsets"][str(BUILT)].get("rtx") for r in chosen if str(BUILT) in r["opsets"]]
        ends = [one["ok"] for one in built if one is not None]
        cells.append(f"{sum(ends)} of {len(ends)}" if ends else "-")
        lines.append(f"| {title} | {len(chosen)} of {len(known[family])} | {' | '.join(cells)} |")
    bad = [(r["network"], *failure) for r in found.values() for failure in failures(r)]
    lines += ["", "What fails, and why:" if bad else "Of what was run nothing failed.", ""]
    if bad:
        lines += ["| network | opset | reason |", "|---|---|---|"]
        lines += [f"| {name} | {where} | {why[:200].replace('|', '/')} |" for name, where, why in bad] + [""]
    if missing:
        lines += [*textwrap.wrap(f"Not run yet ({len(missing)}): {', '.join(missing)}.", 118), ""]
    seconds = sum(r.get("seconds", 0) for r in found.values())
    lines += [f"{len(found)} networks, {seconds / 60:.0f} minutes of processor time."]
    return "\n".join(lines) + "\n"


def cell(chosen: list[Record], opset: int) -> str:
    """How many count, and the largest error of those."""
    failed = {(r["network"], where) for r in chosen for where, _ in failures(r)}
    good = [
        r["opsets"][str(opset)]["error"]
        for r in chosen
        if str(opset) in r["opsets"] and (r["network"], str(opset)) not in failed
    ]
    return f"{len(good)} ({max(good):.0e})" if good else "0"
