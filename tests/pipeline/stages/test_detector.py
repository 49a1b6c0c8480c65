"""A network with a head of YOLOv8's form and raw maps beside it, from the recipe to the figures of its engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from jetpress.deploy.device.events import Infer, Output
from jetpress.deploy.runner.decode.detections import detections
from jetpress.pipeline.data import loading
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.stages.equivalence import equivalence
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.stages.source import source
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.training.assessment import of_engines, opened
from jetpress.pipeline.training.evaluate import judged
from tests.pipeline import small

CODE = '''
import torch
from torch import nn

class Net(nn.Module):
    """Its input is what such a head gives: two classes, twelve anchors."""
    def __init__(self):
        super().__init__()
        self.same = nn.Conv1d(6, 6, 1, bias=False)
        self.same.weight.data[:] = torch.eye(6)[..., None]

    def forward(self, x):
        whole = self.same(x)
        return [whole] if self.training else (whole, [whole * 2, whole * 3])

def build():
    return Net()

def loss(model, outputs, target):
    return outputs[0].mean() + model.same.weight.sum()

class Data:
    """Three objects; each is seen by two anchors, other anchors are sure of nothing."""
    def __len__(self):
        return 8

    def __getitem__(self, number):
        draw = torch.Generator().manual_seed(number)
        centres = torch.tensor([[20.0, 20], [60, 20], [20, 60]]) + 4 * torch.rand(3, 2, generator=draw)
        boxes = torch.cat([centres, 10 + 20 * torch.rand(3, 2, generator=draw)], 1)
        labels = torch.randint(2, (3,), generator=draw)
        whole = torch.cat([boxes.repeat(2, 1), 30 * torch.ones(6, 4)]).T
        scores = torch.zeros(2, 12)
        scores[labels.repeat(2), torch.arange(6)] = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        target = {"boxes": corners, "labels": labels, "crowd": torch.zeros(3, dtype=torch.bool)}
        return torch.cat([whole, scores]), target

def load():
    return {name: Data() for name in ("train", "validation", "test")} | {"classes": ["a", "b"]}
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("detector")
    (folder / "net.py").write_text(CODE)
    data = DataConfig(
        source=f"{folder / 'net.py'}:load",
        loss=f"{folder / 'net.py'}:loss",
        calibration_images=8,
        sample_images=8,
    )
    task = TaskConfig(head="yolov8", score=0.1)
    config = SourceConfig(ModelConfig(f"{folder / 'net.py'}:build"), data, task=task)
    return source(config, small.draft(folder, "source"))


def test_all_is_found(made: Checkpoint) -> None:
    network, data = opened(made)
    assert network.task.kind == "detection"
    assert made.facts.measured == "mAP"
    assert judged(network, data.test, "test").points == pytest.approx(100)


@pytest.mark.parametrize("output", ["scores", "detections"])
def test_its_engine_gives_what_its_head_reads_and_is_judged_by_it(
    made: Checkpoint, output: str, tmp_path: Path
) -> None:
    config = ExportConfig(opset=17, batch=8, dynamic_batch=False, output=output)  # type: ignore[arg-type]
    exported = export(config, made, small.draft(tmp_path, "export"))
    same = equivalence(EquivalenceConfig(), made, exported, small.draft(tmp_path, "equivalence"))
    named = {"scores": {"output"}, "detections": {"output_raw", "detections"}}[output]
    assert {one.output for one in same.facts.outputs} == named
    session = onnxruntime.InferenceSession(exported.path / "model.onnx")
    _, data = opened(made)
    (inputs,), target = loading.samples(data, 8)
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"input": inputs.numpy()}), strict=True))
    outputs = []
    for name, array in found.items():
        np.save(tmp_path / f"{name}.npy", array)
        outputs.append(Output(name=name, file=f"{name}.npy"))
    engine = Infer(model="compressed", top1=None, outputs=tuple(outputs))
    assert of_engines(made, tmp_path, {"compressed": engine})["compressed"] == pytest.approx(100)
    assert len(onnx.load(exported.path / "model.onnx").graph.output) == (1 if output == "scores" else 3)
    if output == "scores":  # what the runner makes of it on the board
        rules = as_table(models.rules(opened(made)[0]))
        for (_, _, labels), wanted in zip(detections(found, rules), target["labels"], strict=True):
            assert labels.tolist() == wanted.tolist()
