"""Finished runs of one recipe beside each other: FP32, INT8 after training, mixed, with training; and their speed.

    python -m studies.int8_runs judge RUN RUN ...
    python -m studies.int8_runs sizes RUN --out FOLDER [--sizes 32 128 224]
    python -m studies.int8 latency FOLDER/*.onnx --threads 1 2

`judge`: accuracy on the whole test split as ONNX Runtime computes the files, the share of images whose class is that of
the dense network, and sizes. `sizes`: the run's dense and pruned networks exported for larger images, in FP32 and in
INT8 (the run's own samples, enlarged, give the ranges). Accuracy means nothing there: it is how speed depends on size.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from jetpress.benchmarks.report.record import read
from jetpress.pipeline.data import loading
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.quantization import calibrate
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.judge import Judge
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.artifact import Checkpoint
from studies.int8 import Verdict, scores
from studies.table import row, title


def made_by(run: Path, *stages: str) -> Path:
    """What the first of these stages that a run did made."""
    told = read(run / "report.json").stages
    digest = next(one.digest for name in stages for one in told if one.name == name and one.digest)
    return run.parent / ".store" / "objects" / digest


def network(run: Path, *stages: str) -> Network:
    """The network that the first of these stages made."""
    return models.load(Checkpoint.open(made_by(run, *stages)))


def dense_of(run: Path) -> Network:
    """Trained or given."""
    return network(run, "train", "source")


def floating_of(run: Path) -> Path:
    """What was quantized in the end: a training with rounding that was not kept is compared with nothing."""
    kept = any(one.name == "same, qat" for one in read(run / "report.json").stages)
    return made_by(run, "export, qat" if kept else "export") / "model.onnx"


def judge(runs: list[Path]) -> None:
    """The dense network, and of every run its compressed network in FP32 and its file, on the test split."""
    one = dense_of(runs[0])
    judging, split = Judge(one, Ends(), 1), loading.load(one.data, one.seed).test
    dense = runs[0] / "bundle" / "dense.onnx"
    floating: Any = scores(judging, onnx.load(dense), split)
    files = {"dense, FP32": dense}
    for run in runs:
        files[f"{run.name}, FP32"] = floating_of(run)
        files[f"{run.name}, as built"] = run / "bundle" / "model.onnx"
    title("file", "test, %", "same class as dense, %", "cosine, mean", "MB", "times smaller")
    for name, path in files.items():
        found, size = Verdict.of(judging, onnx.load(path), split, floating), path.stat().st_size
        cells = (found.points, found.agreement, f"{found.cosine[0]:.4f}", f"{size / 1e6:.3f}")
        row(name, *cells, dense.stat().st_size / size)


def sizes(run: Path, out: Path, pixels: list[int]) -> None:
    """``dense-224-fp32.onnx`` and the like."""
    out.mkdir(parents=True, exist_ok=True)
    images = torch.from_numpy(np.load(run / "bundle" / "samples" / "input.npy")[:16])
    for name, one in (("dense", dense_of(run)), ("pruned", network(run, "fold"))):
        for size in pixels:
            shape = (InputConfig(shape=(images.shape[1], size, size)),)
            proto = to_onnx(one.module, shape, (), ExportConfig())
            subject, judging = Subject(proto, DIALECTS["onnxruntime"]), Judge(one, Ends(), 1)
            larger = torch.nn.functional.interpolate(images, (size, size), mode="bilinear")
            feeds = [feed for _, feed in judging.feeds(proto, (larger,))]
            seen = calibrate.look(proto, subject.tensors(), feeds, counted=False)
            made = subject.graph(calibrate.ranges(seen, "max", subject.dialect))
            onnx.save(proto, out / f"{name}-{size}-fp32.onnx")
            onnx.save(made, out / f"{name}-{size}-int8.onnx")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("judge").add_argument("runs", type=Path, nargs="+")
    larger = acts.add_parser("sizes")
    larger.add_argument("run", type=Path)
    larger.add_argument("--out", type=Path, required=True)
    larger.add_argument("--sizes", type=int, nargs="+", default=[32, 128, 224])
    given = parser.parse_args()
    if given.act == "judge":
        judge(given.runs)
    else:
        sizes(given.run, given.out, given.sizes)


if __name__ == "__main__":
    main()
