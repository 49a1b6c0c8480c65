"""A network of more than 2 GiB: its weights lie beside the file, and the whole way takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from jetpress.deploy.errors import StageError
from jetpress.deploy.onnx_file import guard
from jetpress.pipeline.graph.exporting import to_graph, to_onnx, write
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig

WIDTH = 23_500  # squared, in float32: 2.06 GiB


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(WIDTH, WIDTH, bias=False)
        nn.init.zeros_(self.wide.weight)
        with torch.no_grad():
            self.wide.weight.fill_diagonal_(2.0)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.wide(x)))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_weights_beside_the_file(tmp_path: Path) -> None:
    module, inputs = Wide().eval(), (InputConfig((WIDTH,)),)
    config = ExportConfig(opset=17)
    path = tmp_path / "model.onnx"
    write(to_graph(module, inputs, (), config)[0], path)
    assert path.stat().st_size < 2**20
    assert (tmp_path / "model.onnx.data").stat().st_size > 2**31
    assert guard.check_onnx(path).external == (tmp_path / "model.onnx.data",)
    described = onnx.load(path, load_external_data=False)
    assert {one.external_data[0].value for one in described.graph.initializer if one.external_data} == {
        "model.onnx.data"
    }
    assert all(value.type.tensor_type.HasField("shape") for value in described.graph.value_info)

    import onnxruntime

    (given,) = models.example_inputs(inputs, 1)
    with torch.no_grad():
        expected = module(given).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": given.numpy()})
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_no_single_message_for_it() -> None:
    with pytest.raises(StageError, match=r"the weights have 2\.\d GiB"):
        to_onnx(Wide(), (InputConfig((WIDTH,)),), (), ExportConfig())
