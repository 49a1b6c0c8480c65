"""Real processes over gloo: two train as one does, and one that dies loses at most an epoch."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.ranks import Part
from jetpress.pipeline.training import torchrun
from tests.pipeline import crew

ROOT = Path(__file__).parents[3]


def member(rank: int, port: int, said: Path, arguments: tuple[str, ...]) -> None:
    """A process of the crew, as torchrun starts it: what it needs in its environment, one thread."""
    told = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    torch.set_num_threads(1)
    with said.open("w") as file:
        os.dup2(file.fileno(), 2)
    sys.exit(crew.main(*arguments))


def together(folder: Path, *action: str) -> list[tuple[int, str]]:
    """Two processes of the crew: exit code and stderr.

    They are forks of a process that was started anew and has imported all they need, which takes them longer than
    what they do; a fork of this one would inherit what other tests left in it.
    """
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    said = [folder / f"rank-{rank}.txt" for rank in (0, 1)]
    started = [
        server.Process(target=member, args=(rank, port, file, (str(folder), *action)))
        for rank, file in enumerate(said)
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(180)
    finally:
        for process in started:
            process.kill()
    return [(process.exitcode, file.read_text()) for process, file in zip(started, said, strict=True)]


def made(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "made.json").read_text()))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes made."""
    folder = tmp_path_factory.mktemp("two")
    codes = together(folder)
    assert [code for code, _ in codes] == [0, 0], codes
    return made(folder)


def weights(of: dict[str, Any], name: str = "weights") -> dict[str, torch.Tensor]:
    return load_file(Path(of["path"]) / f"{name}.safetensors")


def test_two_processes_train_as_one_does(two: dict[str, Any], tmp_path: Path) -> None:
    """Running average, accumulation, clipping, distillation, the pull of sparse training and masks included."""
    one = crew.work(tmp_path)
    # Rounding grows from one training to the next: 1e-8, 8e-4 and 2e-3 were seen.
    for stage, apart in {"dense": 1e-3, "ready": 1e-3, "tuned": 5e-3}.items():
        curves = [of[stage]["training"]["curve"] for of in (one, two)]
        for ours, theirs in zip(*curves, strict=True):
            assert theirs["loss"] == pytest.approx(ours["loss"], rel=apart)
            assert theirs["learning_rate"] == ours["learning_rate"]
            assert theirs["validation"] == pytest.approx(ours["validation"], abs=1.0)
        assert len(curves[0]) == len(curves[1]) > 1
    # The first epoch has had the fewest steps for rounding to grow.
    first = [of["dense"]["training"]["curve"][0]["loss"] for of in (one, two)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_two_processes_train_with_rounding_as_one_does(tmp_path: Path) -> None:
    codes = together(tmp_path / "two", "int8")
    assert [code for code, _ in codes] == [0, 0], codes
    two, one = made(tmp_path / "two"), crew.work_in_int8(tmp_path)
    curves = [of["qat"]["training"]["curve"] for of in (one, two)]
    assert len(curves[0]) == len(curves[1]) == 2
    # A number that tips over the edge of its step moves the loss by more than rounding in FP32 does.
    for ours, theirs in zip(*curves, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=0.02)
        assert theirs["validation"] == pytest.approx(ours["validation"], abs=2.0)
    for of in (one, two):
        assert (of["qat"]["rounding"]["weights"], of["qat"]["rounding"]["activations"]) == (3, 3)
    zeros = [load_file(Path(of["path"]) / "weights.safetensors")["conv2.weight"] == 0 for of in (one, two)]
    assert torch.equal(*zeros)
    assert zeros[0].sum() == zeros[0].numel() // 2


def test_masks_are_the_same_and_held(two: dict[str, Any], tmp_path: Path) -> None:
    mask, weight = weights(two, "masks")["conv2.weight"], weights(two)["conv2.weight"]
    assert mask.sum() == mask.numel() // 2
    assert not weight[~mask].any()
    assert weight[mask].all()


def test_a_killed_rank_ends_the_run_with_a_message_and_the_run_goes_on(
    two: dict[str, Any], tmp_path: Path
) -> None:
    (leader, said), (killed, _) = together(tmp_path, "kill", "1")
    assert (leader, killed) == (5, -9)
    assert "jetpress: error: a rank of 2 was lost" in said
    assert "run the same command again: at most one epoch is lost" in said
    assert "Traceback" not in said
    (leader, said), (other, _) = together(tmp_path)
    assert (leader, other) == (0, 0)
    assert "fine-tuning: going on after epoch 2 of 3" in said
    assert made(tmp_path)["tuned"] == two["tuned"]
    again = weights(made(tmp_path))
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights(two).items())


def test_a_loss_that_is_no_number_on_one_rank_is_so_for_all(tmp_path: Path) -> None:
    """Both begin once more at a tenth of the rate; one that went on would wait for ever."""
    codes = together(tmp_path, "diverge")
    assert [code for code, _ in codes] == [0, 0], codes
    assert "the training diverged: once more at a learning rate of 0.001" in codes[0][1]
    rates = [epoch["learning_rate"] for epoch in made(tmp_path)["tuned"]["training"]["curve"]]
    assert len(rates) == 3
    assert max(rates) <= 0.001


def test_other_masks_on_another_rank_are_an_error(tmp_path: Path) -> None:
    (leader, said), (other, cried) = together(tmp_path, "differ")
    assert leader == other == 4
    assert "before training: rank 1 holds other masks than rank 0" in said
    assert "jetpress: rank 1: before training" in cried


@pytest.mark.slow
def test_under_the_real_torchrun(two: dict[str, Any], tmp_path: Path) -> None:
    """The whole pipeline; a rank is killed, torchrun ends the rest, and the next run goes on."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    start += [
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0",
        "-m",
        "tests.pipeline.crew",
        str(tmp_path),
    ]

    def call(*action: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*start, *action], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )

    died = call("kill", "1")
    assert died.returncode != 0
    assert "was lost" in died.stderr or "was told to end" in died.stderr
    assert "at most one epoch is lost" in died.stderr
    resumed = call()
    assert resumed.returncode == 0, resumed.stderr
    assert "fine-tuning: going on after epoch 2 of 3" in resumed.stderr
    assert made(tmp_path)["tuned"] == two["tuned"]


def test_shares_cover_everything_once() -> None:
    for count in (1, 7, 64):
        for world in (1, 2, 3, 5):
            shares = [list(range(count))[Part(rank, world).of(count)] for rank in range(world)]
            assert list(itertools.chain(*shares)) == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # set by some images, without a rank
    assert ranks.world() == 1
    assert torchrun.rank() == 0
    assert ranks.total(torch.tensor(3.0)) == 3
    ranks.wait()
    with torchrun.leading():
        pass


def test_synchronised_batchnorm_keeps_the_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion itself: statistics over several GPUs need them."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    norm, mean = module[1], module[1].running_mean
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with ranks.one_batchnorm(module, wanted=True):
        assert isinstance(module[1], nn.SyncBatchNorm)
        module[1].running_mean += 1
    assert module[1] is norm
    assert torch.equal(mean, torch.ones(4))


def test_a_process_begins_the_others_itself(tmp_path: Path) -> None:
    program = (
        "from jetpress.pipeline.training.torchrun import together\n"
        "from jetpress.pipeline.data import ranks\n"
        "with together(2):\n    print(ranks.rank(), ranks.world())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "0 2\n"), done.stderr
