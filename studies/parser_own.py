"""Do our own exports parse on their own target? Each network of the verdicts, exported again, held against the rules.

    python -m studies.parser_own VERDICTS.json results.jsonl [--all] [--only swin_t vit_tiny]   # resumable

The names in ``VERDICTS.json`` say network, variant and target (``timm_pit_s_224-dyn-xavier``); with ``--all`` every
network is written for every parser that a target has (:data:`PARSERS`), in FP32, with an open batch, in FP16 and INT8
where the file carries them, and with 2:4 weights. A network is traced once for a fixed and once for an open batch, and
written as a recipe for the target resolves it; weights are random, ranges those of one random image. Printed: how many
parse by the preflight's rules, and the rewrites and refusals of each.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight.compatibility import judge
from jetpress.deploy.preflight.graph import inferred
from jetpress.deploy.targets import Target, find
from jetpress.pipeline.graph import exporting, fp16_layers
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.simplify import simplify
from jetpress.pipeline.graph.trace import trace
from jetpress.pipeline.network import detectors, models
from jetpress.pipeline.quantization import calibrate
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.result import rest_in_fp16
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.device import BuildConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.sparse import masks
from studies.coverage import in_a_process, warm_up
from studies.opsets import exported, line, smaller

NAME = re.compile(
    r"ours/(?:(torchvision|timm|segmentation|detection)_)?(.+?)-(orin-nano|nano|xavier-jp4|xavier)\.onnx"
)
SHORT = {"ssdlite": "detection:ssdlite320_mobilenet_v3_large"}
PARSERS = (
    "nano-jp46", "xavier-jp4", "xavier-jp50", "xavier", "orin-nano-jp60", "orin-nano", "thor", "agx-orin-jp7",
    "agx-orin-jp722",
)  # fmt: skip
"""One target of each parser: TensorRT 8.0, 8.2, 8.4, 8.5, 8.6, 10.3, 10.13, 10.16, 11.4."""
EVERY = ((), ("dyn",), ("fp16",), ("int8",), ("sparse",))
RECIPE = Path(__file__).parents[1] / "recipes" / "digits.toml"
PROCESSOR_S = 3000

Work = dict[tuple[str, ...], list[str]]
"""Variants -> targets."""


def networks(verdicts: Path, everything: bool) -> dict[str, Work]:
    """What is written of each network."""
    found: dict[str, Work] = defaultdict(lambda: defaultdict(list))
    for name in json.loads(verdicts.read_text()):
        if match := NAME.fullmatch(name):
            family, rest, target = match.groups()
            network, *variants = rest.split("-")
            reference = f"{family}:{network}" if family else SHORT[network]
            found[reference][tuple(variants)].append(target)
    if everything:
        return {reference: {one: list(PARSERS) for one in EVERY} for reference in found}
    return {reference: dict(work) for reference, work in found.items()}


@dataclass(frozen=True)
class Subgraph:
    """A network as it was traced, and what is written of it."""

    module: nn.Module
    inputs: tuple[InputConfig, ...]
    graph: ir.Model

    def written(self, target: Target, variants: tuple[str, ...], path: Path) -> tuple[list[str], str]:
        """Write the file; what was rewritten, and its precision. Empty where the target takes no such file."""
        precision = next((one for one in ("int8", "fp16") if one in variants), "fp32")
        if precision not in target.precisions or (precision == "fp16" and not target.strongly_typed):
            return [], ""
        recipe = Recipe.load(RECIPE)
        recipe = replace(recipe, export=config(variants), build=BuildConfig(precision=precision))  # type: ignore[arg-type]
        plan = resolve(recipe, target).recipe
        rules = None
        if plan.export.output == "detections":
            rules = detectors.rules_of(self.module, self.inputs[0].shape)
        graph, said = exporting.to_opset(
            self.graph.clone(), self.inputs, replace(plan.export, fp16=False), rules=rules
        )
        if precision == "fp32":
            exporting.write(graph, path)
            return said, precision
        batch = plan.export.max_batch if "dyn" in variants else 1
        seen = list(cases(models.example_inputs(self.inputs, 1, seed=1), batch, edges=False))
        proto = exporting.checked(graph)
        if precision == "fp16":
            halved, _ = fp16_layers.to_fp16(proto, seen, plan.export.parser)
            exporting.tidy(halved, plan.export.ir_version)
            exporting.write(halved, path)
        else:
            made = _in_int8(proto, plan, list(fp16_layers.feeds(proto, seen)))
            onnx.save(onnx.shape_inference.infer_shapes(made), path)
        return said, precision


def _in_int8(proto: onnx.ModelProto, plan: Recipe, feeds: list[Any]) -> onnx.ModelProto:
    subject = Subject(proto, DIALECTS[plan.quantize.dialect or "tensorrt"])
    seen = calibrate.look(proto, subject.tensors(), feeds[:1], counted=False)
    made = subject.graph(calibrate.ranges(seen, "max", subject.dialect))
    return rest_in_fp16(made, feeds) if plan.quantize.rest == "fp16" else made


def config(variants: Iterable[str]) -> ExportConfig:
    """As a recipe asks for it."""
    asked = {*variants}
    output = "argmax" if {"argmax", "u8argmax"} & asked else "softmax" if "softmax" in asked else "scores"
    return ExportConfig(
        dynamic_batch="dyn" in asked,
        input="uint8_nhwc" if {"u8", "u8argmax", "u8det"} & asked else "network",
        output="detections" if {"det", "u8det"} & asked else output,  # type: ignore[arg-type]
    )


def read_by(target: Target) -> Iterator[tuple[Target, str]]:
    """Who reads a file for a target, and what to call that: files for 8.5 are held against 8.6, too, as the verdicts
    do."""
    yield target, ""
    if target.tensorrt.startswith("8.5"):
        yield replace(target, tensorrt="8.6.1"), " 8.6"


def subgraph(reference: str, opened: bool, sparse: bool) -> Subgraph:
    """The network with random weights, traced."""
    module, inputs = exported(reference)
    inputs = smaller(reference, inputs)
    with torch.no_grad():
        for weight in module.parameters() if sparse else ():
            if weight.ndim > 1 and weight.shape[1] % masks.GROUP == 0:
                weight.mul_(masks.best_mask(weight))
    names = detectors.OUTPUTS if isinstance(module, detectors.Detector) else ()
    graph = trace(module, inputs, names, 18, max_batch=8 if opened else None)
    simplify(graph)
    return Subgraph(module, inputs, graph)


def one(reference: str, opened: bool, sparse: bool, work: Work) -> dict[str, Any]:
    """Variants -> target -> what was rewritten, what is refused."""
    made = subgraph(reference, opened, sparse)
    found: dict[str, Any] = {}
    for variants, targets in work.items():
        results = found["-".join([reference, *variants])] = {}
        for name in targets:
            try:
                results |= judged(made, variants, find(name))
            except Exception as error:  # noqa: BLE001 - a crash is a result here
                results[name] = {"rewritten": [], "refused": [line(error)]}
    return found


def judged(made: Subgraph, variants: tuple[str, ...], target: Target) -> dict[str, Any]:
    """What every reader of a target says of the file that is written for it."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        said, precision = made.written(target, variants, path)
        if not precision:
            return {}
        graph = inferred(guard.check_onnx(path))
        for reader, version in read_by(target):
            verdict = judge(graph, reader, precision=precision, trial=False)
            errors = [f"{p.op}: {p.what}" for p in verdict.problems if p.level == "error"]
            found[f"{target.name}{version}"] = {"rewritten": said, "refused": errors}
            if (layers := verdict.sparsity) and "sparse" in variants:
                found[f"{target.name}{version}"]["sparse"] = [layers.are, layers.could_be]
    return found


def parts(work: Work) -> Iterator[tuple[bool, bool, Work]]:
    """By what is traced: an open batch or not, 2:4 weights or not."""
    for opened in (False, True):
        for sparse in (False, True):
            part = {v: t for v, t in work.items() if ("dyn" in v, "sparse" in v) == (opened, sparse)}
            if part:
                yield opened, sparse, part


def main() -> None:
    """Append what is not there yet, then count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    warm_up()
    there = asked.results.read_text().splitlines() if asked.results.is_file() else []
    done = {json.loads(row)["case"] for row in there}
    for reference, whole in networks(asked.verdicts, asked.all).items():
        left = {v: t for v, t in whole.items() if "-".join([reference, *v]) not in done}
        if asked.only and not any(name in reference for name in asked.only):
            continue
        for opened, sparse, work in parts(left):
            found = in_a_process(functools.partial(one, reference, opened, sparse, work), PROCESSOR_S)
            if isinstance(found, str):
                why = {"rewritten": [], "refused": [found]}
                found = {"-".join([reference, *v]): dict.fromkeys(t, why) for v, t in work.items()}
            with asked.results.open("a") as file:
                file.writelines(json.dumps({"case": c, "targets": t}) + "\n" for c, t in found.items())
    told([json.loads(row) for row in asked.results.read_text().splitlines()])


def told(rows: list[dict[str, Any]]) -> None:
    """The count, and what was rewritten or refused."""
    every = [(row["case"], name, result) for row in rows for name, result in row["targets"].items()]
    print(f"{sum(not result['refused'] for *_, result in every)} of {len(every)} pairs pass")
    for case, name, result in every:
        if result["refused"] or result["rewritten"]:
            print(f"{case} {name}: {'; '.join(result['rewritten'])} {result['refused'] or ''}")


if __name__ == "__main__":
    main()
