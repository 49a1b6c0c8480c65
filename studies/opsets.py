"""Which networks reach which opset, and stay the same function? And does a real TensorRT build them?

Every classifier, segmenter and detector of torchvision and one network of each of 76 timm families, as they are
(:mod:`studies.coverage` does pruned ones), each in a process of its own: exported at 13, 17 and 20 with the
operators lowered that the boards' parsers lack there, checked, and held against PyTorch in ONNX Runtime. A network
counts at an opset when the file has exactly that opset and the largest error is within 1e-3 of the largest output.
Each file is held against the operator table of a board that reads this opset, too (:mod:`jetpress.deploy.preflight`),
and what torchvision has is built with TensorRT-RTX at 17, ahead of time for compute capability 8.6, again in a
process of its own.

Detectors with one stage are exported as `jetpress run` does it (boxes and scores:
:mod:`jetpress.pipeline.network.detectors`), the R-CNNs up to the numbers of their heads
(:class:`studies.coverage_networks.RawHeads`).

    python -m studies.opsets run results.jsonl                   # everything, small networks first; resumable
    python -m studies.opsets run results.jsonl --only torchvision:resnet18 --again
    python -m studies.opsets table results.jsonl [more.jsonl] --write docs/opsets.md

PyTorch follows each network once; 13 and 17 are made from its graph at 18. torchvision's networks see images of
96 x 96 where they take any size (inception_v3: 128, vision transformers: 224), timm's the size that they were made
for. Operators do not depend on it, times do.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.onnx._internal.exporter import _fx_passes

from jetpress.deploy.errors import JetpressError
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.targets import Target
from jetpress.pipeline.graph import exporting, session
from jetpress.pipeline.graph.simplify import simplify
from jetpress.pipeline.graph.trace import capture, translate
from jetpress.pipeline.network import detectors, models
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from studies.coverage import in_a_process, warm_up
from studies.coverage_networks import build
from studies.opsets_table import (
    AHEAD,
    BOARDS,
    BUILT,
    LAYER_SCALE,
    SETS,
    Record,
    failures,
    parameters,
    records,
    subjects,
    table,
)

TRACED = {13: 18, 17: 18, 20: 20}
SIDE, SEEN = 96, 16
FIRST_SCALE = 0.1
"""The most that a LayerScale begins at."""
PROCESSOR_S, BUILD_S = 1500, 300
LARGE = 100e6
"""Networks with more parameters come last."""


def run(results: Path, sets: Sequence[str], only: Sequence[str], again: bool) -> None:
    """Append the records that ``results`` does not hold yet."""
    retried = {name for name, record in records(results).items() if again and stale(record)}
    warm_up()
    warnings.simplefilter("ignore")
    chosen = [name for family, names in subjects().items() if not sets or family in sets for name in names]
    for name in sorted(chosen, key=lambda name: parameters(name) > LARGE):
        if (only and name not in only) or (name in records(results) and name not in retried):
            continue  # looked up anew each time: two processes may share the work
        found = in_a_process(functools.partial(one, name), PROCESSOR_S)
        record = {"network": name, "opsets": {}, "error": found} if isinstance(found, str) else found
        with results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


def stale(record: Record) -> bool:
    """Whether it failed, or was not held against the boards' tables or built as it would be now."""
    asked = [found for found in record["opsets"].values() if "reason" not in found]
    builds = record["network"].startswith("timm:") or any("rtx" in found for found in asked)
    return any(failures(record)) or not builds or any("refused" not in found for found in asked)


def one(reference: str) -> Record:
    """The record of one network: per opset the error or the reason."""
    record: Record = {"network": reference, "opsets": {}, "seen": SEEN, "layer_scale": LAYER_SCALE}
    started = time.process_time()
    try:
        module, inputs = exported(reference)
        inputs = smaller(reference, inputs)
        given, other = (models.example_inputs(inputs, 1, seed=seed) for seed in (1, 2))
        with torch.no_grad():
            as_trained(module, inputs)
            expected, moved = (models.outputs_of(module(*x)) for x in (given, other))
        record["moves"] = max(furthest(a.numpy(), b.numpy()) for a, b in zip(moved, expected, strict=True))
        record["parameters"] = sum(p.numel() for p in module.parameters())
        program = capture(module, inputs)
        record["capture_s"] = round(time.process_time() - started, 1)
        with decomposed_once():
            for traced in sorted(set(TRACED.values())):
                record["opsets"] |= from_one_trace(reference, program, inputs, given, expected, traced)
    except Exception as error:  # noqa: BLE001 - a crash is a result here
        record["error"] = line(error)
    record["seconds"] = round(time.process_time() - started, 1)
    return record


def exported(reference: str) -> tuple[nn.Module, tuple[InputConfig, ...]]:
    """As :func:`build`, but detectors that `jetpress run` exports as it does that."""
    module, inputs, _ = build(reference)
    if reference.startswith("detection:") and not module.two_stages:
        module = models.build(ModelConfig(reference.replace("detection:", "torchvision:"))).eval()
        assert isinstance(module, detectors.Detector)
    return module, inputs


def smaller(reference: str, inputs: tuple[InputConfig, ...]) -> tuple[InputConfig, ...]:
    """At the size that is run."""
    family, _, name = reference.partition(":")
    if family not in ("torchvision", "segmentation") or name.startswith(("vit", "maxvit")):
        return inputs
    side = 128 if name == "inception_v3" else SIDE
    return (InputConfig((3, side, side)),)


def as_trained(module: nn.Module, inputs: tuple[InputConfig, ...]) -> None:
    """What makes random networks say something: LayerScales that let their blocks through; BatchNorms that have seen
    images, or deep networks answer every image the same. With four of them PyTorch's own rounding moved the outputs of
    an EfficientNetV2-M by 4e-3, with 16 by 2e-5."""
    for parameter in module.parameters():
        low, high = (float(one) for one in parameter.aminmax())
        if 0 < low == high <= FIRST_SCALE:
            parameter.fill_(LAYER_SCALE)
    layers = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in layers:
        layer.train().momentum = None
    if layers:
        module(*models.example_inputs(inputs, SEEN, seed=3))
        module.eval()


def from_one_trace(
    reference: str,
    program: ExportedProgram,
    inputs: tuple[InputConfig, ...],
    given: tuple[Tensor, ...],
    expected: tuple[Tensor, ...],
    traced: int,
) -> Record:
    """Opset -> what came out, of those that begin with the graph at ``traced``."""
    opsets = [opset for opset, source in TRACED.items() if source == traced]
    found: Record = {}
    try:
        graph = translate(program, inputs, (), traced)
        simplify(graph)
    except Exception as error:  # noqa: BLE001
        return {str(opset): {"reason": line(error)} for opset in opsets}
    for opset in opsets:
        started = time.process_time()
        # The last one may change it: the largest of these networks fit into memory once, not twice.
        model = graph if opset == opsets[-1] else graph.clone()
        try:
            board = BOARDS[opset]
            exporting.to_opset(model, inputs, ExportConfig(opset=opset, lower=board.lower))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                exporting.write(model, path)
                record = compared(path, given, expected)
                record |= {"nodes": len(model.graph), "seconds": round(time.process_time() - started, 1)}
                record["refused"] = refused(path, board)
                if opset == BUILT and not reference.startswith("timm:"):
                    built = in_a_process(functools.partial(rtx, path, inputs), BUILD_S)
                    record["rtx"] = {"ok": False, "reason": built} if isinstance(built, str) else built
        except Exception as error:  # noqa: BLE001
            record = {"reason": line(error)}
        found[str(opset)] = record
    return found


@contextmanager
def decomposed_once() -> Iterator[None]:
    """PyTorch's exporter breaks a program down before it translates it, which takes most of its time and does not
    depend on the opset: do it once."""
    names = vars(_fx_passes)
    plain = names["decompose_with_registry"]
    kept: list[ExportedProgram] = []

    def decompose(program: ExportedProgram, registry: Any) -> ExportedProgram:
        if not kept:
            kept.append(plain(program, registry))
        return kept[0]

    names["decompose_with_registry"] = decompose
    try:
        yield
    finally:
        names["decompose_with_registry"] = plain


def compared(path: Path, given: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> Record:
    """The opset that the file has, and its largest error."""
    import onnx

    delivered = exporting.opset_of(onnx.load(path, load_external_data=False))
    ((_, feed),) = session.feeds(path, given, len(given[0]))
    found = session.load(path, threads=1)(feed).values()
    errors = [furthest(a, b.numpy()) for a, b in zip(found, expected, strict=True)]
    return {"delivered": delivered, "error": max(errors)}


def refused(path: Path, board: Target) -> str:
    """Why the tables of the board's TensorRT do not take the file; empty where they do."""
    found = preflight(path, board, precision="fp16", trial=False)
    errors = [one for one in found.problems if one.level == "error"]
    return "; ".join(f"{one.op or one.about}: {one.what}" for one in errors)[:300]


def furthest(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference, of the largest value."""
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def rtx(path: Path, inputs: tuple[InputConfig, ...]) -> Record:
    """A real build, as the runner does it."""
    from jetpress.deploy.runner.backends.tensorrt import load_library, make_log
    from jetpress.deploy.runner.interface.settings import Input, Settings
    from jetpress.deploy.runner.tensorrt.build import build_engine
    from jetpress.deploy.runner.tensorrt.errors import last_errors

    started = time.process_time()
    try:
        trt = load_library("tensorrt_rtx")
        settings = Settings("model", "fp32", [Input(one.name, [1, *one.shape]) for one in inputs])
        log = make_log(trt)
        plan, _ = build_engine(trt, log, str(path), settings, [AHEAD])
    except Exception as error:  # noqa: BLE001
        return {"ok": False, "reason": line(error)}
    if plan is None:
        return {"ok": False, "reason": last_errors(log.recorder)[:300]}
    return {"ok": True, "bytes": plan.nbytes, "seconds": round(time.process_time() - started, 1)}


def line(error: BaseException) -> str:
    """In one line."""
    text = error.what if isinstance(error, JetpressError) else getattr(error, "what", "") or str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())[:400]


def main() -> None:
    """``run`` or ``table``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("results", type=Path)
    running.add_argument("--sets", nargs="*", default=[], choices=SETS)
    running.add_argument("--only", nargs="*", default=[])
    running.add_argument(
        "--again", action="store_true", help="once more what failed, or lacks what is looked at now"
    )
    writing = commands.add_parser("table")
    writing.add_argument("results", type=Path, nargs="+")
    writing.add_argument("--write", type=Path, help="a Markdown file, instead of the screen")
    given = parser.parse_args()
    if given.command == "run":
        run(given.results, given.sets, given.only, given.again)
    else:
        text = table(*given.results)
        given.write.write_text(text) if given.write else print(text)
        print(Counter(where for r in records(*given.results).values() for where, _ in failures(r)))


if __name__ == "__main__":
    main()
