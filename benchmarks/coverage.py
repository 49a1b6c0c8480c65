"""On how many networks does pruning work? The whole path, without hints, one process per network.

Path: prune (l2, ratio 0.5, widths a multiple of 8) > one training step > save > replay and load, equal > ONNX
(dynamo, opset 18) > equal in ONNX Runtime. A network counts when all of it holds. Results go to a file of JSON
lines; run the same command again to go on where it stopped.

    python -m benchmarks.coverage run results.jsonl                       # everything; hours on two cores
    python -m benchmarks.coverage run results.jsonl --only resnet18 swin_t --peer
    python -m benchmarks.coverage table results.jsonl

``--peer`` runs torch-pruning beside it, called as its README shows. Detection networks are not part of this.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from pipeline import allocate, channels, criteria, models

RATIO, MULTIPLE, SEED = 0.5, 8, 0
TIMEOUT_S = 900
TOLERANCE = 1e-3
"""Of ONNX Runtime, single precision: largest error relative to the largest output."""

_FAMILIES = """
beit_base_patch16_224 caformer_s18 cait_xxs24_224 coatnet_nano_rw_224 convmixer_768_32 convnext_tiny
convnextv2_tiny cspdarknet53 cspresnet50 darknet53 deit3_small_patch16_224 deit_small_patch16_224
densenet121 dla34 dpn68 eca_nfnet_l0 edgenext_small efficientformer_l1 efficientnet_b0 efficientnet_lite0
efficientnetv2_rw_t efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_224 fastvit_t8
gernet_s ghostnet_100 ghostnetv2_100 hardcorenas_a hgnetv2_b0 hrnet_w18_small inception_next_tiny
inception_resnet_v2 inception_v4 lcnet_100 legacy_xception levit_128s maxvit_tiny_tf_224 mixer_s16_224
mobilenetv3_large_100 mobilenetv4_conv_medium mobilenetv4_conv_small mobilenetv4_hybrid_medium mobileone_s0
mobilevit_s mobilevitv2_100 nfnet_f0 pit_s_224 poolformer_s12 pvt_v2_b0 regnety_008 regnetz_b16 repvgg_a0
repvit_m1 res2net50_26w_4s resmlp_12_224 resnest14d resnet50d resnetv2_50 rexnet_100 selecsls42b
sequencer2d_s seresnet50 skresnet18 starnet_s1 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256
tiny_vit_5m_224 tinynet_a twins_svt_small vgg11_bn vit_small_patch16_224 vit_tiny_patch16_224 xception41
xcit_nano_12_p16_224
"""
"""One network per timm family: those that torch-pruning was measured on."""


def networks() -> dict[str, list[str]]:
    """Set -> names, as ``set:name``."""
    import torchvision.models as zoo

    return {
        "torchvision": [f"torchvision:{name}" for name in zoo.list_models(module=zoo)],
        "segmentation": [f"segmentation:{name}" for name in zoo.list_models(module=zoo.segmentation)],
        "timm": [f"timm:{name}" for name in _FAMILIES.split()],
    }


def build(reference: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network with random weights, and a batch of two images of the size it was made for."""
    torch.manual_seed(SEED)
    family, _, name = reference.partition(":")
    if family == "timm":
        import timm

        module = timm.create_model(name)
        channel_count, height, width = vars(module)["pretrained_cfg"].get("input_size", (3, 224, 224))
    else:
        import torchvision.models as zoo

        plain = {"weights": None} | ({"weights_backbone": None} if family == "segmentation" else {})
        module = zoo.get_model(name, **plain)
        channel_count, height, width = 3, *_torchvision_size(name)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)  # classifiers that start at zero would make all outputs equal
    return module.eval(), (torch.randn(2, channel_count, height, width),)


def _torchvision_size(name: str) -> tuple[int, int]:
    side = 299 if name == "inception_v3" else 518 if name == "vit_h_14" else 224
    return side, side


# The path


def ours(reference: str) -> dict[str, Any]:
    """The whole path with jetpress."""
    module, inputs = build(reference)
    started = time.perf_counter()
    graph = channels.analyse(module, inputs)
    seconds = time.perf_counter() - started
    removal = allocate.uniform(graph, criteria.scores("l2", module, graph), RATIO, MULTIPLE)
    smaller, step = channels.cut(module, inputs, graph, removal)
    _train_step(smaller, inputs)
    _check_replay(module, smaller, inputs, json.loads(json.dumps(step)))
    return {
        "analysis_s": seconds,
        "groups": len(graph.groups),
        "cut": len(step["units"]),
        "fixed": len(graph.fixed),
        "refused": step["refused"],
        "graph": step["graph"],
        "odd": sum(1 for g in graph.groups if g.name in step["units"] and _left(g, step) % MULTIPLE),
        **_size(module, smaller),
        "onnx_error": _onnx_error(smaller, inputs),
    }


def _left(group: channels.Group, step: Mapping[str, Any]) -> int:
    before, after = step["units"][group.name]
    return int(group.width * after // before)


def peer(reference: str) -> dict[str, Any]:
    """The same with torch-pruning: group magnitude, only the classifier ignored."""
    import torch_pruning

    module, inputs = build(reference)
    smaller = copy.deepcopy(module)
    last = [part for part in smaller.modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    started = time.perf_counter()
    pruner = torch_pruning.pruner.MagnitudePruner(
        smaller,
        inputs[0],
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        round_to=MULTIPLE,
        ignored_layers=last,
    )
    seconds = time.perf_counter() - started
    pruner.step()
    _train_step(smaller, inputs)
    return {"analysis_s": seconds, **_size(module, smaller), "onnx_error": _onnx_error(smaller, inputs)}


def _size(before: nn.Module, after: nn.Module) -> dict[str, int]:
    return {
        "parameters_before": sum(p.numel() for p in before.parameters()),
        "parameters": sum(p.numel() for p in after.parameters()),
    }


def _train_step(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """One step at another batch size than the traced one; every weight that takes part gets a gradient."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4)
    loss = torch.stack(
        [
            (t.float() - 1).square().mean()
            for t in models.outputs_of(module(*(torch.cat([x, x[:1]]) for x in inputs)))
        ]
    )
    loss.sum().backward()
    if not any(p.grad is not None and bool(p.grad.any()) for p in module.parameters()):
        raise RuntimeError("no gradient arrives")
    optimizer.step()
    module.eval()


def _check_replay(
    module: nn.Module, smaller: nn.Module, inputs: tuple[Tensor, ...], step: dict[str, Any]
) -> None:
    """Saved, replayed on the dense network and loaded, it gives the same numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_model(smaller, str(path))
        again = channels.replay(module, inputs, step).eval()
        load_model(again, path)
    with torch.no_grad():
        for a, b in zip(models.outputs_of(smaller(*inputs)), models.outputs_of(again(*inputs)), strict=True):
            if not torch.equal(a, b):
                raise RuntimeError(f"replayed, the outputs differ by {(a - b).abs().max():.1e}")


def _onnx_error(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Largest error of ONNX Runtime, relative to the largest output; at batch 1, as engines are built."""
    import onnxruntime

    inputs = tuple(x[:1] for x in inputs)
    with torch.no_grad():
        expected = models.outputs_of(module(*inputs))
    program = torch.onnx.export(module, inputs, dynamo=True, opset_version=18, verbose=False)
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        program.save(path, external_data=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    found = session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
    return max(
        float(np.abs(a - b.numpy()).max() / max(float(b.abs().max()), 1e-12))
        for a, b in zip(found, expected, strict=True)
    )


# The table


def one(reference: str, tool: str) -> dict[str, Any]:
    """The record of one network: what came out, or where and how it failed."""
    run: Callable[[str], dict[str, Any]] = {"jetpress": ours, "torch-pruning": peer}[tool]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        record = run(reference)
        record["ok"] = record["onnx_error"] <= TOLERANCE
    except Exception as error:  # noqa: BLE001  (a crash is a result here)
        record = {"ok": False, "error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
    return {"network": reference, "tool": tool, **record}


def run(results: Path, only: list[str], with_peer: bool) -> None:
    """Append the records that ``results`` does not hold yet, each from a process of its own."""
    done = {(r["network"], r["tool"]) for r in _records(results)}
    for reference in (name for names in networks().values() for name in names):
        if only and reference.partition(":")[2] not in only:
            continue
        for tool in ("jetpress", "torch-pruning") if with_peer else ("jetpress",):
            if (reference, tool) in done:
                continue
            record = _in_a_process(reference, tool)
            with results.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)


def _in_a_process(reference: str, tool: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.coverage", "one", reference, tool]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        lines = done.stdout.strip().splitlines()
        if done.returncode == 0 and lines:
            record: dict[str, Any] = json.loads(lines[-1])
            return record
        problem = f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
    except subprocess.TimeoutExpired:
        problem = f"no result after {TIMEOUT_S} s"
    return {"network": reference, "tool": tool, "ok": False, "error": problem}


def _records(results: Path) -> Iterator[dict[str, Any]]:
    if results.exists():
        yield from (json.loads(line) for line in results.read_text().splitlines())


def table(results: Path) -> str:
    """Markdown: per set and tool how many work, how fast the analysis is; then every failure."""
    records = list(_records(results))
    lines = ["| set | tool | whole path | of | analysis, median s | as graph |", "|---|---|---|---|---|---|"]
    for family in networks():
        for tool in ("jetpress", "torch-pruning"):
            chosen = [r for r in records if r["network"].startswith(f"{family}:") and r["tool"] == tool]
            if chosen:
                times = [r["analysis_s"] for r in chosen if "analysis_s" in r]
                median = f"{statistics.median(times):.2f}" if times else "-"
                good, graphs = sum(r["ok"] for r in chosen), sum(r.get("graph", False) for r in chosen)
                lines.append(f"| {family} | {tool} | {good} | {len(chosen)} | {median} | {graphs} |")
    failures = [r for r in records if not r["ok"]]
    if failures:
        lines += ["", "| failed | tool | what |", "|---|---|---|"]
        for r in failures:
            what = r.get("error") or f"ONNX Runtime differs by {r['onnx_error']:.1e}"
            lines.append(
                f"| {r['network']} | {r['tool']} | {' '.join(what.split()).replace('|', '/')[:160]} |"
            )
    return "\n".join(lines)


def main() -> None:
    """``run`` or ``table``; ``one`` is what the processes run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("results", type=Path)
    running.add_argument("--only", nargs="*", default=[])
    running.add_argument("--peer", action="store_true")
    commands.add_parser("table").add_argument("results", type=Path)
    single = commands.add_parser("one")
    single.add_argument("network")
    single.add_argument("tool")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.results, arguments.only, arguments.peer)
    elif arguments.command == "table":
        print(table(arguments.results))
    else:
        print(json.dumps(one(arguments.network, arguments.tool)))


if __name__ == "__main__":
    main()
