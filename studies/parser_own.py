"""Do our own exports parse on their own target? Each network of the verdicts, exported again, held against the rules.

    python -m studies.parser_own VERDICTS.json results.jsonl [--only swin_t vit_tiny]   # resumable

The names in ``VERDICTS.json`` say network, variant and target (``timm_pit_s_224-dyn-xavier``). A network is traced
once for each variant and lowered for each target; weights are random. Printed: how many parse by the preflight's rules,
and the rewrites and refusals of each. INT8, FP16 and detections in the graph need more than an export: they are named
and left out.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import tempfile
import warnings
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.targets import Target, find
from jetpress.pipeline.graph import exporting
from jetpress.pipeline.graph.simplify import simplify
from jetpress.pipeline.graph.trace import trace
from jetpress.pipeline.recipe.sections.export import ExportConfig
from studies.coverage import in_a_process, warm_up
from studies.opsets import exported, line, smaller

NAME = re.compile(r"ours/(torchvision|timm|segmentation|detection)_(.+?)-(orin-nano|nano|xavier)\.onnx")
VARIANTS = ("dyn", "argmax", "softmax", "u8", "u8argmax", "int8", "fp16")
LEFT_OUT = frozenset({"int8", "fp16"})
PROCESSOR_S = 600


def pairs(verdicts: Path) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Network and variants -> targets."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for name in json.loads(verdicts.read_text()):
        if match := NAME.fullmatch(name):
            family, rest, target = match.groups()
            network, *variants = rest.split("-")
            found[f"{family}:{network}", tuple(variants)].append(target)
    return dict(found)


def config(target: Target, variants: tuple[str, ...]) -> ExportConfig:
    """As a recipe for this target is resolved."""
    output: Literal["scores", "softmax", "argmax"] = (
        "argmax" if {"argmax", "u8argmax"} & {*variants} else "softmax" if "softmax" in variants else "scores"
    )
    return ExportConfig(
        opset=target.opset,
        ir_version=target.ir_version,
        lower=target.lower,
        parser=target.tensorrt,
        int64_io=target.int64_io,
        dynamic_batch="dyn" in variants,
        input="uint8_nhwc" if {"u8", "u8argmax"} & {*variants} else "network",
        output=output,
    )


def read_by(target: Target) -> list[tuple[Target, str]]:
    """Who reads a file for a target, and what to call that: files for 8.5 are held against 8.6, too, as the verdicts
    do."""
    newer = [(replace(target, tensorrt="8.6.1"), " 8.6")] if target.tensorrt.startswith("8.5") else []
    return [(target, ""), *newer]


def one(reference: str, variants: tuple[str, ...], targets: list[str]) -> dict[str, Any]:
    """Target -> what was rewritten, what is refused."""
    module, inputs = exported(reference)
    inputs = smaller(reference, inputs)
    graph = trace(module, inputs, (), 18, max_batch=8 if "dyn" in variants else None)
    simplify(graph)
    found: dict[str, Any] = {}
    for name in targets:
        target = find(name)
        try:
            model, said = exporting.to_opset(graph.clone(), inputs, config(target, variants))
            with tempfile.TemporaryDirectory() as folder:
                exporting.write(model, Path(folder) / "model.onnx")
                for judged, version in read_by(target):
                    verdict = preflight(Path(folder) / "model.onnx", judged, trial=False)
                    errors = [f"{p.op}: {p.what}" for p in verdict.problems if p.level == "error"]
                    found[f"{name}{version}"] = {"rewritten": said, "refused": errors}
        except Exception as error:  # noqa: BLE001 - a crash is a result here
            found[name] = {"rewritten": [], "refused": [line(error)]}
    return found


def main() -> None:
    """Append what is not there yet, then count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    warm_up()
    there = asked.results.read_text().splitlines() if asked.results.is_file() else []
    done = {json.loads(row)["case"] for row in there}
    for (reference, variants), targets in pairs(asked.verdicts).items():
        case = "-".join([reference, *variants])
        if case in done or LEFT_OUT & {*variants} or (asked.only and not any(o in case for o in asked.only)):
            continue
        found = in_a_process(functools.partial(one, reference, variants, targets), PROCESSOR_S)
        targets_of = (
            {name: {"rewritten": [], "refused": [found]} for name in targets}
            if isinstance(found, str)
            else found
        )
        with asked.results.open("a") as file:
            file.write(json.dumps({"case": case, "targets": targets_of}) + "\n")
    rows = [json.loads(row) for row in asked.results.read_text().splitlines()]
    every = [(row["case"], name, result) for row in rows for name, result in row["targets"].items()]
    print(f"{sum(not result['refused'] for *_, result in every)} of {len(every)} pairs pass")
    for case, name, result in every:
        if result["refused"] or result["rewritten"]:
            print(f"{case} {name}: {'; '.join(result['rewritten'])} {result['refused'] or ''}")


if __name__ == "__main__":
    main()
