"""A latency to prune a module in hand to: on which device it is measured, and what goes for it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from jetpress.deploy.targets import Target
from jetpress.pipeline.engine.contents import write_inputs
from jetpress.pipeline.flow.devices import bench_for_pruning, target_of, where
from jetpress.pipeline.functions.subjects import decided, network_of
from jetpress.pipeline.pruning.reduction import Proposal, Reduction
from jetpress.pipeline.pruning.timed import Timer, for_time, layer_times
from jetpress.pipeline.recipe.configs import Bench, BundleConfig
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.facts.network import PrunedTime
from jetpress.pipeline.store.facts.onnx_file import TensorSpec


def bench_of(config: PruneConfig, target: str | Target, device: str | None) -> Bench:
    """Where engines are built and timed, in the target's own precision.

    Raises:
        RecipeError: there is no such target, or it is not here and no device is given.
        DeviceError: the device is another one, or cannot be reached.
    """
    plan = decided(target_of(target, device), prune={"latency": config.latency})
    recipe = plan.recipe
    packing = BundleConfig(recipe.name, plan.target, recipe.build, recipe.benchmark, recipe.seed)
    bench = bench_for_pruning(plan, where(plan, device), packing)
    assert bench is not None, "a latency is asked for"
    return bench


def timed(
    bench: Bench,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    reduction: Reduction,
    whole: Mapping[str, float],
) -> tuple[PrunedTime, Proposal]:
    """What goes from the dense ``module`` for the latency that ``reduction`` is about, and what it then takes."""
    network = network_of(module, inputs)

    def samples(told: Sequence[TensorSpec], folder: Path) -> None:
        write_inputs(network, inputs, told, folder)

    with tempfile.TemporaryDirectory() as folder:
        timer = Timer(network, bench, samples, Path(folder))
        times, _ = layer_times(timer, reduction.graph, reduction.room)
        return for_time(reduction, whole, times, timer, network.module)
