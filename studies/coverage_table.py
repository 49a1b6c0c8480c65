"""The records of :mod:`studies.coverage` as Markdown."""

from __future__ import annotations

import collections
import datetime as dt
import importlib.metadata
import json
import statistics
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
SETS = {
    "torchvision": "torchvision classifiers",
    "segmentation": "torchvision segmentation",
    "detection": "torchvision detection, raw heads",
    "timm": "timm families",
    "random": "timm, drawn at random",
    "files": "a user's own file",
    "detectors": "detectors, small",
    "segmenters": "segmenters, small",
    "video": "video",
    "audio": "audio",
    "ocr": "text in images",
    "restoration": "restoration and depth",
}
TASKS = ("detectors", "segmenters", "video", "audio", "ocr", "restoration")
"""Sets of :mod:`studies.coverage_dense`, ``coverage_sequences``, ``coverage_transformers`` and torchvision's video."""
OURS, PEER = "jetpress", "torch-pruning"
OUTPUT = "output of the network"
_PACKAGES = ("torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxruntime", "onnxruntime-gpu")
_TASKS_PACKAGES = ("torch", "torchvision", "transformers", "onnx", "onnxruntime", "onnxruntime-gpu")

_HEAD = """# On how many networks does pruning work?

Written by `python -m studies.coverage table RESULTS --write docs/coverage.md` on {date}, from the results of
`python -m studies.coverage run RESULTS --peer`; processor only, one thread a network;
{versions}.
What classifies images and torchvision's own detectors and segmenters; networks for other tasks are in the second part.

Path: prune without hints (l2, half of every group of channels, widths a multiple of 8) > a training step at another
batch size > save > load into the network rebuilt, equal > ONNX opset 18 > equal in ONNX Runtime within 1e-3 of the
largest output. A network counts when all of it holds. torch-pruning is called as its README shows (group magnitude, the
same ratio and multiple, the last layer ignored) and counts when the training step runs. Each network has 300 s of
processor time, torch-pruning 60 s.

Detectors count by the numbers of their heads, without decoding and non-maximum suppression. The random networks are
timm's others in the order that seed 0 gives, at most 60 M parameters and 288 pixels. A user's own file is
`studies/coverage_files.py`.
"""
_TASKS = """
## Detection, segmentation, video, audio, text, restoration

Written by `python -m studies.coverage table RESULTS --tasks --write docs/coverage.md` on {date}, from the
results of `python -m studies.coverage run RESULTS --sets {sets} --opsets 18`;
{versions}.

Small networks after their papers (`studies/coverage_dense.py`, `coverage_restoration.py`, `coverage_sequences.py`),
torchvision's for video, and those of transformers with configurations of our own; all with random weights. The path is
that above and ends with the preflight of an Orin Nano, for whose parser the file is written. A network of which nothing
is removed is a failure.
"""

_BELOW = """Analysis: median of the processor seconds from the network to the list of all groups, on the networks that
both analyse (last column), one right after the other in one process; ours runs the network without its products.
*Up to loading*: the path without its export. *As graph*: the network's code computes widths that cannot be changed;
it goes on as its traced graph, which trains, saves, loads and exports the same way. Sets that are missing, and
networks missing from a set, have not been run yet."""


def records(*paths: Path) -> dict[tuple[str, str], Record]:
    """(network, tool) -> its last record."""
    lines = [line for path in paths if path.exists() for line in path.read_text().splitlines()]
    return {(r["network"], r["tool"]): r for r in map(json.loads, lines)}


def table(*paths: Path) -> str:
    """Per set ours beside torch-pruning; opsets; what stays and why; every failure."""
    found = _of_sets(set(SETS) - set(TASKS), *paths)
    parts = [
        _head(_HEAD, _PACKAGES),
        *_whole_path(found),
        "",
        _BELOW,
        "",
        *_opsets(found),
        "",
        *_stays(found),
        "",
    ]
    return "\n".join([*parts, *_failures(found)]) + "\n"


def with_tasks(page: str, *paths: Path) -> str:
    """The page with the part on networks for other tasks anew."""
    found = _of_sets(set(TASKS), *paths)
    parts = [
        _head(_TASKS, _TASKS_PACKAGES),
        *_whole_path(found),
        "",
        *_stays(found),
        "",
        *_removed(found),
        *_failures(found),
    ]
    first, _, _ = page.partition(_TASKS[: _TASKS.index("Written")])
    return first.rstrip("\n") + "\n" + "\n".join(parts) + "\n"


def _of_sets(chosen: Collection[str], *paths: Path) -> list[Record]:
    found = records(*paths).values()
    return [r for r in found if "skipped" not in r and r["network"].partition(":")[0] in chosen]


def _head(text: str, packages: Sequence[str]) -> str:
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return text.format(
        date=dt.datetime.now(dt.UTC).date(), versions=", ".join(versions), sets=" ".join(TASKS)
    )


def _of(found: Iterable[Record], family: str, tool: str) -> dict[str, Record]:
    return {r["network"]: r for r in found if r["network"].startswith(f"{family}:") and r["tool"] == tool}


def _whole_path(found: list[Record]) -> Iterator[str]:
    yield (
        "| set | whole path: ours | up to loading: ours | up to training: torch-pruning | as graph "
        "| analysis: ours, s | torch-pruning, s | of |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for family, title in SETS.items():
        ours, peer = _of(found, family, OURS), _of(found, family, PEER)
        if not ours:
            continue
        both = [r for r in peer.values() if {"analysis_s", "jetpress_analysis_s"} <= r.keys()]
        graphs = sum(r.get("graph", False) for r in ours.values())
        loaded = sum(r["ok"] or r["stage"] == "export" for r in ours.values())
        whole = {n: r for n, r in ours.items() if "opsets" in r or not r["ok"]}
        cells = [title, _share(whole), f"{loaded} of {len(ours)}", _share(peer), str(graphs)]
        cells += [_median(r[key] for r in both) for key in ("jetpress_analysis_s", "analysis_s")]
        yield f"| {' | '.join([*cells, str(len(both))])} |"


def _share(chosen: dict[str, Record]) -> str:
    return f"{sum(r['ok'] for r in chosen.values())} of {len(chosen)}" if chosen else "not run"


def _median(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.median(found):.2f}" if found else "-"


def _opsets(found: list[Record]) -> Iterator[str]:
    """Delivered exactly as asked for, and equal in ONNX Runtime."""
    ours = [r for r in found if r["tool"] == OURS and "opsets" in r]
    opsets = sorted({opset for r in ours for opset in r["opsets"]}, key=int, reverse=True)
    yield f"| pruned networks: opset delivered, equal | {' | '.join(opsets)} |"
    yield f"|---|{'---|' * len(opsets)}"
    for family, title in SETS.items():
        chosen = _of(ours, family, OURS).values()
        if chosen:
            cells = [
                f"{sum(_equal(r['opsets'].get(o, {}), o) for r in chosen)} of {len(chosen)}" for o in opsets
            ]
            yield f"| {title} | {' | '.join(cells)} |"


def _equal(entry: Record, opset: str) -> bool:
    return entry.get("delivered") == int(opset) and entry["error"] <= 1e-3


def _stays(found: list[Record]) -> Iterator[str]:
    ours = [r for r in found if r["tool"] == OURS and "fixed" in r]
    parameters: collections.Counter[str] = collections.Counter()
    networks: collections.Counter[str] = collections.Counter()
    for r in ours:
        parameters.update(r["fixed"])
        networks.update(set(r["fixed"]))
    cut, groups = sum(r.get("cut", 0) for r in ours), sum(r["groups"] for r in ours)
    refused = sum(len(r.get("refused", ())) for r in ours)
    odd = sum(r.get("odd", 0) for r in ours)
    yield f"Of {groups} groups of channels in {len(ours)} networks {cut} were cut; {refused} were refused by the check"
    yield f"against the dense network, {odd} came out at a width that is no multiple of 8. The others have no smaller"
    yield f"multiple. {_oracle(ours)}Beside what the outputs need, these operators fixed channels:"
    yield ""
    yield "| operator | parameters | networks |"
    yield "|---|---|---|"
    for name, count in parameters.most_common():
        if name != OUTPUT:
            yield f"| {name} | {count} | {networks[name]} |"


def _oracle(ours: list[Record]) -> str:
    """The largest error of all cuts; those judged in single precision apart."""
    double, single = ([r["oracle"] for r in ours if r.get("precision") == p] for p in ("double", "single"))
    if not double:
        return ""
    text = f"The check's largest relative error, over {len(double)} of them in double precision, is {max(double):.0e}"
    text += f"; {len(single)} that insist on single precision: {max(single):.0e}" if single else ""
    return f"{text}.\n"


def _removed(found: list[Record]) -> Iterator[str]:
    """What each network loses."""
    rows = [r for r in found if r["tool"] == OURS and "parameters" in r]
    yield "| network | parameters | removed | groups cut | whole path |"
    yield "|---|---|---|---|---|"
    for r in rows:
        gone = 100 * (1 - r["parameters"] / r["parameters_before"])
        cells = r["network"], f"{r['parameters_before']:,}", f"{gone:.0f} %", f"{r['cut']} of {r['groups']}"
        yield f"| {' | '.join(cells)} | {'yes' if r['ok'] else 'no'} |"
    yield ""


def _failures(found: list[Record]) -> Iterator[str]:
    """Ours one by one; torch-pruning's by what went wrong."""
    ours = [r for r in found if r["tool"] == OURS and not r["ok"]]
    yield "No failure of ours." if not ours else "| ours fails | at | what |\n|---|---|---|"
    for r in ours:
        yield f"| {r['network']} | {r['stage']} | {_cell(r['error'])} |"
    theirs = [r for r in found if r["tool"] == PEER and not r["ok"]]
    if theirs:
        yield "\n| torch-pruning fails | at | what |\n|---|---|---|"
    for r in theirs:
        yield f"| {r['network']} | {r['stage']} | {_cell(r['error'])} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:120]
