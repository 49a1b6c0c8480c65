"""INT8 graphs of real networks: held against the tables of every target that runs INT8, and built by TensorRT-RTX.

    python -m studies.int8_graphs DATA --out FOLDER [--networks resnet20 resnet56 mobilenet_v2 resnet50]

Each target gets the opset, the dialect and the types around Q/DQ that a run would give it; equal graphs are made once.
TensorRT-RTX builds ahead of time for SM86, without a GPU. Ranges are the largest numbers of 16 images: what is asked
here is whether a graph is taken, not how good it is. DATA is the folder of `studies.real`; the ResNet-50 has
random weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import compatibility, trial
from jetpress.deploy.preflight.graph import inferred
from jetpress.deploy.targets import TARGETS, Target
from jetpress.pipeline.graph import fp16_layers
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.network import checkpoints
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.quantization import calibrate
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.judge import Judge
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.device import BuildConfig
from studies.real import FILES, cifar, imagenet, named
from studies.table import row, title

IMAGES = 16


def plans() -> Iterator[tuple[Target, Plan]]:
    """Every target that TensorRT runs INT8 on, and what a run would decide for it."""
    for target in TARGETS.values():
        if target.backend != "onnxruntime" and "int8" in target.precisions:
            recipe = Recipe(name="graphs", build=BuildConfig(precision="int8"))
            yield target, resolve(recipe, target)


def network_of(name: str, data: Path) -> Network:
    """With its real weights where there are some."""
    network = named(name)
    if name in FILES:
        checkpoints.load_weights(network.module, data / "weights" / f"{FILES[name]}.pth")
    return network


@cache
def images(size: int, data: Path) -> torch.Tensor:
    """``[16, 3, size, size]``, normalised."""
    split = cifar(data, "test") if size == 32 else imagenet(data)["val650"]
    (found,), _ = split.batch(range(IMAGES), None)
    return found


def graph(network: Network, plan: Plan, given: torch.Tensor) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """In FP32, and in INT8 as the plan says."""
    exporting, config = replace(plan.recipe.export, fp16=False), plan.recipe.quantize
    proto = to_onnx(network.module, network.model.inputs, (), exporting)
    subject = Subject(proto, DIALECTS[str(config.dialect)])
    judge = Judge(network, Ends(), 1)
    seen = calibrate.look(proto, subject.tensors(), [feed for _, feed in judge.feeds(proto, (given,))])
    made = subject.graph(calibrate.ranges(seen, "max", subject.dialect))
    if config.rest == "fp16":
        shaped = onnx.shape_inference.infer_shapes(made)
        halved, _ = fp16_layers.to_fp16(shaped, cases((given[:4],), 1, edges=True))
        common.RemoveUnusedNodesPass()(halved)
        common.NameFixPass()(halved)
        made = ir.to_proto(halved)
    return proto, made


def study(network: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each target."""
    loaded, builds = network_of(network, given.data), dict[tuple[Any, ...], dict[str, Any]]()
    for target, plan in plans():
        export, config = plan.recipe.export, plan.recipe.quantize
        key = (export.opset, export.ir_version, export.lower, config.dialect, config.rest)
        path = given.out / f"{network}-{len(builds)}.onnx"
        if key not in builds:
            made = graph(loaded, plan, images(loaded.model.inputs[0].shape[-1], given.data))[1]
            path.write_bytes(made.SerializeToString())
            builds[key] = {
                "path": path,
                "rtx": trial.attempt("tensorrt_rtx", inferred(guard.check_onnx(path))),
            }
        built = builds[key]
        told = compatibility.preflight(built["path"], target, precision="int8", trial=False)
        problems = [f"{one.level}: {one.what}" for one in told.problems if one.level != "note"]
        yield {
            "network": network,
            "target": target.name,
            "opset": export.opset,
            "dialect": config.dialect,
            "rest": config.rest or "fp32",
            "nodes": sum(told.nodes.values()),
            "ok": told.ok,
            "problems": problems,
            "rtx": asdict(built["rtx"]) if built["rtx"] else None,
        }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=[*FILES, "resnet50"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    title("network", "target", "opset", "dialect, rest", "nodes", "tables", "TensorRT-RTX")
    for network in given.networks:
        found = []
        for one in study(network, given):
            found.append(json.dumps(one))
            rtx = one["rtx"] or {"stage": "not installed", "ok": "", "error": ""}
            built = f"{rtx['stage']} {rtx['ok']} {rtx['error']}".strip()
            tables = "; ".join(one["problems"]) or ("taken" if one["ok"] else "refused")
            kinds = f"{one['dialect']}, {one['rest']}"
            row(network, one["target"], one["opset"], kinds, one["nodes"], tables, built)
        (given.out / f"graphs-{network}.jsonl").write_text("\n".join(found) + "\n")


if __name__ == "__main__":
    main()
