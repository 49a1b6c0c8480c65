"""The processes of a training on several GPUs or machines, and what they do together.

Who was started together is in the environment, as ``torchrun`` and others put it there. They work together only
inside :func:`joined`: there a step's samples are shared out and gradients are averaged, so that a recipe means the
same for any number of processes. Imports torch only when there are several.
"""

from __future__ import annotations

import functools
import hashlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jetpress.deploy.console import say
from jetpress.deploy.errors import DeviceError, StageError

if TYPE_CHECKING:
    from torch import Tensor, nn

AGAIN = "its own message is above; run the same command again: at most one epoch is lost"


@dataclass(frozen=True)
class Part:
    """Which share of the work is this process's."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> slice:
        """Its share of ``count`` things: the shares differ by one at most."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)


ALONE = Part()
_now = ALONE


def part() -> Part:
    """This process's share; everything, outside of joint stages."""
    return _now


def rank() -> int:
    """This process's number among those that were started together."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def world() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the ranks work together.

    Raises:
        DeviceError: one of them was lost.
    """
    global _now
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    def ended(*_: object) -> None:
        raise DeviceError(f"rank {rank()} of {world()} was told to end: another one failed", AGAIN)

    before = signal.signal(signal.SIGTERM, ended) if rank() == 0 else None
    try:
        if not distributed.is_initialized():
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            group = PrefixStore("group", store())
            distributed.init_process_group(backend, store=group, rank=rank(), world_size=world())
        _now = Part(rank(), world())
        yield
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise DeviceError(f"a rank of {world()} was lost: {str(error).splitlines()[0]}", AGAIN) from error
    finally:
        _now = ALONE
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _lost(error: RuntimeError) -> bool:
    """Whether the other ranks cannot be reached, rather than something wrong with this one."""
    from torch import distributed

    signs = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "Timed out")
    return isinstance(error, distributed.DistError) or any(sign in str(error) for sign in signs)


@functools.cache
def store() -> Any:
    """What all processes can read and write, small texts by key."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        found, _, _ = next(rendezvous("env://"))
    except (RuntimeError, ValueError) as error:
        raise DeviceError(
            f"the {world()} processes do not find each other: {error}", "start them with torchrun"
        ) from error
    return PrefixStore("jetpress", found)


def total(tensor: Tensor) -> Tensor:
    """Sum over the ranks, in place."""
    if _now.world > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def wait() -> None:
    """Until all ranks are here."""
    if _now.world > 1:
        from torch import distributed

        distributed.barrier()


def agree(tensors: Iterable[Tensor]) -> None:
    """Rank 0's values on every rank, in place."""
    if _now.world > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def same(masks: Mapping[str, Tensor], module: nn.Module, when: str) -> str:
    """Compare the masks of all ranks, and what they hold at zero.

    Returns:
        their digest

    Raises:
        StageError: they differ, or a masked weight is not zero.
    """
    parameters, digest = dict(module.named_parameters()), hashlib.sha256()
    for name, mask in sorted(masks.items()):
        held = not parameters[name].detach().cpu()[~mask].any()
        digest.update(f"{name} {held}".encode() + mask.contiguous().numpy().tobytes())
    if _now.world > 1:
        import torch
        from torch import distributed

        place = next((p.device for p in module.parameters()), torch.device("cpu"))
        mine = torch.tensor(list(digest.digest()), device=place)
        found = [torch.empty_like(mine) for _ in range(_now.world)]
        distributed.all_gather(found, mine)
        other = [number for number, one in enumerate(found) if not torch.equal(one, found[0])]
        if other:
            raise StageError(
                f"{when}: rank {other[0]} holds other masks than rank 0",
                "all ranks must run the same jetpress and torch on the same folder of runs",
            )
    return digest.hexdigest()


def averaging(module: nn.Module) -> nn.Module:
    """``module`` with its gradients averaged over the ranks; itself where there is one only."""
    if _now.world == 1:
        return module
    import torch
    from torch.nn.parallel import DistributedDataParallel

    cuda = torch.cuda.is_available()
    return DistributedDataParallel(module, device_ids=[torch.cuda.current_device()] if cuda else None)


@contextmanager
def one_batchnorm(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Inside, statistics of BatchNorm are those of all ranks' samples; its tensors stay the same ones."""
    from torch import cuda, nn

    if not wanted or not cuda.is_available():  # torch has no such BatchNorm for CPUs
        if wanted and _now.world > 1:
            say("    train.sync_batchnorm needs GPUs: here every process has statistics of its own share")
        yield
        return
    norms = {
        name: part
        for name, part in module.named_modules()
        if name and isinstance(part, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001  as torch itself asks
    }
    if not norms:
        say(
            "    train.sync_batchnorm: no modules to synchronise; a network that goes on as its graph has none"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(module)
    try:
        yield
    finally:
        for name, part in norms.items():
            module.set_submodule(name, part)
