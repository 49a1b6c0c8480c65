"""What :mod:`studies.opsets` runs, what of it counts, and the page about it."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jetpress.deploy.targets import find
from studies.coverage_networks import networks

Record = dict[str, Any]
SETS = {
    "torchvision": "torchvision classifiers",
    "segmentation": "torchvision segmentation",
    "detection": "torchvision detection",
    "timm": "timm families",
}
BOARDS = {13: find("nano"), 17: find("xavier"), 20: find("orin-nano")}
"""Opset -> a board whose TensorRT reads it; what its parser lacks is written as primitives."""
TOLERANCE = 1e-3
BUILT = 17
"""The opset whose file TensorRT-RTX builds."""
AHEAD = "8.6"
"""Compute capability that it builds for."""
LAYER_SCALE = 0.5
"""What LayerScales are set to: they begin at 1e-6, which switches their blocks off."""


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
    """Opset, TensorRT whose table refuses the file, or ``RTX``; and the reason: for each that does not count."""
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
        if found.get("refused"):
            yield parser(int(opset)), found["refused"]
        if found.get("rtx", {}).get("ok") is False:
            yield "RTX", found["rtx"]["reason"]


def parser(opset: int) -> str:
    """The TensorRT whose table the files at ``opset`` are held against."""
    return f"TensorRT {'.'.join(BOARDS[opset].tensorrt.split('.')[:2])}"


HEAD = """# Opsets

Written by `python -m studies.opsets table RESULTS --write docs/opsets.md` on {date} from the results of
`python -m studies.opsets run RESULTS` ({versions}; processor only). The networks are
dense, at batch 1, in FP32, with random weights, {scaled}BatchNorms that have seen {seen} random images.

Counted: the file has exactly the opset that was asked for, passes `onnx.checker` in full, and ONNX Runtime gives
PyTorch's outputs within 1e-3 of the largest (in brackets: the largest error of those that count). What the parser of a
board lacks that reads this opset is written as primitives: {lowered}.

*TensorRT x.y*: every operator, type and restriction of the file is in that version's table (`jetpress check`, target
{boards}); no such board was here. *RTX*: TensorRT-RTX built an engine from the file at {built}, ahead of time
for compute capability {ahead}, without a GPU; it is a recent TensorRT, and says little about TensorRT 8.

Targets with TensorRT 10 get 18 unless `export.opset` says otherwise: PyTorch's exporter writes it by itself, and the
coverage of pruned networks ([coverage.md](coverage.md)) was run at it. Of what came later GELU as one operator (20) is
primitives at 18, and FP16 in Q/DQ (19) is what `rtx` gets 20 for when INT8 is asked.

Detectors with one stage end as `jetpress run` exports them, with the boxes and scores of all anchors
([detection.md](detection.md)). Those with two stages (Faster, Mask and Keypoint R-CNN) are here up to the numbers
of their heads: those of the region proposal network on every level, and those of the box, mask and keypoint heads
for one region of each level. `jetpress run` refuses them: their second stage looks at regions that a suppression of
their own finds, so no graph with outputs of fixed shapes ends before it. Remedy: a detector with one stage.
"""


def table(*results: Path) -> str:
    """Counts, the largest error of each cell, every failure with its reason, and what was not run."""
    found, known = records(*results), subjects()
    lines = [head(found)]
    titles = ["networks", "run", *map(str, BOARDS), *map(parser, BOARDS), "RTX"]
    lines += [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for family, title in SETS.items():
        chosen = [found[name] for name in known[family] if name in found]
        cells = [title, f"{len(chosen)} of {len(known[family])}"]
        cells += [cell(chosen, opset) for opset in BOARDS]
        cells += [
            share(chosen, opset, lambda one: not one["refused"] if "refused" in one else None)
            for opset in BOARDS
        ]
        cells.append(share(chosen, BUILT, lambda one: one["rtx"]["ok"] if "rtx" in one else None))
        lines.append(f"| {' | '.join(cells)} |")
    bad = [(r["network"], *failure) for r in found.values() for failure in failures(r)]
    lines += ["", "What fails, and why:" if bad else "Of what was run nothing failed.", ""]
    if bad:
        lines += ["| network | at | reason |", "|---|---|---|"]
        lines += [f"| {name} | {where} | {why[:200].replace('|', '/')} |" for name, where, why in bad] + [""]
    if missing := [name for names in known.values() for name in names if name not in found]:
        lines += [fill(f"Not run yet ({len(missing)}): {', '.join(missing)}."), ""]
    seconds = sum(r.get("seconds", 0) for r in found.values())
    lines += [f"{len(found)} networks, {seconds / 60:.0f} minutes of processor time."]
    return "\n".join(lines) + "\n"


def head(found: dict[str, Record]) -> str:
    """What was run, with what, and what counts."""
    seen = sorted({record.get("seen", 4) for record in found.values()})
    packages = ("torch", "torchvision", "timm", "onnx", "onnxruntime-gpu", "tensorrt-rtx-cu13")
    versions = ", ".join(f"{one} {importlib.metadata.version(one)}" for one in packages)
    lowered = [
        f"at {opset} {' and '.join(board.lower)} ({parser(opset)})"
        for opset, board in BOARDS.items()
        if board.lower
    ]
    scaled = sum("layer_scale" in record for record in found.values())
    of = (
        ""
        if scaled == len(found)
        else f" (in {scaled} of the {len(found)} runs, in the others as they begin)"
    )
    text = HEAD.format(
        scaled=f"LayerScales at {LAYER_SCALE}{of}, " if scaled else "",
        date=dt.datetime.now(dt.UTC).date(),
        versions=versions,
        seen=" or ".join(map(str, seen)) or "no",
        lowered=", ".join(lowered),
        boards=", ".join(f"`{board.name}`" for board in BOARDS.values()),
        built=BUILT,
        ahead=AHEAD,
    )
    return "\n\n".join(fill(" ".join(part.split())) for part in text.split("\n\n")) + "\n"


def fill(text: str) -> str:
    """In lines; names are not broken at their hyphens."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def cell(chosen: list[Record], opset: int) -> str:
    """How many count, and the largest error of those."""
    failed = {(r["network"], where) for r in chosen for where, _ in failures(r)}
    good = [
        r["opsets"][str(opset)]["error"]
        for r in chosen
        if str(opset) in r["opsets"] and (r["network"], str(opset)) not in failed
    ]
    return f"{len(good)} ({max(good):.0e})" if good else "0"


def taken(record: Record) -> bool | None:
    """Whether the board's tables take the file; None where it was not asked."""
    return not record["refused"] if "refused" in record else None


def built(record: Record) -> bool | None:
    """Whether TensorRT-RTX built an engine; None where it was not asked."""
    return record["rtx"]["ok"] if "rtx" in record else None


def share(chosen: list[Record], opset: int, passes: Callable[[Record], bool | None]) -> str:
    """How many pass, of those where it was looked at (``passes`` gives None where it was not)."""
    found = [passes(r["opsets"][str(opset)]) for r in chosen if str(opset) in r["opsets"]]
    seen = [one for one in found if one is not None]
    return f"{sum(seen)} of {len(seen)}" if seen else "-"
