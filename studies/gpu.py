"""Engines on an NVIDIA GPU beside PyTorch: `studies/gpu.sh` calls this; what it measures is in ``gpu.json``.

    python -m studies.gpu run OUT [--limit 540] [--earlier gpu.json] [--small]

ResNet-50 and a one-stage detector, dense and pruned to half of their multiply-adds, in FP16 and INT8, by the runner of
the product with plain TensorRT (target gpu) and TensorRT-RTX (target rtx), and in FP16 by PyTorch, eager and compiled.
Weights are random: this is about time alone. Each step is a process with a time of its own; what ended well is in
``gpu.json`` and is not done again, what failed is there with its last words. ``--small`` is the same with a small
network on the CPU (ONNX Runtime in TensorRT's place), to try the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jetpress.deploy.runner.files import write_json

LEAST_S = 15.0
"""No step is begun with less."""
WARM, BLOCKS, RUNS = 20, 12, 10


@dataclass(frozen=True)
class Network:
    """What is measured."""

    name: str
    builder: str
    size: int


NETWORKS = (
    Network("resnet50", "torchvision:resnet50", 224),
    Network("detector", "torchvision:ssdlite320_mobilenet_v3_large", 320),
)
SMALL = (Network("resnet18", "torchvision:resnet18", 64),)
BACKENDS = {"rtx": "tensorrt_rtx", "gpu": "tensorrt"}


@dataclass(frozen=True)
class Step:
    """A process of its own, and the most seconds that it may take."""

    name: str
    seconds: float
    argv: tuple[str, ...]
    needed_by: tuple[str, ...] = ()
    """Steps for which it leaves files: with all of their results it need not be done again."""

    def is_done(self, known: dict[str, Any]) -> bool:
        """Whether its result is there, and what it leaves is not needed."""
        return all("result" in known.get(name, {}) for name in self.needed_by or (self.name,))


def steps(work: Path, small: bool) -> Iterator[Step]:
    """In the order of worth; what a step needs comes before it."""

    def ours(name: str, seconds: float, *words: str, needed_by: tuple[str, ...] = ()) -> Step:
        how = ("--small",) if small else ()
        return Step(name, seconds, (sys.executable, "-m", "studies.gpu", *words, *how), needed_by)

    targets = ("host",) if small else tuple(BACKENDS)
    yield ours("environment", 60, "environment")
    for network in SMALL if small else NETWORKS:
        for precision in ("fp32",) if small else ("fp16", "int8"):
            made = work / f"{network.name}-{precision}"
            if precision != "int8":
                yield ours(f"pytorch {network.name}", 120, "pytorch", network.name)
            measured = {f"{target} {network.name} {precision}": made / target for target in targets}
            words = ("files", network.name, precision, str(made))
            yield ours(f"{words[0]} {words[1]} {words[2]}", 150, *words, needed_by=tuple(measured))
            for name, place in measured.items():
                yield ours(name, 120, "engines", str(place))


def run(out: Path, work: Path, limit: float, earlier: Path | None, small: bool) -> None:
    """All steps that are not done yet, as far as the time goes."""
    began = time.monotonic()
    path = out / "gpu.json"
    known: dict[str, Any] = next(
        (json.loads(one.read_text()) for one in (path, earlier) if one and one.exists()), {}
    )
    write_json(str(path), known)
    for step in steps(work, small):
        left = limit - (time.monotonic() - began)
        if step.is_done(known):
            print(f"{step.name}: known", flush=True)
        elif left < LEAST_S:
            print(f"{step.name}: no time left", flush=True)
        else:
            started = time.monotonic()
            known[step.name] = {
                **_ended(step, min(step.seconds, left)),
                "seconds": round(time.monotonic() - started, 1),
            }
            write_json(str(path), known)
            said = known[step.name].get("error", "")
            print(f"{step.name}: {known[step.name]['seconds']} s {said[-200:]}", flush=True)


def _ended(step: Step, seconds: float) -> dict[str, Any]:
    """What the process printed last, as JSON; or why it did not."""
    try:
        done = subprocess.run(step.argv, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {seconds:.0f} s"}
    lines = done.stdout.strip().splitlines()
    try:
        return (
            {"result": json.loads(lines[-1])}
            if done.returncode == 0
            else {"error": done.stderr.strip()[-2000:]}
        )
    except (IndexError, ValueError):
        return {"error": f"it printed no JSON: {done.stdout[-500:]}"}


def environment() -> dict[str, Any]:
    """What is here."""
    import importlib.util

    import torch

    from jetpress.deploy.check import gpu_name

    modules = ("tensorrt", "tensorrt_rtx", "onnxruntime", "onnx", "pycuda", "cuda")
    found = {name: importlib.util.find_spec(name) is not None for name in modules}
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    return {
        "gpu": gpu_name(),
        "capability": capability,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        **found,
    }


def _modules(network: Network) -> dict[str, Any]:
    """Dense, and with half of its multiply-adds."""
    import torch

    import jetpress
    from jetpress.pipeline.network import models
    from jetpress.pipeline.recipe.sections.model import ModelConfig

    torch.manual_seed(0)
    dense = models.build(ModelConfig(builder=network.builder)).eval()
    image = torch.randn(1, 3, network.size, network.size)
    return {"dense": dense, "compressed": jetpress.prune(dense, image, macs=0.5).module.eval()}


def pytorch(network: Network, small: bool) -> dict[str, Any]:
    """Median ms of each network by the GPU's clock, eager and compiled, in turns; FP16 and channels last on a GPU."""
    import torch

    device, kind = ("cpu", torch.float32) if small else ("cuda", torch.float16)
    calls: dict[str, Callable[[], object]] = {}
    for name, module in _modules(network).items():
        module = module.to(device, kind, memory_format=torch.channels_last)
        image = torch.randn(1, 3, network.size, network.size, device=device, dtype=kind)
        image = image.contiguous(memory_format=torch.channels_last)
        for how, run in (("eager", module), ("compiled", torch.compile(module, mode="max-autotune"))):
            if small and how == "compiled":
                continue
            calls[f"{name} {how}"] = lambda run=run, image=image: run(image)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for call in calls.values():
            for _ in range(WARM):
                call()
        for _ in range(BLOCKS):
            for name, call in calls.items():
                times[name].append(_block(call, small))
    return {"ms": {name: median(series) for name, series in times.items()}, "blocks": times}


def _block(call: Callable[[], object], small: bool) -> float:
    """Mean ms of a few runs one after the other."""
    import torch

    if small:
        started = time.perf_counter()
        for _ in range(RUNS):
            call()
        return 1000 * (time.perf_counter() - started) / RUNS
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(RUNS):
        call()
    stop.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(stop)) / RUNS


def files(network: Network, precision: str, folder: Path, small: bool) -> dict[str, Any]:
    """A bundle for each backend: the same ONNX files, dense and compressed, with types in the graph."""
    import numpy as np
    import onnx
    import torch

    from jetpress.deploy.pack import pack
    from jetpress.pipeline.store.artifact import listing

    shape = [1, 3, network.size, network.size]
    made = {name: _graph(module, precision, shape) for name, module in _modules(network).items()}
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else (8, 6)
    for target, backend in {"host": "onnxruntime"}.items() if small else BACKENDS.items():
        place = folder / target
        (place / "samples").mkdir(parents=True, exist_ok=True)
        for name, proto in made.items():
            onnx.save(proto, place / f"{name}.onnx")
        rng = np.random.default_rng(0)
        entry = next(iter(made.values())).graph.input[0]
        np.save(
            place / "samples" / f"{entry.name}.npy", rng.standard_normal((4, *shape[1:])).astype(np.float32)
        )
        plan = {
            "format": 1,
            "name": network.name,
            "backend": backend,
            "precision": precision,
            "strongly_typed": not small,
            "models": {name: {"file": f"{name}.onnx"} for name in made},
            "inputs": [{"name": entry.name, "shape": shape, "profile": None}],
            "compute_capabilities": [f"{capability[0]}.{capability[1]}"] if target == "rtx" else [],
            "threads": 1,
        }
        (place / "plan.json").write_text(json.dumps(plan))
        pack(place / "runner.pyz")
        (place / "manifest.json").write_text(json.dumps({"files": listing(place)}))
    return {name: proto.ByteSize() for name, proto in made.items()}


def _graph(module: Any, precision: str, shape: list[int]) -> Any:
    """The ONNX graph in FP32, FP16, or INT8 with the rest in FP16, as the stages make it."""
    import onnx
    import onnx_ir as ir
    import torch
    from onnx_ir.passes import common

    from jetpress.pipeline.graph import fp16_layers
    from jetpress.pipeline.graph.exporting import to_onnx
    from jetpress.pipeline.quantization import calibrate
    from jetpress.pipeline.quantization.dialect import DIALECTS
    from jetpress.pipeline.quantization.subject import Subject
    from jetpress.pipeline.recipe.sections.export import ExportConfig
    from jetpress.pipeline.recipe.sections.model import InputConfig

    made = to_onnx(module, (InputConfig(shape=tuple(shape[1:])),), (), ExportConfig(opset=20))
    torch.manual_seed(1)
    images = torch.randn(4, *shape[1:])
    if precision == "int8":
        one = Subject(made, DIALECTS["tensorrt"])
        feeds = [{made.graph.input[0].name: image[None].numpy()} for image in images]
        seen = calibrate.look(made, one.tensors(), feeds, counted=False)
        made = one.graph(calibrate.ranges(seen, "max", one.dialect))
    if precision != "fp32":
        halved, _ = fp16_layers.to_fp16(onnx.shape_inference.infer_shapes(made), [("drawn", (images[:1],))])
        common.RemoveUnusedNodesPass()(halved)
        common.NameFixPass()(halved)
        made = onnx.shape_inference.infer_shapes(ir.to_proto(halved))
    return made


def engines(place: Path, small: bool) -> dict[str, Any]:
    """Build, infer and bench by the runner, in the bundle's folder; what is there already is not built again."""
    events = []
    timing = ("--sessions", "3", "--seconds", "1.5" if small else "3", "--max-seconds", "30")
    for words in (("build",), ("infer",), ("bench", *timing)):
        argv = (sys.executable, str(place / "runner.pyz"), words[0], "--bundle", str(place), *words[1:])
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        events += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode not in (0, 7):  # 7: measured, and not steady
            sys.stderr.write(done.stderr[-2000:])
            sys.exit(done.returncode)
    kept = {"engine", "result", "ratio", "machine"}
    return {"events": [_short(event) for event in events if event["event"] in kept]}


def _short(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("raw", "blocks", "warnings")}


def main() -> None:
    """One step, or all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("run", "environment", "pytorch", "files", "engines"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--limit", type=float, default=540.0)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    if given.do == "run":
        out = Path(given.words[0])
        out.mkdir(parents=True, exist_ok=True)
        work = Path(os.environ.get("WORK", str(out / "work")))
        run(out, work, given.limit, given.earlier, given.small)
        return
    if given.do == "environment":
        found = environment()
    elif given.do == "engines":
        found = engines(Path(given.words[0]), given.small)
    else:
        network = {one.name: one for one in (*NETWORKS, *SMALL)}[given.words[0]]
        rest = given.words[1:]
        found = files(network, rest[0], Path(rest[1]), given.small) if rest else pytorch(network, given.small)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
