"""In which order do pruning, 2:4 and INT8 lose least, with no training?

    python -m studies.orders DATA resnet56 [--macs 0.25] [--tested 2000]
    python -m studies.orders DATA mobilenet_v2 --size 128 --tested 400

Each step is the library's call with the same 256 images: `prune` and `sparsify` fit the weights that stay, `quantize`
rounds. 2:4 masks do not survive a cut (channels of four go, and the fit fills what was zero), so after
2:4 > prune they are chosen anew. Accuracy of the files by ONNX Runtime, on test images, all on the same ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnxruntime
from torch import Tensor, nn

import jetpress
from jetpress.pipeline.network import checkpoints
from studies.real import FILES, named
from studies.table import row, title
from studies.untrained import BATCH, data_of

ORDERS = ("", "prune", "2:4", "prune > 2:4", "2:4 > prune > 2:4")


def made(dense: nn.Module, images: Tensor, share: float) -> dict[str, nn.Module]:
    """The network of each order, in FP32."""
    batches, some = [(one,) for one in images.split(BATCH)], images[:2]

    def prune(module: nn.Module) -> nn.Module:
        return jetpress.prune(
            module, some, macs=share, scope="measured", criterion="obs", channel_multiple=8, batches=batches
        ).module

    def sparse(module: nn.Module) -> nn.Module:
        return jetpress.fold(jetpress.sparsify(module, some, batches=batches, mode="force"), some)

    steps: Mapping[str, Callable[[nn.Module], nn.Module]] = {"prune": prune, "2:4": sparse}
    found = {"": dense}
    for order in ORDERS[1:]:
        before, _, last = order.rpartition(" > ")
        if before not in found:
            found[before] = steps["prune"](found[before.rpartition(" > ")[0]])
        found[order] = steps[last](found[before])
    return {order: found[order] for order in ORDERS}


def accuracy(file: Path, images: Tensor, labels: Tensor) -> float:
    """Percent, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    right = 0
    for x, y in zip(images, labels, strict=True):
        (scores,) = session.run(None, {given.name: x[None].numpy()})
        right += int(scores.argmax() == int(y))
    return 100 * right / len(labels)


def main() -> None:
    """Print a table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("network", choices=sorted(FILES))
    parser.add_argument("--macs", type=float, default=0.25)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--tested", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224, help="pixels of ImageNet's")
    asked = parser.parse_args()
    dense = named(asked.network).module
    checkpoints.load_weights(dense, asked.data / "weights" / f"{FILES[asked.network]}.pth")
    images, test, labels = data_of(asked.network, asked)
    title("network", "order", "FP32", "INT8", "INT8 layers")
    with tempfile.TemporaryDirectory() as folder:
        for order, module in made(dense.eval(), images, asked.macs).items():
            plain, rounded = (Path(folder) / f"{kind}.onnx" for kind in ("plain", "int8"))
            jetpress.export(module, images[:2], plain)
            quantized = jetpress.quantize(plain, images, rounded)
            figures = (accuracy(file, test, labels) for file in (plain, rounded))
            row(asked.network, order or "dense", *figures, sum(one.int8 for one in quantized.report.layers))


if __name__ == "__main__":
    main()
