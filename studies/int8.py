"""INT8 after training on real trained networks and real images: accuracy, agreement, size, host latency.

    python -m studies.int8 study mobilenet_v2 DATA --out FOLDER [--dialect onnxruntime] [--images 1500]
    python -m studies.int8 study resnet20 DATA --out FOLDER
    python -m studies.int8 latency FOLDER/*.onnx [--runs 60] [--threads 1 2]
    python -m studies.int8 table FOLDER

`study` quantizes by every calibration method, and mixed for a budget of 0.3 points; all are judged on the test split,
as ONNX Runtime computes the file. `latency` runs files in turns. DATA is the folder of `studies.real`.
The stages are jetpress's own, in a store below FOLDER: run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from jetpress.deploy.console import say
from jetpress.pipeline.data import loading
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.graph.tolerance import cosines
from jetpress.pipeline.network import models
from jetpress.pipeline.quantization import bias, calibrate
from jetpress.pipeline.quantization.calibrate import METHODS
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.judge import Judge
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.stages import export, fold, quantize
from jetpress.pipeline.store.artifact import Artifact, Checkpoint, OnnxModel
from jetpress.pipeline.store.store import Store
from studies.recovery import HERE, dense_of, source_of
from studies.table import row, title

EXPORT = ExportConfig(opset=17)
WEIGHTS = {
    "resnet20": "cifar10_resnet20_jpegft2ep",
    "resnet56": "cifar10_resnet56",
    "mobilenet_v2": "imagenet_mobilenet_v2_tvV1",
}
BUDGET = 0.3
"""Points."""
BURST = 5
"""Runs of one file, one after the other: the first of them finds its weights in no cache."""


@dataclass(frozen=True)
class Methods:
    """Every method, INT8 throughout."""

    quantize: QuantizeConfig
    names: tuple[str, ...] = ("max", *METHODS)


@dataclass(frozen=True)
class Verdict:
    """Of one file on the test split."""

    points: float
    agreement: float
    """Share of images, in percent, whose class is that of the FP32 file."""
    cosine: tuple[float, float] = (1.0, 1.0)
    """Of an image's scores with those of the FP32 file: the mean, and the lowest."""

    @classmethod
    def of(cls, judge: Judge, proto: onnx.ModelProto, split: Split, floating: Any) -> Verdict:
        """``floating``: scores by the FP32 file."""
        assert split.labels is not None
        found = scores(judge, proto, split)
        classes, alike = found.argmax(1), cosines(floating, found)
        return cls(
            100 * float((classes == split.labels.numpy()).mean()),
            100 * float((classes == floating.argmax(1)).mean()),
            (float(alike.mean()), float(alike.min())),
        )


class Judged(Artifact[Verdict]):
    """A file's figures on the test split."""


@dataclass(frozen=True)
class ComparedFacts:
    """Figures of several files."""

    rows: Mapping[str, Verdict]
    """By the method."""
    test_images: int


class Compared(Artifact[ComparedFacts]):
    """``METHOD.onnx`` of every method, and their figures on the test split."""


def scores(judge: Judge, proto: onnx.ModelProto, split: Split) -> Any:
    """``[images, classes]``."""
    parts = [split.batch(range(at, min(at + 64, len(split))), None)[0] for at in range(0, len(split), 64)]
    return np.concatenate(
        [judge.scores(proto, [feed for _, feed in judge.feeds(proto, one)]) for one in parts]
    ).astype(np.float64)


def methods(config: Methods, model: Checkpoint, exported: OnnxModel, draft: Path) -> Compared:
    """Stage: every method on the test split."""
    network, one = models.load(model), config.quantize
    loaded = loading.load(network.data, network.seed, network.task)
    judge = Judge(network, Ends.of(exported.facts, network.data), 1)
    subject = Subject(onnx.load(exported.path / "model.onnx"), DIALECTS[str(one.dialect)], one.keep)
    images = loading.calibration(loaded, one.images, one.seed)
    seen = calibrate.look(
        subject.proto, subject.tensors(), [feed for _, feed in judge.feeds(subject.proto, images)]
    )
    if one.bias_correction:
        subject = replace(subject, shifts=bias.shifts(subject.layers, seen, subject.dialect.numbers))
    floating = scores(judge, subject.proto, loaded.test)
    rows = {"FP32": Verdict.of(judge, subject.proto, loaded.test, floating)}
    for name in config.names:
        made = subject.graph(calibrate.ranges(seen, name, subject.dialect, one.percentile))
        onnx.save(made, draft / f"{name}.onnx")
        found = Verdict.of(judge, made, loaded.test, floating)
        rows[name] = found
        say(f"  {name}: {found.points:.2f} %, agreement {found.agreement:.2f} %")
    return Compared(draft, ComparedFacts(rows, len(loaded.test)))


def judged(config: None, model: Checkpoint, exported: OnnxModel, made: OnnxModel, draft: Path) -> Judged:
    """Stage: one file on the test split."""
    del config
    network = models.load(model)
    split = loading.load(network.data, network.seed, network.task).test
    judge = Judge(network, Ends.of(made.facts, network.data), 1)
    floating = scores(judge, onnx.load(exported.path / "model.onnx"), split)
    found = Verdict.of(judge, onnx.load(made.path / "model.onnx"), split, floating)
    return Judged(draft, found)


def dense(given: argparse.Namespace, store: Store) -> Checkpoint:
    """The trained network with its data."""
    weights = str(given.data / "weights" / f"{WEIGHTS[given.network]}.pth")
    if given.network == "mobilenet_v2":
        model = ModelConfig(builder="torchvision:mobilenet_v2", weights=weights)
        size, function = 224, "imagenet_small"
    else:
        arguments = {"depth": int(given.network[6:])}
        model = ModelConfig(
            builder=f"{HERE / 'resnet_cifar.py'}:resnet", arguments=arguments, weights=weights
        )
        size, function = 32, "cifar"
    images = DataConfig(source=source_of(given, function), size=size, batch_size=32)
    return dense_of(Recipe(name=given.network, model=model, data=images), store)


def study(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each way to quantize."""
    store = Store(given.out / ".store")
    folded = store.make(fold.fold, None, dense(given, store))[0]
    exported = store.make(export.export, EXPORT, folded)[0]
    config = QuantizeConfig(dialect=given.dialect, accuracy_drop=BUDGET, images=given.calibration)
    known = {"network": given.network, "dialect": given.dialect}
    size = exported.facts.bytes
    shutil.copy(exported.path / "model.onnx", given.out / f"{given.network}-fp32.onnx")
    found = store.make(methods, Methods(config), folded, exported)[0]
    for name, verdict in found.facts.rows.items():
        file = exported.path / "model.onnx" if name == "FP32" else found.path / f"{name}.onnx"
        figures = {**asdict(verdict), "smaller": size / file.stat().st_size}
        yield {**known, "scheme": name, **figures, "images": found.facts.test_images}
    made = store.make(quantize.quantize, config, folded, exported)[0]
    shutil.copy(made.path / "model.onnx", given.out / f"{given.network}-{given.dialect}.onnx")
    facts, told = made.facts.quantization, store.make(judged, None, folded, exported, made)[0].facts
    assert facts is not None
    out = [one.name for one in facts.layers if not one.int8]
    yield {
        **known,
        "scheme": f"mixed ({facts.method}, {len(out)} of {len(facts.layers)} layers not INT8)",
        **asdict(told),
        "smaller": size / made.facts.bytes,
        "validation": asdict(facts.points),
        "met": facts.met,
        "out": out,
        "images": found.facts.test_images,
    }


def latency(files: Sequence[Path], runs: int, threads: Sequence[int]) -> None:
    """Every file in turns, batch 1: median and fastest of ``runs`` bursts, of which each counts its fastest run."""
    import time

    import onnxruntime as ort

    def opened(path: Path, count: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = count, 3
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    sessions = {(path, count): opened(path, count) for path in files for count in threads}
    rng, taken = np.random.default_rng(0), {one: list[float]() for one in sessions}
    for _ in range(runs):
        for one, session in sessions.items():
            given, burst = session.get_inputs()[0], []
            feed = {given.name: rng.standard_normal(given.shape).astype(np.float32)}
            for _ in range(BURST):
                start = time.perf_counter()
                session.run(None, feed)
                burst.append(1000 * (time.perf_counter() - start))
            taken[one].append(min(burst))
    title("file", "threads", "median ms", "fastest ms")
    for (path, count), times in taken.items():
        row(path.stem, count, f"{np.median(times):.3f}", f"{min(times):.3f}")


def table(folder: Path) -> None:
    """What is there."""
    title(
        "network",
        "dialect",
        "scheme",
        "test, %",
        "same class as FP32, %",
        "cosine, mean (lowest)",
        "times smaller",
    )
    for path in sorted(folder.glob("rows-*.jsonl")):
        for line in path.read_text().splitlines():
            one = json.loads(line)
            mean, lowest = one["cosine"]
            known = (one[key] for key in ("network", "dialect", "scheme", "points", "agreement"))
            row(*known, f"{mean:.4f} ({lowest:.3f})", one["smaller"])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    acts = parser.add_subparsers(dest="act", required=True)
    one = acts.add_parser("study")
    one.add_argument("network", choices=sorted(WEIGHTS))
    one.add_argument("data", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--dialect", choices=sorted(DIALECTS), default="onnxruntime")
    one.add_argument("--images", type=int, default=1500, help="training images, for calibration")
    one.add_argument("--tested", type=int, default=2000)
    one.add_argument("--calibration", type=int, default=128)
    acts.add_parser("table").add_argument("folder", type=Path)
    timed = acts.add_parser("latency")
    timed.add_argument("files", type=Path, nargs="+")
    timed.add_argument("--runs", type=int, default=60)
    timed.add_argument("--threads", type=int, nargs="+", default=[1])
    given = parser.parse_args()
    if given.act == "table":
        table(given.folder)
    elif given.act == "latency":
        latency(given.files, given.runs, given.threads)
    else:
        given.data, given.out = given.data.resolve(), given.out.resolve()
        given.out.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps(found) for found in study(given)]
        (given.out / f"rows-{given.network}-{given.dialect}.jsonl").write_text("\n".join(rows) + "\n")
        table(given.out)


if __name__ == "__main__":
    main()
