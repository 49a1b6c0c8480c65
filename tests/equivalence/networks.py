"""Small networks that together hold what exporters stumble over."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.store.artifact import Checkpoint

HERE = Path(__file__).resolve()
IMAGE = InputConfig(shape=(3, 16, 16))
PAIR = (InputConfig(shape=(3, 16, 16), name="image"), InputConfig(shape=(3,), name="kind", dtype="int64"))
LOWERED = ("LayerNormalization", "HardSwish")


class Cnn(nn.Module):
    """Convolution, depthwise and transposed convolution, BatchNorm, residual, HardSwish, squeeze, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16))
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, stride=2, groups=2), nn.BatchNorm2d(8))
        self.hidden = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.body(x)
        x = self.up(self.depthwise(x))
        return self.head(self.hidden(F.adaptive_avg_pool2d(x, 1).flatten(1)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Patches, a class token, LayerNorm, attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(
            16, 2, 32, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.norm(self.block(x))[:, 0])  # type: ignore[no-any-return]


class TwoInputs(nn.Module):
    """Two inputs (one of whole numbers), a dict of outputs, one tensor twice; a parameter called like one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.table = nn.Embedding(5, 8)
        self.scores = nn.Parameter(torch.randn(8))

    def forward(self, image: Tensor, kind: Tensor) -> dict[str, Tensor]:
        x = self.conv(image).mean((2, 3)) + self.table(kind).mean(1)
        scores = x * self.scores
        return {"scores": scores, "again": scores, "positive": torch.relu(x)}


class Segmenter(nn.Module):
    """Pooling, padding, splits and upsampling; a tuple of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.Hardswish()
        )
        self.out = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = x.shape[-2:]
        x = self.down(F.pad(x, (1, 2, 0, 1)))
        first, second, third = x.chunk(3, 1)
        x = torch.cat([third, second * first, first], 1)
        maps = F.interpolate(self.out(x), size=size, mode="bilinear", align_corners=False)
        return maps, maps.softmax(1).amax((2, 3))


class Warp(nn.Module):
    """GridSample: opset 16."""

    def forward(self, x: Tensor) -> Tensor:
        grid = F.affine_grid(torch.eye(2, 3)[None].expand(len(x), -1, -1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class Length(nn.Module):
    """``len(x)`` is a constant to PyTorch's exporter where it does not compile."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10] + torch.zeros(len(x), 10)


class FixedBatch(nn.Module):
    """A loop over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one.flatten()[:10] for one in x])


class TurnedAttention(nn.Module):
    """Attention whose result is turned and flattened, as in timm's BEiT: PyTorch's exporter loses its layout."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, 4, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).reshape(len(x), 16, 3, 4, 4).permute(2, 0, 3, 1, 4)
        query, key, value = tokens.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        return mixed.transpose(1, 2).reshape(len(x), 16, 16)


class Branches(nn.Module):
    """Cannot be exported: forward depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def cnn() -> nn.Module:
    return Cnn()


def transformer() -> nn.Module:
    return Transformer()


def two_inputs() -> nn.Module:
    return TwoInputs()


def segmenter() -> nn.Module:
    return Segmenter()


def network(name: str, outputs: tuple[str, ...] = ()) -> Network:
    """One of the above with statistics in its BatchNorms, as trained networks have. Always the same."""
    inputs = PAIR if name == "two_inputs" else (IMAGE,)
    config = ModelConfig(builder=f"{HERE}:{name}", inputs=inputs, outputs=outputs)
    made = Network(models.build(config), config, DataConfig(size=16, calibration_images=8))
    torch.manual_seed(1)
    for layer in made.module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    made.module.train()
    with torch.no_grad():
        made.module(*models.example_inputs(inputs, 8))
    made.module.eval()
    return made


@cache
def _exported(name: str, config: ExportConfig) -> bytes:
    made = network(name)
    return to_onnx(made.module, made.model.inputs, made.model.outputs, config).SerializeToString()


def onnx_of(name: str, **config: Any) -> onnx.ModelProto:
    """The network ``name`` exported; each configuration once in a process, because the exporter is slow."""
    return onnx.load_from_string(_exported(name, ExportConfig(**config)))


def checkpoint(made: Network, folder: Path, **facts: Any) -> Checkpoint:
    """``made``, saved."""
    folder.mkdir()
    return models.save(made, folder, replace(models.measure(made), **facts))
