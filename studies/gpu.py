"""Engines on an NVIDIA GPU beside PyTorch: `studies/gpu.sh` calls this; what it measures is in ``gpu.json``.

    python -m studies.gpu run OUT [--limit 540] [--earlier gpu.json] [--small]

ResNet-50 and a one-stage detector, dense and pruned to half of their multiply-adds, in FP16 and INT8, by the runner of
the product with plain TensorRT (target gpu) and TensorRT-RTX (target rtx), and in FP16 by PyTorch, eager and compiled
(the mode for latency; at the end, where time is left, the one that tries every kernel). Weights are random: this is
about time alone. Each step is a process with a time of its own; what ended well is in ``gpu.json`` and is not done
again, what failed is there with its last words. The first step looks which runtimes are here and whether they build
for this GPU: for one that cannot, nothing is made, and ``gpu.json`` says why. ``--small`` is the same with a small
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
from pathlib import Path
from statistics import median
from typing import Any

from studies.gpu_files import BACKENDS, NETWORKS, SMALL, Network, files, modules
from studies.gpu_steps import Step, done

WARM, BLOCKS, RUNS = 20, 12, 10
COMPILED = ("reduce-overhead", "max-autotune")


def steps(work: Path, small: bool, known: dict[str, Any]) -> Iterator[Step]:
    """In the order of worth; what a step needs comes before it, and ``known`` grows by what the last one found."""

    def ours(name: str, seconds: float, *words: str, needed_by: tuple[str, ...] = ()) -> Step:
        how = ("--small",) if small else ()
        return Step(name, seconds, (sys.executable, "-m", "studies.gpu", *words, *how), needed_by)

    networks = SMALL if small else NETWORKS
    yield ours("environment", 60, "environment")
    here = ["host"] if small else able(known)
    for network in networks:
        yield ours(f"pytorch {network.name} {COMPILED[0]}", 150, "pytorch", network.name, COMPILED[0])
        measured = {
            f"{target} {network.name} {precision}": work / network.name / precision / target
            for precision in (("fp32",) if small else ("fp16", "int8"))
            for target in here
        }
        if measured:
            words = ("files", network.name, str(work / network.name), ",".join(here))
            yield ours(f"files {network.name}", 200, *words, needed_by=tuple(measured))
        for name, place in measured.items():
            yield ours(name, 120, "engines", str(place))
    for network in () if small else networks:
        yield ours(f"pytorch {network.name} {COMPILED[1]}", 240, "pytorch", network.name, COMPILED[1])


def able(known: dict[str, Any]) -> list[str]:
    """The targets whose runtime is here and builds for this GPU."""
    found = known.get("environment", {}).get("result", {}).get("unable", dict.fromkeys(BACKENDS, "not asked"))
    return [target for target in BACKENDS if target not in found]


def environment() -> dict[str, Any]:
    """What is here."""
    import importlib.util

    import torch

    from jetpress.deploy.check import gpu_name

    modules = ("tensorrt", "tensorrt_rtx", "onnxruntime", "onnx", "pycuda", "cuda")
    found = {name: importlib.util.find_spec(name) is not None for name in modules}
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    reasons = {target: _why_not(module, capability) for target, module in BACKENDS.items()}
    return {
        "gpu": gpu_name(),
        "capability": capability,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "unable": {target: why for target, why in reasons.items() if why},
        **found,
    }


def _why_not(module: str, capability: tuple[int, int] | None) -> str:
    """Why a runtime makes no engine for the GPU that is here; empty where it does."""
    import importlib

    if capability is None:
        return "no GPU that PyTorch sees"
    try:
        library = importlib.import_module(module)
    except ImportError as error:
        return str(error)
    knows = getattr(getattr(library, "ComputeCapability", None), "__members__", None)
    name = "SM{}{}".format(*capability)
    return f"{module} {library.__version__} does not build for {name}" if knows and name not in knows else ""


def pytorch(network: Network, mode: str, small: bool) -> dict[str, Any]:
    """Median ms of each network by the GPU's clock, eager and compiled, in turns; FP16 and channels last on a GPU."""
    import torch

    device, kind = ("cpu", torch.float32) if small else ("cuda", torch.float16)
    calls: dict[str, Callable[[], object]] = {}
    for name, module in modules(network).items():
        module = module.to(device, kind, memory_format=torch.channels_last)
        image = torch.randn(1, 3, network.size, network.size, device=device, dtype=kind)
        image = image.contiguous(memory_format=torch.channels_last)
        for how, run in (("eager", module), ("compiled", torch.compile(module, mode=mode))):
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
    return {"mode": mode, "ms": {name: median(series) for name, series in times.items()}, "blocks": times}


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
        done(out / "gpu.json", lambda known: steps(work, given.small, known), given.limit, given.earlier)
        return
    if given.do == "environment":
        found = environment()
    elif given.do == "engines":
        found = engines(Path(given.words[0]), given.small)
    else:
        network = {one.name: one for one in (*NETWORKS, *SMALL)}[given.words[0]]
        rest = given.words[1:]
        if given.do == "files":
            found = files(network, Path(rest[0]), rest[1].split(","), given.small)
        else:
            found = pytorch(network, rest[0], given.small)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
