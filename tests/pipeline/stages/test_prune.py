"""The stage: what it removes it saves, reports and gives back; shares count from the original width."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jetpress.deploy.device import ssh
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.device.probe import identity, probe
from jetpress.deploy.errors import StageError
from jetpress.deploy.targets import find
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.configs import (
    Bench,
    BundleConfig,
    Place,
    SensitivityConfig,
    TimedConfig,
    TimingsConfig,
)
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.stages import source
from jetpress.pipeline.stages.prune_for_time import prune_for_time
from jetpress.pipeline.stages.sensitivity import sensitivity
from jetpress.pipeline.stages.timings import timings
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.store import Store
from studies import resnet_cifar
from tests.deploy import sshd
from tests.equivalence.networks import checkpoint, network
from tests.pipeline import small

NETWORKS = {"cnn": 2, "transformer": 2, "segmenter": 1}
"""With the multiple that their few channels allow."""


def config(ratio: float = 0.5, multiple: int = 2, **rest: object) -> PruneConfig:
    return PruneConfig(ratio=ratio, channel_multiple=multiple, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORKS)
def test_two_rounds_save_and_load(name: str, tmp_path: Path) -> None:
    dense = checkpoint(network(name), tmp_path / "dense")
    first = small.pruned(config(0.25, NETWORKS[name]), dense, tmp_path, "first")
    second = small.pruned(config(0.5, NETWORKS[name]), first, tmp_path, "second")
    assert first.facts.pruned is second.facts.pruned is True
    assert second.facts.parameters < first.facts.parameters < models.measure(network(name)).parameters
    assert not first.facts.pruning.refused
    loaded, again = models.load(second), models.load(second)
    assert len(loaded.history) == 2
    inputs = models.example_inputs(loaded.model.inputs)
    with torch.no_grad():
        for a, b in zip(
            models.outputs_of(loaded.module(*inputs)), models.outputs_of(again.module(*inputs)), strict=True
        ):
            assert torch.equal(a, b)
            assert a.isfinite().all()
    original = {layer.name: layer.before for layer in first.facts.pruning.layers}
    for layer in second.facts.pruning.layers:
        assert layer.after <= 0.75 * original.get(layer.name, layer.before)
        assert layer.after % NETWORKS[name] == 0


def test_facts_say_what_went_and_what_stays(tmp_path: Path) -> None:
    pruned = small.pruned(config(multiple=8), checkpoint(network("cnn"), tmp_path / "dense"), tmp_path, "p")
    layers = {layer.name: (layer.before, layer.after) for layer in pruned.facts.pruning.layers}
    assert layers["stem.0.weight"] == layers["body.0.weight"] == (16, 8)
    assert layers["hidden.0.weight"] == (16, 8)
    assert pruned.facts.pruning.removed_channels == sum(a - b for a, b in layers.values())
    assert pruned.facts.pruning.fixed["head.weight"] == "output of the network"
    assert pruned.facts.pruning.left == {"up.0.weight": "4 channels: no smaller multiple of 8"}
    assert pruned.facts.pruning.as_graph is False
    assert 0 <= pruned.facts.pruning.check.error <= 1e-5
    assert pruned.facts.pruning.check.precision == "double"


def test_what_is_left_alone_says_why(tmp_path: Path) -> None:
    dense = checkpoint(network("cnn"), tmp_path / "dense")
    some = config(multiple=8, ignore=("hidden.*",))
    pruned = small.pruned(some, dense, tmp_path, "p")
    assert pruned.facts.pruning.left["hidden.0.weight"] == "prune.ignore"
    wide = small.pruned(config(multiple=64), dense, tmp_path, "wide")
    assert wide.facts.pruning.left["hidden.0.weight"] == "16 channels: no smaller multiple of 64"


@pytest.mark.parametrize("nothing", [{"ratio": 0.5, "multiple": 64}, {"ignore": ("*",)}])
def test_a_round_that_removes_nothing_says_so(tmp_path: Path, nothing: dict[str, object]) -> None:
    dense = checkpoint(network("cnn"), tmp_path / "dense")
    same = small.pruned(config(**nothing), dense, tmp_path, "same")  # type: ignore[arg-type]
    assert same.facts.pruned is False
    assert same.facts.pruning.removed_channels == 0
    assert models.load(same).history == []
    before, after = (models.load(c).module.state_dict() for c in (dense, same))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_whose_channels_all_come_out_stays(tmp_path: Path) -> None:
    same = small.pruned(config(), checkpoint(network("two_inputs"), tmp_path / "dense"), tmp_path, "same")
    assert same.facts.pruned is False
    assert same.facts.pruning.fixed == {
        "conv.weight": "output of the network",
        "table.weight": "output of the network",
    }


def test_a_network_with_masks_is_refused(tmp_path: Path) -> None:
    made = network("cnn")
    made.masks["body.0.weight"] = torch.ones_like(
        made.module.get_submodule("body.0").weight, dtype=torch.bool
    )  # type: ignore[arg-type]
    with pytest.raises(StageError, match="before 2:4"):
        small.pruned(config(), checkpoint(made, tmp_path / "masked"), tmp_path, "p")


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_taylor_looks_at_training_batches(tmp_path: Path, scope: str) -> None:
    start: Checkpoint = small.start(tmp_path)
    pruned = small.pruned(config(criterion="taylor", scope=scope), start, tmp_path, "p")
    assert pruned.facts.pruned is True
    assert all(p.grad is None or not p.grad.any() for p in models.load(pruned).module.parameters())


RESNET = Path(resnet_cifar.__file__).resolve()


def resnet(depth: int, folder: Path) -> Checkpoint:
    """A CIFAR ResNet, untrained, for the digits."""
    model = ModelConfig(builder=f"{RESNET}:resnet", arguments={"depth": depth})
    torch.manual_seed(0)
    return source.source(source.SourceConfig(model, DataConfig(size=16, batch_size=32)), folder)


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """One block in each of the three stages."""
    return resnet(8, tmp_path_factory.mktemp("residual"))


@pytest.mark.parametrize(
    ("scope", "goal"),
    [
        ("uniform", "macs"),
        ("global", "params"),
        ("isomorphic", "macs"),
        ("measured", "macs"),
        ("measured", "params"),
    ],
)
def test_a_share_of_the_cost_goes(residual: Checkpoint, tmp_path: Path, scope: str, goal: str) -> None:
    """Met, and not by far; a second round goes on from where the first ended."""
    fact = {"macs": "macs", "params": "parameters"}[goal]
    rest = {"scope": scope, "sensitivity_images": 8, "criterion": "l1", "reconstruct": False}
    first = small.pruned(config(multiple=4, **rest, **{goal: 0.3}), residual, tmp_path, "first")
    second = small.pruned(config(multiple=4, **rest, **{goal: 0.6}), first, tmp_path, "second")
    for made, share in ((first, 0.3), (second, 0.6)):
        left = getattr(made.facts, fact) / getattr(residual.facts, fact)
        assert (
            left <= 1 - share + 0.005
        )  # classifier's bias and the like are counted in one and not in the other
        assert left >= 1 - share - 0.25
        assert all(layer.after % 4 == 0 for layer in made.facts.pruning.layers)
    assert first.facts.pruning.whole == second.facts.pruning.whole
    loaded = dict(models.load(second).module.named_parameters())
    assert all(layer.after == len(loaded[layer.name]) for layer in second.facts.pruning.layers)


@pytest.mark.parametrize("scope", ["uniform", "measured"])
def test_several_goals_all_hold(residual: Checkpoint, tmp_path: Path, scope: str) -> None:
    """Parameters sit in the last blocks, multiply-adds in all of them."""
    rest = {"scope": scope, "sensitivity_images": 8, "criterion": "l1", "multiple": 4, "reconstruct": False}
    params, both = (
        small.pruned(config(params=0.6, **rest, **also), residual, tmp_path, name)  # type: ignore[arg-type]
        for name, also in (("one", {}), ("two", {"macs": 0.8}))
    )
    left = [made.facts.macs / residual.facts.macs for made in (params, both)]
    assert left[1] <= 0.205 < left[0]
    assert both.facts.parameters / residual.facts.parameters <= 0.405


def test_blocks_go_where_that_pays_and_come_back_from_the_history(tmp_path: Path) -> None:
    """Two blocks in each stage: the second one may go."""
    residual = resnet(14, small.draft(tmp_path, "dense"))
    rest = {"scope": "measured", "sensitivity_images": 8, "ignore": ("conv1.weight",), "reconstruct": False}
    made = small.pruned(config(multiple=16, macs=0.5, **rest), residual, tmp_path, "p")
    assert made.facts.pruning.blocks
    loaded = models.load(made)
    assert loaded.history[0] == {"blocks": list(made.facts.pruning.blocks)}
    for name in made.facts.pruning.blocks:
        assert isinstance(loaded.module.get_submodule(name), torch.nn.Identity)
    assert loaded.module(torch.randn(3, 3, 16, 16)).isfinite().all()
    kept = small.pruned(config(multiple=16, macs=0.5, blocks=False, **rest), residual, tmp_path, "k")
    assert not kept.facts.pruning.blocks


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Behind a real sshd, as a board is; this machine itself where there is none."""
    if sshd.MISSING:
        yield None
        return
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    folder = tmp_path_factory.mktemp("sshd") / "s"
    with (
        pytest.MonkeyPatch.context() as patch,
        sshd.running(folder, {"PATH": path, "OMP_NUM_THREADS": "1"}) as server,
    ):
        patch.setenv(ssh.CONFIG, str(server.config))
        yield server.name


def bench(device: str | None) -> Bench:
    place = Place(device, identity(probe(open_device(device))))
    packing = BundleConfig(
        "small", find("host"), BuildConfig(precision="fp32"), BenchmarkConfig(threads=1), 0
    )
    return Bench(place, packing, ExportConfig(opset=17))


def test_a_latency_is_measured_until_it_is_met(device: str | None, tmp_path: Path) -> None:
    """On the device's own engine; how far noise lets it come is not the point, what it says is."""
    start, there = small.start(tmp_path), bench(device)
    times = timings(TimingsConfig(there, 4, (), {}), start, small.draft(tmp_path, "timings"))
    assert times.facts.latency_ms > 0
    assert len(times.facts.networks) > 4
    assert {"conv1", "conv2", "head"} <= set(times.facts.fit)
    asked = config(multiple=4, scope="uniform", latency=0.4, params=0.7)
    judged = sensitivity(SensitivityConfig.of(asked), start, small.draft(tmp_path, "judged"))
    made = prune_for_time(TimedConfig(asked, there), start, judged, start, times, small.draft(tmp_path, "p"))
    time = made.facts.pruning.time
    assert time.limit_ms == pytest.approx(0.6 * times.facts.latency_ms)
    assert time.met == (time.measured_ms <= time.limit_ms)
    assert 1 <= len(time.tries) <= 4
    assert made.facts.pruned is True
    assert made.facts.parameters <= 0.31 * start.facts.parameters
    assert not list((tmp_path / "p").rglob("*.onnx")), "what was tried is not kept"


def test_times_are_known_by_network_target_and_toolchain(tmp_path: Path) -> None:
    """And by nothing else: another goal finds them."""
    start, store, here = small.start(tmp_path), Store(tmp_path / "store"), bench(None)

    def key(multiple: int = 4, **known: str) -> str:
        there = replace(here, place=replace(here.place, identity=here.place.identity | known))
        return store.key(timings, TimingsConfig(there, multiple, (), {}), (start,))

    others = [{"board": "another"}, {"tensorrt": "10.3.0"}, {"onnxruntime": "0"}, {"l4t": "36.4"}]
    assert key() == key()
    assert len({key(), key(8), *(key(**one) for one in others)}) == 2 + len(others)
