"""jetpress deploy | rollback | status | fleet"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jetpress.deploy import console
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.runner.release.slots import ROOT
from jetpress.deploy.runner.trust.signers import FILE
from jetpress.pipeline.cli.arguments import Commands, command, completed

if TYPE_CHECKING:
    from jetpress.deploy.device.device import Device
    from jetpress.deploy.device.events import Slot
    from jetpress.deploy.release.deploying import Terms


def add(commands: Commands) -> None:
    """From a release to the boards that it serves on."""
    text = "bring a release to a device, build and try its engine there, and let it serve if it is good"
    deploy = command(commands, "deploy", _deploy, text, works_long=True)
    _release(deploy)
    _device(deploy)
    deploy.add_argument(
        "--on-trial", action="store_true", help="the application confirms it; the third boot falls back"
    )
    _terms(deploy)
    rollback = command(
        commands, "rollback", _rollback, "let the release serve again that served before, on a device"
    )
    _device(rollback)
    rollback.add_argument(
        "--name", default="", metavar="NAME", help="of the network, where there are several"
    )
    status = command(commands, "status", _status, "which releases a device has, which one serves, and why")
    _device(status)
    for one in (rollback, status):
        _root(one)
    text = "deploy a release to many devices: one, a tenth, the rest; it ends where too many failed, and goes on later"
    fleet = command(commands, "fleet", _fleet, text, works_long=True)
    _release(fleet)
    given = fleet.add_argument(
        "--devices", required=True, metavar="FILE", help='TOML: devices = ["user@host", ...]'
    )
    completed(given, "file")
    fleet.add_argument(
        "--max-failures",
        type=int,
        default=2,
        metavar="N",
        help="it ends with the N-th that failed (default: 2)",
    )
    fleet.add_argument(
        "--at-once", type=int, default=8, metavar="N",
        help="devices at a time; never more than may still fail (default: 8)",
    )  # fmt: skip
    _terms(fleet)


def _release(added: argparse.ArgumentParser) -> None:
    completed(
        added.add_argument("release", metavar="RELEASE", help="its folder, or that of a bundle"), "folder"
    )


def _device(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--device", required=True, metavar="USER@HOST", help="as ssh takes it; `local` is this machine"
    )


def _terms(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--signers", default=FILE, metavar="FILE", help=f"who is trusted there (default: {FILE})"
    )
    added.add_argument("--target", default="", metavar="T", help="refuse what was released for another one")
    _root(added)


def _root(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--root", default=ROOT, metavar="FOLDER", help=f"where the slots are there (default: {ROOT})"
    )


def _terms_of(options: argparse.Namespace) -> Terms:
    from jetpress.deploy.release.deploying import Terms

    return Terms(options.signers, options.target, options.root, getattr(options, "on_trial", False))


@contextmanager
def _opened(name: str) -> Iterator[Device]:
    from jetpress.deploy.device.device import open as open_device

    device = open_device(name)
    try:
        yield device
    finally:
        device.close()


def _deploy(options: argparse.Namespace) -> int:
    from jetpress.deploy.release import deploying

    with _opened(options.device) as device:
        return _show(deploying.deploy(device, Path(options.release), _terms_of(options)), options)


def _rollback(options: argparse.Namespace) -> int:
    from jetpress.deploy.release import deploying

    with _opened(options.device) as device:
        return _show(deploying.rollback(device, options.name, options.root), options)


def _show(slot: Slot, options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(asdict(slot)))
    console.conclude(
        f"{slot.name}: slot {slot.number} serves on {options.device}, {slot.state}{_signed(slot)}"
    )
    return 0


def _signed(slot: Slot) -> str:
    return f", release {slot.sequence} by {slot.signer}" if slot.sequence is not None else ", not signed"


def _status(options: argparse.Namespace) -> int:
    from jetpress.deploy.release import deploying

    with _opened(options.device) as device:
        slots = deploying.status(device, options.root)
    if options.json:
        print(json.dumps([asdict(slot) for slot in slots]))
        return 0
    for slot in slots:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(slot.changed, 2**40)))
        serves, why = "serves" if slot.serves else "", f": {slot.reason}" if slot.reason else ""
        print(f"{slot.name:<20} {slot.number:>4} {serves:<6} {slot.state:<8} {when}{_signed(slot)}{why}")
    if not slots:
        console.say(
            f"{options.device} has no releases; `jetpress deploy RELEASE --device {options.device}` brings one"
        )
    return 0


def _fleet(options: argparse.Namespace) -> int:
    from jetpress.deploy.release import deploying, fleet
    from jetpress.deploy.runner.release.slots import digest_of

    release, terms, names = Path(options.release), _terms_of(options), fleet.devices(Path(options.devices))
    try:
        digest = digest_of(str(release))
    except OSError as error:
        raise DeviceError(
            f"{release} is no release: {error.strerror}", "name a folder with manifest.json"
        ) from None

    def act(name: str) -> str:
        with _opened(name) as device:
            slot = deploying.deploy(device, release, terms)
        return f"slot {slot.number}"

    journal = fleet.Journal(_journal(digest, terms))
    done = fleet.roll_out(names, act, journal, options.max_failures, options.at_once)
    if options.json:
        print(json.dumps({"journal": str(journal.path), **asdict(done)}))
    else:
        print("\n".join(fleet.table(done)))
    console.conclude(done.stopped or f"{done.count('good')} of {len(names)} devices are good")
    return 0 if done.count("good") == len(names) else DeviceError.exit_code


def _journal(digest: str, terms: Terms) -> Path:
    """Of this release on these terms, whichever devices: a longer list goes on with what is done."""
    from jetpress.pipeline.store.runs import home

    told = json.dumps([digest, asdict(terms)], sort_keys=True)
    return home() / "fleets" / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.jsonl"
