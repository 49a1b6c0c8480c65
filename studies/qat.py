"""INT8 with training beside INT8 after training, on real trained networks and real images.

    python -m studies.qat mobilenet_v2 DATA --out FOLDER [--dialect tensorrt] [--images 1000] [--epochs 1]
    python -m studies.qat resnet20 DATA --out FOLDER
    python -m studies.int8 table FOLDER

Networks, data and test split are those of `studies.int8`, and so is the table: INT8 throughout, one method of
calibration. MobileNetV2 learns from its FP32 self alone, the ResNets from labels, too. Stages in a store below FOLDER:
run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jetpress.deploy.console import say
from jetpress.pipeline.flow.eight_bits import Quantized
from jetpress.pipeline.recipe.retraining import finetuning, with_rounding
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, QatConfig, TrainConfig
from jetpress.pipeline.stages import export, fold, qat, quantize
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.store import Store
from studies.int8 import EXPORT, WEIGHTS, dense, judged
from studies.table import row, title

TRAINING = {
    "resnet20": QatConfig(weight_decay=1e-4, precision="float32"),
    "resnet56": QatConfig(weight_decay=1e-4, precision="float32"),
    "mobilenet_v2": QatConfig(
        weight_decay=4e-5, distill=1.0, temperature=2.0, precision="float32", accumulate=2
    ),
}


def study(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """INT8 after training, the trained network without quantizers, INT8 of it."""
    store = Store(given.out / ".store")
    folded = store.make(fold.fold, None, dense(given, store))[0]
    before = in_int8(folded, given, store)

    def figures(scheme: str, made: OnnxModel, network: Checkpoint) -> dict[str, Any]:
        told = asdict(store.make(judged, None, folded, before.floating, made)[0].facts)
        smaller = before.floating.facts.bytes / made.facts.bytes
        known = {"network": given.network, "dialect": given.dialect, "scheme": scheme, "smaller": smaller}
        error = made.facts.quantization.error if made.facts.quantization else None
        return {**known, **told, "error": error, "facts": asdict(network.facts)}

    yield figures(f"{given.method}, after training", before.onnx, folded)
    asked = replace(TRAINING[given.network], epochs=given.epochs, learning_rate=given.rate)
    how = with_rounding(asked, finetuning(FinetuneConfig(), TrainConfig()).training)
    trained = store.make(qat.qat, how, folded, folded, before.floating, before.onnx)[0]
    after = in_int8(trained, given, store)
    epochs = f"{given.epochs} epoch{'s' * (given.epochs > 1)} of {given.images} images"
    yield figures(f"trained ({epochs}), in FP32", after.floating, trained)
    yield figures(f"{given.method}, trained ({epochs})", after.onnx, trained)


def in_int8(network: Checkpoint, given: argparse.Namespace, store: Store) -> Quantized:
    """INT8 throughout."""
    config = QuantizeConfig(
        dialect=given.dialect,
        method=given.method,
        mixed=False,
        images=given.calibration,
        sensitivity_images=8,  # nobody reads it here
    )
    floating = store.make(export.export, EXPORT, network)[0]
    return Quantized(network, floating, store.make(quantize.quantize, config, network, floating)[0])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=sorted(WEIGHTS))
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dialect", default="tensorrt")
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--calibration", type=int, default=64, help="images")
    parser.add_argument("--method", default="mse")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.001)
    given = parser.parse_args()
    given.data, given.out = given.data.resolve(), given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    title("scheme", "test, %", "same class as FP32, %", "error", "times smaller")
    for one in study(given):
        found.append(json.dumps(one))
        error = "" if one["error"] is None else f"{one['error']:.4f}"
        row(one["scheme"], one["points"], one["agreement"], error, one["smaller"])
    (given.out / f"rows-{given.network}-{given.dialect}-qat.jsonl").write_text("\n".join(found) + "\n")
    say(f"written to {given.out}")


if __name__ == "__main__":
    main()
