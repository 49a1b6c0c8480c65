"""Camera frames in, classes out, no INT64 for TensorRT 8; and samples that fit such a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.runner.engines.infer import _top1
from jetpress.deploy.targets import find
from jetpress.pipeline.graph.ends import FRAMES, Ends
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.stages import equivalence
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.store.facts.onnx_file import TensorSpec
from tests.equivalence.networks import checkpoint, network
from tests.pipeline.graph.outputs import outputs

DATA = DataConfig(size=16, calibration_images=8, sample_images=16, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


def frames(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 16, 16, 3), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def kinds(values: Any) -> dict[str, tuple[int, list[int]]]:
    tensors = {v.name: v.type.tensor_type for v in values}
    return {name: (t.elem_type, [d.dim_value for d in t.shape.dim]) for name, t in tensors.items()}


def measured(packed: Path, folder: Path) -> dict[str, float]:
    """Model -> accuracy that the device's own runner finds on the samples."""
    engines, out = str(folder / "engines"), str(folder / "results")
    for command in (["build", "--out", engines], ["infer", "--engines", engines, "--out", out]):
        done = subprocess.run(
            [sys.executable, str(packed / "runner.pyz"), *command, "--bundle", str(packed)],
            capture_output=True,
            text=True,
            check=True,
        )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["model"]: one["top1"] for one in events if one["event"] == "infer"}


def test_frames_become_images_and_back() -> None:
    ends = Ends(FRAMES, mean=DATA.mean, std=DATA.std)
    (image,) = ends.to_network((frames(),))
    light = frames().permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (DATA.mean, DATA.std))
    assert torch.allclose(image, (light - mean) / std)
    assert torch.equal(ends.to_file((image,))[0], frames())


def test_a_file_that_takes_frames_and_gives_classes(tmp_path: Path) -> None:
    """The whole way: exported, equal, and the samples of the bundle give the classes that the network gives."""
    made = network("cnn")
    made.data = DATA
    saved = checkpoint(made, tmp_path / "checkpoint")
    for name in ("onnx", "report", "broken", "bundle"):
        (tmp_path / name).mkdir()
    asked = ExportConfig(
        opset=13, batch=2, input="uint8_nhwc", output="argmax", dynamic_batch=True, max_batch=4
    )
    exported = export(asked, saved, tmp_path / "onnx")
    told = {"name": "input", "dtype": "uint8", "shape": [2, 16, 16, 3]}
    profile = {name: [size, 16, 16, 3] for name, size in (("min", 1), ("opt", 2), ("max", 4))}
    assert [one.as_json() for one in exported.facts.inputs] == [{**told, "profile": profile}]
    assert exported.facts.outputs == (TensorSpec("output", "int32", ("batch",)),)
    equivalence.equivalence(EquivalenceConfig(), saved, exported, tmp_path / "report")

    from jetpress.pipeline.recipe.configs import BundleConfig
    from jetpress.pipeline.stages.bundle import bundle

    packing = BundleConfig("camera", find("host"), BuildConfig(precision="fp32"), BenchmarkConfig(), 0)
    packed = bundle(packing, saved, exported, exported, tmp_path / "bundle")
    assert json.loads((packed.path / "plan.json").read_text())["strongly_typed"] is False
    samples = np.load(packed.path / "samples" / "input.npy")
    assert samples.dtype == np.uint8
    assert samples.shape == (16, 16, 16, 3)
    plan = json.loads((packed.path / "plan.json").read_text())
    assert plan["inputs"] == [one.as_json() for one in exported.facts.inputs]
    proto = onnx.load(exported.path / "model.onnx")
    (found,) = outputs(proto, {"input": samples})
    with torch.no_grad():
        (seen,) = Ends(FRAMES, mean=DATA.mean, std=DATA.std).to_network((torch.from_numpy(samples),))
        classes = made.module(seen).argmax(1).numpy()
    assert np.array_equal(found, classes)
    assert _top1(found, classes) == 1.0
    labels = np.load(packed.path / "samples" / "labels.npy")
    assert measured(packed.path, tmp_path) == dict.fromkeys(
        ("compressed", "dense"), float((classes == labels).mean())
    )

    # The wrong mean in the graph is another function, and it is named.
    mean = next(one for one in proto.graph.initializer if one.name == "input_mean")
    mean.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(mean) + 0.5, mean.name))
    onnx.save(proto, exported.path / "model.onnx")
    with pytest.raises(StageError, match="not the same function"):
        equivalence.equivalence(EquivalenceConfig(), saved, exported, tmp_path / "broken")


def test_softmax_over_the_classes() -> None:
    made = network("segmenter")
    proto = to_onnx(made.module, made.model.inputs, (), ExportConfig(output="softmax"))
    (image,) = Ends().to_network((torch.randn(1, 3, 16, 16),))
    with torch.no_grad():
        maps, best = made.module(image)
    found = outputs(proto, {"input": image.numpy()})
    assert np.allclose(found[0], maps.softmax(1).numpy(), atol=1e-6)
    assert np.allclose(found[1], best.numpy(), atol=1e-6), "only the first output"


def test_no_int64_at_the_ends() -> None:
    made = network("two_inputs")
    plain = to_onnx(made.module, made.model.inputs, (), ExportConfig(opset=13, batch=2))
    assert kinds(plain.graph.input)["kind"][0] == TensorProto.INT64
    narrow = to_onnx(made.module, made.model.inputs, (), ExportConfig(opset=13, batch=2, int64_io=False))
    assert kinds(narrow.graph.input) == {
        "image": (TensorProto.FLOAT, [2, 3, 16, 16]),
        "kind": (TensorProto.INT32, [2, 3]),
    }
    image, kind = torch.randn(2, 3, 16, 16), torch.tensor([[0, 4, 2], [1, 1, 3]])
    one = outputs(plain, {"image": image.numpy(), "kind": kind.numpy()})
    other = outputs(narrow, {"image": image.numpy(), "kind": kind.int().numpy()})
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_network_without_images_takes_no_frames() -> None:
    made = network("two_inputs")
    flat = tuple(one for one in made.model.inputs if one.name == "kind")

    class Rows(torch.nn.Module):
        def forward(self, kind: torch.Tensor) -> torch.Tensor:
            return kind.float().sum(1)

    with pytest.raises(RecipeError, match=r"no input of the network is an image"):
        to_onnx(Rows(), flat, (), ExportConfig(input="uint8_nhwc"))
    with pytest.raises(RecipeError, match=r"the first output is not a tensor \[batch, classes"):
        to_onnx(Rows(), flat, (), ExportConfig(output="argmax"))


@pytest.mark.parametrize(
    ("target", "precision", "int64", "fp16"),
    [
        ("nano", "fp16", False, False),
        ("xavier", "fp16", False, False),
        ("orin-nano", "fp16", True, True),
        ("orin-nano", "fp32", True, False),
        ("thor-jp72", "auto", True, True),
        ("rtx", "auto", True, True),
        ("host", "auto", True, False),
    ],
)
def test_the_target_decides_how(target: str, precision: Any, int64: bool, fp16: bool) -> None:
    recipe = Recipe(name="x", build=BuildConfig(precision=precision))
    decided = resolve(recipe, find(target)).recipe.export
    assert (decided.int64_io, decided.fp16) == (int64, fp16)


def test_frames_need_tensorrt_8_5() -> None:
    recipe = Recipe(name="x", export=ExportConfig(input="uint8_nhwc"))
    assert resolve(recipe, find("xavier")).recipe.export.input == "uint8_nhwc"
    with pytest.raises(RecipeError, match=r"TensorRT 8.2.1 of Jetson Nano.* has no UINT8 inputs"):
        resolve(recipe, find("nano"))
