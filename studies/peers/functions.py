"""``jetpress.prune`` beside torch-pruning and ModelOpt, as libraries in somebody's own training code.

    python -m studies.peers.functions OUT.json [NETWORK ...]

Ten networks of torchvision with new weights, at 64 x 64 pixels: half of the multiply-adds is asked for, widths in
multiples of 8. The code of each library is what its own documentation shows; it is run as it stands here, and its
lines are counted. Each case has a process of its own, with one thread and ten minutes of processor time, which is what
is measured: others may use the machine.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studies.peers.pruning import macs
from studies.table import row, title

NETWORKS = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121",
    "shufflenet_v2_x1_0", "regnet_y_400mf", "convnext_tiny", "swin_t",
)  # fmt: skip
CODE = {
    "jetpress": """
slim = jetpress.prune(model, example, macs=0.5)
slim.prune_optimizer(optimizer)
pruned = slim.module
""",
    "torch-pruning": """
ignored = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == 1000]
importance = tp.importance.GroupMagnitudeImportance(p=2)
pruner = tp.pruner.BasePruner(
    model, example, importance=importance, pruning_ratio=0.95, iterative_steps=100, round_to=8,
    ignored_layers=ignored,
)
dense, _ = tp.utils.count_ops_and_params(model, example)
for _ in range(100):
    pruner.step()
    if tp.utils.count_ops_and_params(model, example)[0] <= 0.5 * dense:
        break
pruned = model
""",
    "ModelOpt": """
def score(network):
    with torch.no_grad():
        return -sum(F.cross_entropy(network(images), labels).item() for images, labels in loader)
pruned, _ = mtp.prune(
    model=model, mode="fastnas", constraints={"flops": "50%"}, dummy_input=example,
    config={"data_loader": loader, "score_func": score, "checkpoint": checkpoint},
)
""",
}
IMPORTS = {
    "jetpress": "import jetpress",
    "torch-pruning": "import torch_pruning as tp",
    "ModelOpt": "import modelopt.torch.prune as mtp",
}
SECONDS = 600


def lines(library: str) -> int:
    """Of code that its user writes."""
    return len([line for line in [IMPORTS[library], *CODE[library].splitlines()] if line.strip()])


def case(library: str, network: str, folder: Path) -> dict[str, Any]:
    """One library on one network."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    torch.set_num_threads(1)
    example, labels = torch.randn(2, 3, 64, 64), torch.tensor([1, 2])
    model = get_model(network, weights=None).train()
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, optimizer, example, labels)
    dense, kind = macs(model, (example,)), type(model)
    model.train()
    names = {
        "model": model, "example": example, "optimizer": optimizer, "nn": nn, "torch": torch, "F": F,
        "loader": [(example, labels)], "checkpoint": str(folder / f"{network}.pth"),
    }  # fmt: skip
    exec(IMPORTS[library], names)  # noqa: S102  (our own text)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    began = time.process_time()
    exec(CODE[library], names)  # noqa: S102
    seconds = time.process_time() - began
    pruned = names["pruned"]
    assert isinstance(pruned, nn.Module)
    gone = 1 - macs(pruned, (example,)) / dense
    pruned.train()
    return {
        "gone": gone,
        "seconds": seconds,
        "class": type(pruned) is kind,
        "trains": bool(step(pruned, torch.optim.SGD(pruned.parameters(), lr=0.0), example, labels)),
        "optimizer": survives(pruned, optimizer, example, labels),
    }


def step(module: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> int:
    """One step of training; how many parameters have state then."""
    optimizer.zero_grad()
    F.cross_entropy(module(images), labels).backward()
    optimizer.step()
    return sum(parameter.grad is not None for parameter in module.parameters())


def survives(module: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> bool:
    """Whether the optimizer trains each parameter of the pruned network, and begins with the moments that it had."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    parameters = list(module.parameters())
    if not all(id(p) in held and "exp_avg" in optimizer.state[p] for p in parameters):
        return False
    try:
        step(module, optimizer, images, labels)
    except RuntimeError:
        return False
    return True


def measured(library: str, network: str, folder: Path) -> dict[str, Any]:
    """The same in a process of its own, or why there is none."""
    command = [sys.executable, "-m", "studies.peers.functions", "case", library, network, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"failed": f"more than {SECONDS} s"}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:160]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def shown(found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"failed: {found['failed']}"
    more = "" if found["class"] else ", another class"
    kept = "optimizer goes on" if found["optimizer"] else "optimizer lost"
    return f"{100 * found['gone']:.0f} % gone, {found['seconds']:.1f} s, {kept}{more}"


def main(arguments: list[str]) -> None:
    if arguments[0] == "case":
        library, network, folder = arguments[1:]
        print(json.dumps(case(library, network, Path(folder))))
        return
    out = Path(arguments[0])
    results: dict[str, dict[str, Any]] = json.loads(out.read_text()) if out.exists() else {}
    for library in CODE:
        for network in arguments[1:] or NETWORKS:
            if library not in results.setdefault(network, {}):
                results[network][library] = measured(library, network, out.parent)
                out.write_text(json.dumps(results, indent=1))
    title("network", *(f"{name}, {lines(name)} lines" for name in CODE))
    for network, each in results.items():
        row(network, *(shown(each[library]) for library in CODE))


if __name__ == "__main__":
    main(sys.argv[1:])
