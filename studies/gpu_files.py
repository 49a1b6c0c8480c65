"""What :mod:`studies.gpu` measures: the networks, and for each runtime a bundle with the same graphs.

FP16 and INT8 are written as the stages of a run write them; both come from one export.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Network:
    """What is measured."""

    name: str
    builder: str
    size: int


NETWORKS = (
    Network("resnet50", "torchvision:resnet50", 224),
    Network("detector", "torchvision:ssdlite320_mobilenet_v3_large", 320),
)
SMALL = (Network("resnet18", "torchvision:resnet18", 64),)
BACKENDS = {"gpu": "tensorrt", "rtx": "tensorrt_rtx"}


def modules(network: Network) -> dict[str, Any]:
    """Dense, and with half of its multiply-adds."""
    import torch

    import jetpress
    from jetpress.pipeline.network import models
    from jetpress.pipeline.recipe.sections.model import ModelConfig

    torch.manual_seed(0)
    dense = models.build(ModelConfig(builder=network.builder)).eval()
    image = torch.randn(1, 3, network.size, network.size)
    return {"dense": dense, "compressed": jetpress.prune(dense, image, macs=0.5).module.eval()}


def files(network: Network, folder: Path, targets: list[str], small: bool) -> dict[str, Any]:
    """A bundle for each precision and backend: the same ONNX files, dense and compressed, with types in the graph."""
    shape = [1, 3, network.size, network.size]
    plain = {name: _exported(module, shape) for name, module in modules(network).items()}
    sizes = {}
    for precision in ("fp32",) if small else ("fp16", "int8"):
        made = {name: _in(proto, precision, shape) for name, proto in plain.items()}
        sizes[precision] = {name: proto.ByteSize() for name, proto in made.items()}
        _bundles(network, precision, made, folder / precision, targets)
    return sizes


def _bundles(
    network: Network, precision: str, made: dict[str, Any], folder: Path, targets: list[str]
) -> None:
    """What the runner is given."""
    import numpy as np
    import onnx
    import torch

    from jetpress.deploy.pack import pack
    from jetpress.pipeline.store.artifact import listing

    shape = [1, 3, network.size, network.size]
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else (8, 6)
    for target in targets:
        backend, place = BACKENDS.get(target, "onnxruntime"), folder / target
        (place / "samples").mkdir(parents=True, exist_ok=True)
        for name, proto in made.items():
            onnx.save(proto, place / f"{name}.onnx")
        rng = np.random.default_rng(0)
        entry = next(iter(made.values())).graph.input[0]
        np.save(
            place / "samples" / f"{entry.name}.npy", rng.standard_normal((4, *shape[1:])).astype(np.float32)
        )
        plan = {
            "format": 1,
            "name": network.name,
            "backend": backend,
            "precision": precision,
            "strongly_typed": target != "host",
            "models": {name: {"file": f"{name}.onnx"} for name in made},
            "inputs": [{"name": entry.name, "shape": shape, "profile": None}],
            "compute_capabilities": [f"{capability[0]}.{capability[1]}"] if target == "rtx" else [],
            "threads": 1,
        }
        (place / "plan.json").write_text(json.dumps(plan))
        pack(place / "runner.pyz")
        (place / "manifest.json").write_text(json.dumps({"files": listing(place)}))


def _exported(module: Any, shape: list[int]) -> Any:
    from jetpress.pipeline.graph.exporting import to_onnx
    from jetpress.pipeline.recipe.sections.export import ExportConfig
    from jetpress.pipeline.recipe.sections.model import InputConfig

    return to_onnx(module, (InputConfig(shape=tuple(shape[1:])),), (), ExportConfig(opset=20))


def _in(made: Any, precision: str, shape: list[int]) -> Any:
    """The ONNX graph in FP32, FP16, or INT8 with the rest in FP16, as the stages make it."""
    import onnx
    import onnx_ir as ir
    import torch
    from onnx_ir.passes import common

    from jetpress.pipeline.graph import fp16_layers
    from jetpress.pipeline.quantization import calibrate
    from jetpress.pipeline.quantization.dialect import DIALECTS
    from jetpress.pipeline.quantization.subject import Subject

    torch.manual_seed(1)
    images = torch.randn(4, *shape[1:])
    if precision == "int8":
        one = Subject(made, DIALECTS["tensorrt"])
        feeds = [{made.graph.input[0].name: image[None].numpy()} for image in images]
        seen = calibrate.look(made, one.tensors(), feeds, counted=False)
        made = one.graph(calibrate.ranges(seen, "max", one.dialect))
    if precision != "fp32":
        halved, _ = fp16_layers.to_fp16(onnx.shape_inference.infer_shapes(made), [("drawn", (images[:1],))])
        common.RemoveUnusedNodesPass()(halved)
        common.NameFixPass()(halved)
        made = onnx.shape_inference.infer_shapes(ir.to_proto(halved))
    return made
