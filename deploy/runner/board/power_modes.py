"""The power modes of a board: which there are, another one for a while, and then that of before, whatever happens.

NVIDIA's `nvpmodel` sets them, as root or by `sudo -n`; /etc/nvpmodel.conf names them (ids differ by module and JetPack,
so none is written down here). A mode that asks for a reboot is not taken, unless that was allowed: the answer to its
question is then yes, the board restarts, and the same command goes on afterwards.
"""

import fcntl
import json
import os
import re
import subprocess
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Optional

from ..system.events import tell
from ..system.failures import BundleError, DeviceError, ToolMissing
from ..system.files import make_folder, write_json
from . import clocks, restored
from .identity import Board

FOLDER = os.path.join("~", ".jetpress")
LEASE, LOCK = "power-mode.json", "power-mode.lock"
CONFIGURATION = "etc/nvpmodel.conf"
MODEL = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", re.MULTILINE)
BOOT = "proc/sys/kernel/random/boot_id"
COMMAND_S = 60
LONGEST_S = 6 * 3600  # all modes of a board, measured
ALL = "all"


class Mode(NamedTuple):
    """One power mode."""

    id: int
    name: str


class Restarting(DeviceError):
    """The board goes down for a mode."""


class Refused(Exception):
    """The board stays in the mode that it is in; why."""


def modes(board: Board) -> List[Mode]:
    """Those that the board's own configuration names. Raises ToolMissing where there are none."""
    listed = [Mode(int(number), name) for number, name in MODEL.findall(board.read(CONFIGURATION) or "")]
    if not listed or board.power_mode() is None:
        raise ToolMissing(
            "this machine has no power modes: no %s" % ("nvpmodel" if listed else "/" + CONFIGURATION),
            "leave --power-modes out: it is for a Jetson",
        )
    return listed


def chosen(board: Board, asked: str) -> List[Mode]:
    """All of them, or those named by id or name, with commas."""
    known = modes(board)
    if asked == ALL:
        return known
    wanted = []
    for word in asked.split(","):
        mode = next((one for one in known if word in (str(one.id), one.name)), None)
        if mode is None:
            names = ", ".join("%d (%s)" % one for one in known)
            raise BundleError("this board has no power mode %s" % word, "it has %s" % names)
        wanted.append(mode)
    return wanted


@contextmanager
def kept(board: Board, may_reboot: bool = False) -> Iterator[Mode]:
    """Bring the mode of before back at the end of the block, and where the runner is killed inside it."""
    folder = make_folder(os.path.expanduser(FOLDER))
    with open(os.path.join(folder, LOCK), "a") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DeviceError(
                "another benchmark changes the power modes of this board", "wait until it has ended"
            )
        path = os.path.join(folder, LEASE)
        before = _lease(path)
        if before is None:
            name = board.power_mode()
            before = next((one for one in modes(board) if one.name == name), None)
            if before is None:
                raise DeviceError(
                    "the power mode %s is not in /%s" % (name, CONFIGURATION), "sudo nvpmodel -q"
                )
        lease = dict(before._asdict(), root=board.root, may_reboot=may_reboot)
        write_json(path, lease)
        with restored.restored(__name__, __file__, path, gate.fileno(), restore):
            try:
                yield before
            except Restarting:
                write_json(
                    path, dict(lease, boot=board.read(BOOT))
                )  # until it is up again nothing is restored
                raise


def _lease(path: str) -> Optional[Mode]:
    """What an earlier run left to be restored: it was killed, or the board restarted."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as source:
        told = json.load(source)
    return Mode(told["id"], told["name"])


def restore(path: str) -> None:
    """Bring back the mode of the lease, then remove the lease. Twice does no harm."""
    before = _lease(path)
    if before is None:
        return
    with open(path, encoding="utf-8") as source:
        lease = json.load(source)
    board = Board(lease["root"])
    if lease.get("boot") and lease["boot"] == board.read(BOOT):
        return
    if board.power_mode() != before.name:
        clocks.free(COMMAND_S)  # those of the mode that is left come back first
        try:
            enter(board, before, lease["may_reboot"])
        except Restarting:
            tell("the board restarts to be in power mode %s again" % before.name)
        except (Refused, ToolMissing) as error:
            tell("warning: the power mode was %s and cannot be brought back: %s" % (before.name, error))
            return
    os.unlink(path)


def watch(path: str) -> None:
    """The watchdog's program; see `restored`."""
    restored.watch(path, restore, LONGEST_S)


def enter(board: Board, mode: Mode, may_reboot: bool = False) -> None:
    """Into a mode. Raises Refused where it wants a reboot that is not allowed, or the board does not take it."""
    if board.power_mode() == mode.name:
        return
    tool = board.nvpmodel() or "nvpmodel"
    words = ([] if os.geteuid() == 0 else ["sudo", "-n"]) + [tool, "-m", str(mode.id)]
    try:
        done = subprocess.run(
            words,
            input=b"YES\n" if may_reboot else b"no\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolMissing("%s cannot be run: %s" % (" ".join(words), error), "run it as root on the board")
    said = done.stdout.decode("utf-8", "replace").strip()
    asks = "reboot" in said.lower()
    if asks and may_reboot:  # the answer was yes, whatever `nvpmodel -q` says until the board goes down
        raise Restarting(
            "the board restarts for power mode %s" % mode.name,
            "give the same command again when it is up: it goes on, and ends in the mode of before",
        )
    if asks and board.power_mode() != mode.name:
        raise Refused("it needs a reboot: --allow-reboot")
    if done.returncode and "password" in said.lower():
        raise ToolMissing("%s failed: %s" % (" ".join(words), said[-300:]), "run it as root on the board")
    if board.power_mode() != mode.name:
        raise Refused("nvpmodel did not take it: %s" % (said[-300:] or "no reason given"))
