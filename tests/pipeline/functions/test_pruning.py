"""A module in hand: smaller, and in all else as it was; what was given is left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import jetpress
from jetpress.deploy.errors import JetpressError, RecipeError, StageError
from jetpress.pipeline.pruning.criteria import CRITERIA
from tests.pipeline.functions.networks import INPUTS, Net, Stubborn, net, step

DATA = [(INPUTS, torch.tensor([0, 1])), (INPUTS + 1, torch.tensor([2, 3]))]


def prune(model: nn.Module | jetpress.Pruned, inputs: Tensor = INPUTS, **how: Any) -> jetpress.Pruned:
    return jetpress.prune(model, inputs, **{"macs": 0.5, "channel_multiple": 2, **how})


def test_it_is_smaller_and_what_was_given_is_as_it_was() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    slim = prune(model)
    assert type(slim.module) is Net
    assert list(slim.module.state_dict()) == list(before)
    assert slim.size.macs <= 0.5 * slim.dense.macs
    assert slim.size.parameters == sum(p.numel() for p in slim.module.parameters()) < slim.dense.parameters
    assert (
        slim.module.first.out_channels == slim.module.second.in_channels == len(slim.module.first.weight) < 16
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert slim.module(INPUTS).shape == (2, 4)


def test_the_dense_macs_are_those_of_one_sample() -> None:
    assert prune(net()).dense.macs == 64 * 16 * 9 * (3 + 16) + 64 == prune(net(), INPUTS[:1]).dense.macs


def test_it_computes_what_the_dense_one_does_without_these_channels() -> None:
    model = net().eval()
    with torch.no_grad():  # channels that are no more than zeros
        for tensor in (
            model.first.weight,
            model.first.bias,
            model.norm.bias,
            model.second.weight,
            model.second.bias,
        ):
            tensor[8:] = 0
    slim = prune(model, macs=None, ratio=0.5)
    assert torch.allclose(slim.module(INPUTS), model(INPUTS), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types_stay(dtype: torch.dtype) -> None:
    slim = prune(net().to(dtype), INPUTS.to(dtype))
    assert {tensor.dtype for tensor in slim.module.parameters()} == {dtype}
    assert slim.module(INPUTS.to(dtype)).dtype == dtype


def test_modes_frozen_parameters_and_hooks_stay() -> None:
    model, calls = net(), list[str]()
    model.norm.eval()
    model.first.requires_grad_(False)
    model.second.register_forward_hook(lambda *_: calls.append("hook"))
    slim = prune(model)
    assert (slim.module.training, slim.module.norm.training, slim.module.head.training) == (True, False, True)
    frozen = {name for name, one in slim.module.named_parameters() if not one.requires_grad}
    assert frozen == {"first.weight", "first.bias"}
    calls.clear()
    slim.module(INPUTS)
    assert calls == ["hook"]


def test_the_order_of_memory_stays_and_compile_in_place_is_told() -> None:
    model = net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.compile()
    slim = prune(model)
    assert slim.module.second.weight.is_contiguous(memory_format=torch.channels_last)
    assert not slim.module.second.weight.is_contiguous()
    assert str(slim).endswith("call slim.module.compile() again")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_is_made_in_evaluation_can_be_trained(mode: Any, tmp_path: Any) -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    with mode():
        shown = [(INPUTS + 0, torch.tensor([0, 1]))]
        slim = prune(model, INPUTS + 0, criterion="taylor", batches=shown, loss=F.cross_entropy)
        slim.prune_optimizer(optimizer)
        jetpress.save(slim, tmp_path)
        loaded = jetpress.load(tmp_path, Net).module
        sparse = jetpress.sparsify(slim, INPUTS, mode="force", min_channels=4)
        made = [loaded, slim.prune_copy(model), sparse.module, jetpress.fold(sparse, INPUTS)]
    step(slim.module, optimizer)
    for one in made:
        step(one, torch.optim.SGD(one.parameters(), 0.1, momentum=0.9))


class Tied(nn.Module):
    """One weight in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.leave = nn.Linear(16, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(torch.relu(self.enter(x))))
        return self.leave(torch.relu(self.b(x)))  # type: ignore[no-any-return]


def test_shared_weights_stay_shared() -> None:
    slim = prune(Tied(), torch.randn(2, 8))
    assert slim.removed
    assert slim.module.a.weight is slim.module.b.weight


@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, AveragedModel, lambda one: torch.compile(AveragedModel(one))]
)
def test_wrappers_are_taken_off_and_told(wrap: Any) -> None:
    slim = prune(wrap(net()))
    assert type(slim.module) is Net
    assert "compile it again" in slim.summary() or "wrap it again" in slim.summary()


def test_compiled_parts_are_told() -> None:
    model = nn.Sequential(torch.compile(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())), nn.Conv2d(16, 4, 1))
    slim = prune(model)
    assert slim.removed
    assert [name for name, _ in slim.module.named_parameters()] == [
        "0.0.weight",
        "0.0.bias",
        "1.weight",
        "1.bias",
    ]
    assert "not compiled any more, as that is for the old widths: 0" in slim.summary()
    assert "_orig_mod" in next(iter(model.state_dict()))


COMPUTED = {
    "weight_norm, old": torch.nn.utils.weight_norm,
    "spectral_norm, old": torch.nn.utils.spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
def test_computed_weights_are_made_plain_and_the_model_given_still_works(compute: Any) -> None:
    model = net()
    compute(model.first)
    compute(model.second)
    model(INPUTS)
    expected = model.eval()(INPUTS)
    whole = prune(model, macs=0.0)
    assert not whole.removed
    assert torch.allclose(whole.module(INPUTS), expected, atol=1e-6)
    assert list(whole.module.state_dict().keys() ^ net().state_dict().keys()) == []
    slim = prune(model)
    assert slim.removed
    assert (
        "computed weights are plain from here on, as channels are cut in them: first.weight, second.weight"
        in str(slim)
    )
    assert torch.equal(model(INPUTS), expected)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion(criterion: str) -> None:
    assert prune(net(), criterion=criterion, batches=DATA, loss=F.cross_entropy).removed


def test_a_criterion_sees_the_users_data() -> None:
    """What a channel that is always zero is worth: nothing."""
    model = net()
    with torch.no_grad():
        model.norm.weight[:8], model.norm.bias[:8] = 0, -1
        model.first.weight[:8] *= 100
        model.second.weight[:8] = model.second.bias[:8] = 0
    slim = prune(model, macs=None, ratio=0.5, criterion="taylor", batches=DATA, loss=F.cross_entropy)
    kept = slim.history[0]["kept"]["first.weight"]["0"]
    assert kept == [[8, 16]]


def test_measured_takes_blocks() -> None:
    slim = prune(Deep(), macs=0.7, scope="measured", batches=[INPUTS], channel_multiple=16)
    assert slim.pruning.blocks
    assert "bypassed" in str(slim)
    assert slim.module(INPUTS).shape == (2, 4)


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(Block() for _ in range(3)))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.first(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(x))


def test_shares_are_those_of_the_dense_network() -> None:
    first = prune(net(), macs=0.3)
    second = prune(first, macs=0.6)
    assert second.dense == first.dense
    assert second.size.macs <= 0.4 * first.dense.macs
    assert len(second.history) == 2


def test_a_parameter_may_be_handed_to_a_module_as_a_view() -> None:
    """Queries that are learnt: such a view wants gradients even where none are taken."""

    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(4, 16))
            self.inner = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.inner(self.queries.expand(len(x), -1, -1)).mT

    slim = jetpress.prune(Queries(), torch.randn(2, 3, 16))
    assert slim.module.inner[0].out_features == 16
    assert slim.module.queries.requires_grad


def test_what_stays_says_why() -> None:
    slim = prune(net(), channel_multiple=16)
    assert not slim.removed
    assert str(slim).startswith("nothing was removed\n")
    assert "stays: first.weight: 16 channels: no smaller multiple of 16" in str(slim)
    assert "stays: head.weight: output of the network" in str(slim)


def test_code_with_a_width_in_it_lives_on_as_its_graph() -> None:
    model = Stubborn()
    slim = prune(model)
    assert slim.pruning.as_graph
    assert "lives on as its traced graph, as its code does not take the widths: RuntimeError" in str(slim)
    assert slim.module.training
    assert [name for name, _ in slim.module.named_parameters()] == [
        name for name, _ in model.named_parameters()
    ]
    assert prune(slim, macs=0.7).size.macs < slim.size.macs


REFUSED: dict[str, tuple[Any, str]] = {
    "no network": (lambda: jetpress.prune("resnet18", INPUTS), "a str and no network"),  # type: ignore[arg-type]
    "no tensor": (lambda: prune(net(), None), "example_inputs is NoneType"),  # type: ignore[arg-type]
    "other inputs": (lambda: prune(net(), INPUTS[:, :2]), "Net does not take the example inputs: RuntimeError"),
    "a share": (lambda: prune(net(), macs=1.5), "jetpress.prune: macs = 1.5"),
    "a criterion": (lambda: prune(net(), criterion="magic"), "jetpress.prune: criterion = \"magic\""),
    "a pattern": (lambda: prune(net(), ignore=["frist.*"]), "no parameter is called 'frist.*'"),
    "a module": (lambda: prune(net(), limits={"first": 0.2}), "did you mean 'first.*'?"),
    "no data": (lambda: prune(net(), criterion="apoz"), "criterion='apoz' looks at data"),
    "no loss": (lambda: prune(net(), criterion="taylor", batches=DATA), "the gradients of a loss"),
    "no target": (lambda: prune(net(), criterion="taylor", batches=[INPUTS], loss=F.mse_loss), "needs targets"),
    "a dict": (lambda: prune(net(), criterion="apoz", batches=[{"x": INPUTS}]), "a batch is a dict"),
    "a data set": (lambda: prune(net(), criterion="apoz", batches=[(INPUTS[0], 1)]), "a batch has ["),
    "one of two": (lambda: prune(net(), criterion="apoz", batches=[((INPUTS, INPUTS), 0)]), "a batch has ["),
    "lazy": (lambda: prune(nn.Sequential(nn.LazyConv2d(4, 3)), INPUTS), "lazy layers without weights"),
    "meta": (lambda: prune(net().to("meta"), INPUTS), "on the meta device"),
}  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED)
def test_one_message_each(refused: str) -> None:
    call, said = REFUSED[refused]
    with pytest.raises(RecipeError) as caught:
        call()
    assert said in str(caught.value)


def test_a_sharded_network_is_refused_by_name(tmp_path: Any) -> None:
    from torch import distributed
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
    from torch.nn.parallel import DistributedDataParallel

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        assert type(prune(DistributedDataParallel(net())).module) is Net
        model = net()
        fully_shard(model)
        with pytest.raises(JetpressError, match="is sharded by FSDP"):
            prune(model)
        slim = prune(net())
        jetpress.save(slim, tmp_path / "slim")
        fully_shard(slim.module)
        step(slim.module, torch.optim.SGD(slim.module.parameters(), 0.1))
        with pytest.raises(JetpressError, match=r"weights=its full state_dict"):
            jetpress.save(slim, tmp_path / "slim")
        trained = get_model_state_dict(slim.module, options=StateDictOptions(full_state_dict=True))
        whole = jetpress.load(tmp_path / "slim", Net, weights=trained).module.state_dict()
        assert all(torch.equal(whole[name], tensor) for name, tensor in trained.items())
        for in_view in (True, False):  # its inner module looks like any other
            slim = prune(net())
            FullyShardedDataParallel(
                slim.module,
                device_id=torch.device("cpu"),
                use_orig_params=in_view,
                sharding_strategy=ShardingStrategy.NO_SHARD,
            )
            with pytest.raises(JetpressError, match="is sharded by FSDP"):
                jetpress.save(slim, tmp_path / "slim")
    finally:
        distributed.destroy_process_group()


def test_processes_that_may_choose_apart_are_told() -> None:
    from torch import distributed
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)  # type: ignore[no-untyped-call]
    try:
        told = prune(net(), criterion="activation", batches=[INPUTS])
        assert any("let one process prune" in note for note in told.notes)
        assert not prune(net()).notes
        optimizer = ZeroRedundancyOptimizer((model := net()).parameters(), torch.optim.Adam)
        with pytest.raises(JetpressError, match="spreads parameters over processes"):
            prune(model).prune_optimizer(optimizer)
    finally:
        distributed.destroy_process_group()


def test_weights_are_fitted_where_there_are_batches() -> None:
    model, batches = net().train(), [torch.randn(16, *INPUTS.shape[1:]) for _ in range(4)]
    cut, slim = prune(model, batches=batches, reconstruct=False), prune(model, batches=batches)
    assert slim.module.training
    far = [
        (made.module.eval()(batches[0]) - model.eval()(batches[0])).square().mean() for made in (cut, slim)
    ]
    assert far[1] < far[0] / 2
    assert torch.equal(prune(model).module.second.weight, cut.module.second.weight)


class Fixed(Net):
    """Runs at its batch size only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2, *x.shape[1:]))


def test_where_they_cannot_be_fitted_it_is_said_or_refused() -> None:
    many = DATA * 8  # they go through together, more than two at a time
    assert "were not fitted" in str(prune(Fixed(), batches=many))
    with pytest.raises(StageError, match="cannot be traced"):
        prune(Fixed(), batches=many, reconstruct=True)
    assert not prune(Fixed(), batches=DATA, reconstruct=True).notes
