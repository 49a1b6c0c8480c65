"""A latency to prune a module in hand to: on which device it is measured, and what goes for it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from jetpress.deploy.targets import Target
from jetpress.pipeline.engine.contents import write_inputs
from jetpress.pipeline.flow.devices import bench_for_pruning, target_of, where
from jetpress.pipeline.functions.outline import filled
from jetpress.pipeline.functions.subjects import decided, network_of
from jetpress.pipeline.network.channels import analyse
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import Room
from jetpress.pipeline.pruning.reduction import Proposal, Reduction
from jetpress.pipeline.pruning.timed import Timer, for_time, layer_times
from jetpress.pipeline.recipe.configs import Bench, BundleConfig
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.facts.device import TimingsFacts
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


class Clock:
    """Times networks on a device. What layers of the dense one take there is measured once, when it is asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._times: TimingsFacts | None = None

    def chosen(
        self,
        original: nn.Module,
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        reduction: Reduction,
        whole: Mapping[str, float],
        earlier: PrunedTime | None,
    ) -> tuple[PrunedTime, Proposal]:
        """What goes from ``module`` for the latency that ``reduction`` is about, and what it then takes.

        Args:
            original: the dense network, as :func:`outline` keeps it.
            module: what is cut: the dense network, or what earlier cuts left of it.
            inputs: example inputs.
            reduction: of ``module``.
            whole: what the dense network costs otherwise.
            earlier: of the cut before, if that was to a latency.
        """
        dense = network_of(filled(original), inputs)
        with tempfile.TemporaryDirectory() as folder:
            timer = self._timer(dense, inputs, Path(folder))
            if self._times is None:
                graph = analyse(dense.module, inputs)
                room = Room(reduction.room.multiple, reduction.config.ignore, reduction.config.limits)
                self._times, _ = layer_times(timer, graph, room)
            timer = self._timer(network_of(module, inputs), inputs, Path(folder))
            correction = earlier.correction if earlier else 1.0
            return for_time(reduction, whole, self._times, timer, dense.module, correction)

    def _timer(self, network: Network, inputs: tuple[Tensor, ...], folder: Path) -> Timer:
        def samples(told: Sequence[TensorSpec], into: Path) -> None:
            write_inputs(network, inputs, told, into)

        return Timer(network, self.bench, samples, folder)
