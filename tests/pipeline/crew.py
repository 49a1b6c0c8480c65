"""What the processes of `test_torchrun.py` do: train, once more towards pruning, mask half of the weights, fine-tune.

    torchrun --nproc-per-node=2 -m tests.pipeline.crew FOLDER [kill EPOCH | differ | diverge | int8]

Rank 0 writes the facts of what was made to FOLDER/made.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from jetpress.deploy.errors import JetpressError
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.configs import RegularizeConfig
from jetpress.pipeline.recipe.retraining import Distillation, finetuning, with_rounding
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, QatConfig, TrainConfig
from jetpress.pipeline.stages import export, finetune, fold, qat, quantize, regularize, source, train
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.store import Store
from jetpress.pipeline.training import fit, torchrun
from tests.pipeline import small

DATA = replace(small.DIGITS, batch_size=64)
TRAIN = TrainConfig(epochs=2, learning_rate=0.05, precision="float32")  # "auto" measures, and may choose anew
FINETUNE = FinetuneConfig(
    epochs=3,
    learning_rate=0.01,
    precision="float32",
    ema=0.9,
    accumulate=2,
    clip_norm=1.0,
    hint=0.1,
    attention=0.1,
)
REGULARIZE = RegularizeConfig(TRAIN, Distillation(0.7, 5.0), 0.03)
QUANTIZE = QuantizeConfig(method="max", images=32, sensitivity_images=8, dialect="tensorrt", mixed=False)
QAT = QatConfig(epochs=2, learning_rate=0.005, precision="float32")


def masked(config: None, model: Checkpoint, draft: Path) -> Checkpoint:
    """Half of the second convolution's weights are held at zero."""
    network = models.load(model)
    weight = network.module.get_parameter("conv2.weight")
    network.masks["conv2.weight"] = weight.abs() > weight.abs().median()
    with torch.no_grad():
        weight.mul_(network.masks["conv2.weight"])
    return models.save(network, draft, replace(model.facts, pruned=True))


def work(folder: Path) -> dict[str, Any]:
    """What rank 0 does; the only one, if it is alone."""
    store = Store(folder / "store")
    config = source.SourceConfig(small.model(folder, "plain"), DATA)
    start = store.make(source.source, config)[0]
    dense = store.make(train.train, TRAIN, start)[0]
    ready = store.make(regularize.regularize, REGULARIZE, dense, dense)[0]
    hurt = store.make(masked, None, ready)[0]
    made = store.make(finetune.finetune, finetuning(FINETUNE, TrainConfig()), hurt, dense)[0]
    facts = {"dense": asdict(dense.facts), "ready": asdict(ready.facts)}
    return {**facts, "tuned": asdict(made.facts), "path": str(made.path)}


def work_in_int8(folder: Path) -> dict[str, Any]:
    """As :func:`work`; quantization-aware training instead of fine-tuning."""
    store = Store(folder / "store")
    start = store.make(source.source, source.SourceConfig(small.model(folder, "plain"), DATA))[0]
    folded = store.make(
        fold.fold, None, store.make(masked, None, store.make(train.train, TRAIN, start)[0])[0]
    )[0]
    exported = store.make(export.export, ExportConfig(opset=17), folded)[0]
    quantized = store.make(quantize.quantize, QUANTIZE, folded, exported)[0]
    made = store.make(qat.qat, with_rounding(QAT, TrainConfig()), folded, folded, exported, quantized)[0]
    return {"qat": asdict(made.facts), "path": str(made.path)}


def die_in(epoch: int) -> None:
    """As the kernel kills, in the middle of fine-tuning: after this epoch's steps, before it counts."""
    remember = fit._remember

    def dying(so_far: Any, *rest: Any) -> None:
        if so_far.epoch == epoch and "average" in sys._getframe(1).f_locals["kept"]:
            os.kill(os.getpid(), signal.SIGKILL)
        remember(so_far, *rest)

    fit._remember = dying  # type: ignore[assignment]


def differ() -> None:
    """This rank holds another mask."""
    load = models.load

    def other(checkpoint: Checkpoint) -> models.Network:
        network = load(checkpoint)
        for mask in network.masks.values():
            mask[0] = ~mask[0]
        return network

    models.load = other


def diverge() -> None:
    """This rank alone sees a loss that is no number, at the rate that fine-tuning is asked for."""
    make = fit.learner

    def learner(network: Any, data: Any, settings: TrainConfig, *rest: Any) -> Any:
        learn = make(network, data, settings, *rest)
        broken = settings.learning_rate == FINETUNE.learning_rate
        return lambda *step: learn(*step) * (torch.nan if broken else 1.0)

    fit.learner = learner


def main(folder: str, *action: str) -> int:
    if torchrun.rank() > 0:
        if action[:1] == ("kill",):
            die_in(int(action[1]))
        if action[:1] == ("differ",):
            differ()
        if action[:1] == ("diverge",):
            diverge()
        return torchrun.serve()
    try:
        with torchrun.leading():
            asked = work_in_int8 if action == ("int8",) else work
            Path(folder, "made.json").write_text(json.dumps(asked(Path(folder))))
    except JetpressError as error:
        print(f"jetpress: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
