"""INT8 after training against INT8 with training, on real trained networks and real images.

    python -m benchmarks.qat cifar DATA --out FOLDER [--images 10000] [--epochs 2] [--rate 0.001]
    python -m benchmarks.qat imagenet DATA --out FOLDER [--images 1500] [--epochs 1] [--rate 0.0005]

`cifar`: ResNet-20; `imagenet`: MobileNetV2, which loses most by one range for each tensor. DATA is the folder of
`benchmarks.real`. The stages are jetpress's own, in a store below FOLDER: run again, it goes on. Accuracy and agreement
with FP32 are those of the INT8 file in ONNX Runtime on the test split. FOLDER/results-*.json holds every figure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.recovery import HERE, dense_of, source_of
from deploy.console import say
from pipeline import export, fold, models, qat, quantize
from pipeline.artifact import Assessment, Checkpoint, OnnxModel
from pipeline.data import load
from pipeline.lowering.ends import Ends
from pipeline.quantization.judge import Judge, error
from pipeline.recipe import Recipe
from pipeline.sections import DataConfig, ExportConfig, ModelConfig, QatConfig, QuantizeConfig
from pipeline.store import Store

EXPORT = ExportConfig(opset=17, dynamic_batch=True, max_batch=16)


def compared(
    config: None, model: Checkpoint, floating: OnnxModel, made: OnnxModel, draft: Path
) -> Assessment:
    """Stage: points of a file on the test split, and how often it says what the FP32 file of ``model`` says."""
    network = models.load(model)
    split = load(network.data, network.seed).test
    judge = Judge(network, Ends.of(made.facts, network.data), made.facts["max_batch"])
    assert split.labels is not None
    scores, labels = [], split.labels.numpy()
    for one in (floating, made):
        proto = onnx.load(one.path / "model.onnx")
        parts = [
            split.batch(range(at, min(at + 256, len(split))), None)[0] for at in range(0, len(split), 256)
        ]
        scores.append(
            np.concatenate([judge.scores(proto, [f for _, f in judge.feeds(proto, x)]) for x in parts])
        )
    first, second = (one.argmax(1) for one in scores)
    return Assessment(
        draft,
        {
            "fp32": 100 * float((first == labels).mean()),
            "points": 100 * float((second == labels).mean()),
            "agreement": 100 * float((first == second).mean()),
            "error": error(scores[0], scores[1]),
            "images": len(labels),
        },
    )


def rows(dense: Checkpoint, given: argparse.Namespace, store: Store) -> Iterator[dict[str, Any]]:
    """After training, and with it, in each dialect."""
    folded = store.make(fold.fold, None, dense)[0]
    floating = store.make(export.export, EXPORT, folded)[0]
    for dialect in given.dialects:
        config = QuantizeConfig(
            dialect=dialect, mixed=False, images=given.calibration, method=given.method, sensitivity_images=8
        )
        before = store.make(quantize.quantize, config, folded, floating)[0]
        yield row(dialect, "after training", dense, floating, before, store)
        training = replace(given.training, epochs=given.epochs, learning_rate=given.rate)
        trained = store.make(qat.qat, training, folded, folded, floating, before)[0]
        again = store.make(export.export, EXPORT, trained)[0]
        yield row(dialect, "trained, FP32", dense, floating, again, store)
        after = store.make(quantize.quantize, config, trained, again)[0]
        curve = {key: trained.facts[key] for key in ("post_training", "validation", "best_epoch", "curve")}
        yield row(dialect, "with training", dense, floating, after, store) | curve


def row(
    dialect: str, name: str, dense: Checkpoint, floating: OnnxModel, made: OnnxModel, store: Store
) -> dict[str, Any]:
    """Figures of one file."""
    facts = store.make(compared, None, dense, floating, made)[0].facts
    told = made.facts.get("quantization", {})
    return {
        "dialect": dialect,
        "name": name,
        **facts,
        "method": told.get("method", ""),
        "megabytes": made.facts["bytes"] / 1e6,
    }


def cifar(given: argparse.Namespace) -> tuple[ModelConfig, DataConfig]:
    """ResNet-20 on CIFAR-10."""
    weights = str(given.data / "weights" / "cifar10_resnet20_jpegft2ep.pth")
    model = ModelConfig(f"{HERE / 'resnet_cifar.py'}:resnet", {"depth": 20}, weights)
    return model, DataConfig(source=source_of(given, "cifar"), size=32, batch_size=128)


def imagenet(given: argparse.Namespace) -> tuple[ModelConfig, DataConfig]:
    """MobileNetV2 on ImageNet's classes."""
    weights = str(given.data / "weights" / "imagenet_mobilenet_v2_tvV1.pth")
    model = ModelConfig("torchvision:mobilenet_v2", weights=weights)
    return model, DataConfig(source=source_of(given, "imagenet_small"), size=given.size, batch_size=16)


STUDIES = {
    "cifar": (cifar, 10_000, QatConfig(weight_decay=1e-4)),
    "imagenet": (
        imagenet,
        1_500,
        QatConfig(weight_decay=4e-5, distill=1.0, temperature=2.0, precision="float32"),
    ),
}
"""Network and data, training images, and how it is trained."""


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ("dialect", "INT8", "ranges", "test, %", "FP32, %", "agreement with FP32, %", "error", "MB")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for one in found:
        figures = [f"{one[key]:.2f}" for key in ("points", "fp32", "agreement")]
        figures += [f"{one['error']:.4f}", f"{one['megabytes']:.2f}"]
        lines.append(f"| {' | '.join([one['dialect'], one['name'], one['method'], *figures])} |")
    return "\n".join(lines)


def main() -> None:
    """Run a study, or go on with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--tested", type=int, default=10_000, help="test images, at most")
    parser.add_argument("--size", type=int, default=224, help="pixels, `imagenet` only")
    parser.add_argument("--calibration", type=int, default=128, help="images")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--dialects", nargs="+", default=["tensorrt", "onnxruntime"])
    given = parser.parse_args()
    configs, images, given.training = STUDIES[given.study]
    given.images, given.data, given.out = given.images or images, given.data.resolve(), given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    store, found = Store(given.out / "store"), []
    model, data = configs(given)
    for one in rows(dense_of(Recipe(name=given.study, model=model, data=data), store), given, store):
        found.append(one)
        say(
            f"{one['dialect']}, {one['name']}: test {one['points']:.2f} %, agreement {one['agreement']:.2f} %"
        )
        settings = {key: str(value) for key, value in vars(given).items()}
        text = json.dumps({"settings": settings, "rows": found}, indent=1)
        (given.out / f"results-{given.study}.json").write_text(text)
    print(table(found))


if __name__ == "__main__":
    main()
