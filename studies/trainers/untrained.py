"""YOLOv8n cut and not trained: mAP on the 128 validation photographs of ``coco128``, dense and after each cut.

    python -m studies.trainers.untrained net.py:build yolov8n.onnx ../shared/data/coco128
        [--macs 0.1 0.25] [--ways uniform peer head all]

To be run in an environment that has Ultralytics (AGPL, no dependency). ``build`` of ``net.py`` gives
``DetectionModel("yolov8n.yaml", verbose=False)``; ``yolov8n.onnx`` has its weights on COCO, with BatchNorm folded.
Ours is fitted on 127 training photographs, nothing is ignored by hand. torch-pruning's network has BatchNorm measured
anew on the same ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from jetpress.pipeline.data.loading import Data, batches, load
from jetpress.pipeline.graph.answers import answering
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.channels import analyse, copied
from jetpress.pipeline.network.detectors import of_head
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.pruning.apply import cut_out, fitted, proposed, recorded
from jetpress.pipeline.pruning.judged import judged
from jetpress.pipeline.pruning.norms import settle
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.sparse.walking import traced
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks.detection_metric import mean_ap, mean_ap50
from jetpress.pipeline.tasks.metric import Setting
from studies.peers import pruning as peers
from studies.table import row, title
from studies.trainers import folded
from studies.trainers.halves import halved
from studies.untrained import renormed

BATCH = 16
WIDEST = 640
"""That the file takes."""


class Boxes(nn.Module):
    """Boxes and scores alone, without the raw maps that Ultralytics' network returns beside them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """``[n, 4 + classes, anchors]``."""
        found: Tensor = self.net(images)[0]
        return found


@dataclass(frozen=True)
class Study:
    """One trained network, and what it is fitted to and judged on."""

    net: nn.Module
    images: Tensor
    judge: Callable[[nn.Module], list[float]]
    asked: argparse.Namespace

    def way(self, name: str, rules: DetectionRules | None, **how: Any) -> None:
        """A line for each share: as ``jetpress.prune`` cuts, but widths are measured once for all shares."""
        began = time.process_time()
        batches = [((one,), None) for one in self.images.split(BATCH)]
        config = PruneConfig(
            channel_multiple=self.asked.multiple, sensitivity_images=self.asked.looked_at, **how
        )
        graph = analyse(self.net, (self.images[:2],))
        with answering(self.net, ["output"], rules):
            ranked, curves = judged(config, self.net, graph, batches, _no_loss, 0)
        spent = time.process_time() - began
        for share in self.asked.macs:
            began = time.process_time()
            reduction = Reduction.over(graph, replace(config, macs=share), ranked, curves, ())
            found, whole = proposed(reduction, reduction.costs()), reduction.costs()
            smaller, steps, cut = cut_out(copied(self.net), (self.images[:2],), graph, found)
            told = recorded(reduction, found, cut, whole)
            anew = self.judge(renormed(smaller, self.images))[0] if self.asked.anew else ""
            fitted(copied(self.net), smaller, steps[-1], (self.images,))
            seconds = spent + time.process_time() - began
            row(name, 1 - told.gone["macs"], anew, *self.judge(smaller), seconds)
            if told.as_graph:
                print(f"lives on as its graph: {told.why}", flush=True)

    def by_peer(self, share: float) -> None:
        """torch-pruning, which is told to leave the last layers of the head."""
        began = time.process_time()
        given, one = halved(self.net).requires_grad_(), (self.images[:1],)
        last = [
            n for n, part in given.named_modules() if isinstance(part, nn.Conv2d) and part.bias is not None
        ]
        module = peers.torch_pruning(given, one, share, self.asked.multiple, last)
        spent, left = time.process_time() - began, peers.macs(module, one) / peers.macs(self.net, one)
        anew = self.judge(renormed(module, self.images))
        row("torch-pruning", left, anew[0], "", anew[1], spent)


def main() -> None:
    """A table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("builder")
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.1, 0.25])
    parser.add_argument("--multiple", type=int, default=8)
    parser.add_argument("--looked-at", type=int, default=32, help="images that widths are measured on")
    parser.add_argument(
        "--anew", action="store_true", help="ours with BatchNorm measured anew, not fitted, as well"
    )
    parser.add_argument("--ways", nargs="*", default=["uniform", "all", "head", "peer"])
    asked = parser.parse_args()
    torch.manual_seed(0)
    config = DataConfig(
        "yolo", root=str(asked.data), size=asked.size, mean=(0.0,) * 3, std=(1.0,) * 3, batch_size=BATCH,
        validation_fraction=1 / 128,
    )  # fmt: skip
    data = load(config, 0)
    task = TaskConfig(kind="detection", head="yolov8", classes=data.classes, detections=300)
    rules = of_head(task, ModelConfig(inputs=(InputConfig((3, asked.size, asked.size)),)))
    net = dense(asked.builder, asked.weights, data)
    images = data.train.batch(list(range(len(data.train))), None)[0][0]
    whole, read = (Study(one, images, judge_of(data, rules), asked) for one in (net, Boxes(net).eval()))
    title("method", "MACs left", "BatchNorm anew", "fitted", "mAP50", "processor s")
    row("dense", 1.0, "", *whole.judge(net), "")
    if "uniform" in asked.ways:
        read.way("uniform, l2", None, scope="uniform", criterion="l2")
    if "peer" in asked.ways:
        for share in asked.macs:
            read.by_peer(share)
    if "head" in asked.ways:
        read.way("measured by the head, obs", rules, scope="measured", criterion="obs")
    if "all" in asked.ways:
        whole.way("measured by all outputs, obs", None, scope="measured", criterion="obs")


def dense(builder: str, weights: Path, data: Data) -> nn.Module:
    """The network with the file's weights, held against the file; BatchNorm has the statistics of the data."""
    net = user_code.load(builder)()
    assert isinstance(net, nn.Module)
    if other := folded.load(net.eval(), weights):
        raise SystemExit(f"{weights} is of another network: {other}")
    run = onnxruntime.InferenceSession(weights)
    images = [data.test.batch([number], None)[0][0] for number in range(4)]
    large = [nn.functional.interpolate(one, (WIDEST, WIDEST)) for one in images]
    wanted = [torch.from_numpy(run.run(None, {run.get_inputs()[0].name: one.numpy()})[0]) for one in large]
    compared("as loaded", net, large, wanted)
    shown = [one for one, _ in batches(data.train, None)]
    settle(traced(net, shown), shown)
    compared("with BatchNorm settled", net, large, wanted)
    return net


def compared(what: str, net: nn.Module, images: list[Tensor], wanted: list[Tensor]) -> None:
    """Largest difference of boxes in pixels, and of scores."""
    with torch.no_grad():
        differences = [(net(one)[0] - other).abs() for one, other in zip(images, wanted, strict=True)]
    boxes, scores = (
        float(torch.cat(parts, 1).max())
        for parts in zip(*((d[:, :4], d[:, 4:]) for d in differences), strict=True)
    )
    print(f"{what}: boxes differ by {boxes:.1e} pixels of {WIDEST}, scores by {scores:.1e}", flush=True)


def judge_of(data: Data, rules: DetectionRules) -> Callable[[nn.Module], list[float]]:
    """mAP and mAP50 on the test split, in percent."""
    metrics = [kind(Setting(data.classes, lambda: rules)) for kind in (mean_ap, mean_ap50)]

    def judge(net: nn.Module) -> list[float]:
        seen: list[list[Any]] = [[] for _ in metrics]
        with torch.no_grad():
            for inputs, target in batches(data.test, None):
                outputs = outputs_of(net.eval()(*inputs))[0]
                for metric, some in zip(metrics, seen, strict=True):
                    some.extend(metric.shown(outputs, target))
        return [metric.total(some) for metric, some in zip(metrics, seen, strict=True)]

    return judge


def _no_loss(outputs: object, target: object) -> Tensor:
    raise AssertionError("no gradient is looked at")


if __name__ == "__main__":
    main()
