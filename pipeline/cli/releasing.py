"""jetpress key | release | verify"""

from __future__ import annotations

import argparse
import getpass
import json
import platform
import tempfile
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.runner.trust.signers import FILE
from jetpress.pipeline.cli.arguments import Commands, command, completed


def add(commands: Commands) -> None:
    """From a run to what a board trusts."""
    text = (
        "make (or show) an Ed25519 key that signs releases, and print its line for a board's allowed signers"
    )
    key = command(commands, "key", _key, text)
    completed(
        key.add_argument("file", metavar="FILE", help="the private key; FILE.pub lies beside it"), "file"
    )
    key.add_argument(
        "--signer", metavar="NAME", help="who signs with it (default: user@host, or its comment)"
    )
    key.add_argument(
        "--no-passphrase", action="store_true", help="for machines: whoever has the file may sign"
    )
    text = "sign the bundle of a finished run, in a folder of its own"
    release = command(commands, "release", _release, text)
    release.add_argument("run", metavar="RUN", help="a run's folder or its name in runs/")
    release.add_argument(
        "--key", required=True, metavar="FILE", help="private key, or FILE.pub of a key in the agent"
    )
    release.add_argument("--signer", metavar="NAME", help="default: the key's comment")
    release.add_argument("--days", type=int, default=365, help="how long boards take it (default: 365)")
    release.add_argument("--out", metavar="FOLDER", help="default: releases/NUMBER in the run's folder")
    text = "who vouches for a release: refuse what is unsigned, changed, revoked, expired, old or for another target"
    verify = command(commands, "verify", _verify, text)
    completed(verify.add_argument("folder", metavar="FOLDER", help="of the release"), "folder")
    verify.add_argument(
        "--signers", default=FILE, metavar="FILE", help=f"who is trusted there (default: {FILE})"
    )
    verify.add_argument("--target", default="", metavar="T", help="refuse what was released for another one")
    verify.add_argument(
        "--device", metavar="USER@HOST", help="send it there and let this machine's runner look"
    )


def _key(options: argparse.Namespace) -> int:
    from jetpress.deploy.release import keys

    path = Path(options.file)
    if path.exists():
        key = keys.read(path)
    else:
        signer = options.signer or f"{getpass.getuser()}@{platform.node()}"
        key = keys.make(path, signer, not options.no_passphrase)
        console.say(f"made {path} and {path}.pub: {key.fingerprint}")
    line = key.line(key.signer(options.signer))
    print(json.dumps({"fingerprint": key.fingerprint, "line": line}) if options.json else line)
    console.say(f"as root, put this line into {FILE} of each board that is to trust it")
    return 0


def _release(options: argparse.Namespace) -> int:
    from jetpress.benchmarks.report.record import read
    from jetpress.deploy.release import keys
    from jetpress.deploy.release.sign import sign, trusted
    from jetpress.pipeline.engine import promise
    from jetpress.pipeline.summary import find_run

    out = None if options.out is None else Path(options.out)
    key, run = keys.read(Path(options.key)), find_run(options.run)
    with tempfile.TemporaryDirectory() as beside:
        with trusted():
            promise.write(run / "bundle", read(run / "report.json"), Path(beside))
        place, claims = sign(run / "bundle", out, key, options.signer, options.days, Path(beside))
    if options.json:
        print(json.dumps({"folder": str(place), **claims._asdict()}))
    else:
        print(place)
    console.say(
        f"release {claims.sequence} of {claims.name} for {claims.target}, signed by {claims.signer}; "
        f"on the board: `jetpress deploy {place} --device USER@HOST`"
    )
    return 0


def _verify(options: argparse.Namespace) -> int:
    from jetpress.deploy.release.sign import verify

    folder = Path(options.folder)
    if options.device:
        where = _there(folder, options)
        print(json.dumps({"device": options.device, "folder": where}) if options.json else where)
        console.say(f"it is what its signer released; there: python3 {where}/runner.pyz")
        return 0
    claims = verify(folder, Path(options.signers), options.target)
    told = claims._asdict()
    print(
        json.dumps(told) if options.json else "\n".join(f"{name:<10} {value}" for name, value in told.items())
    )
    return 0


def _there(folder: Path, options: argparse.Namespace) -> str:
    """Its folder on the device, once the runner that *we* send has looked at it by the device's own file."""
    from jetpress.deploy.device import remote_runner
    from jetpress.deploy.device.device import open as open_device
    from jetpress.deploy.pack import pack

    device = open_device(options.device)
    try:
        with tempfile.TemporaryDirectory() as ours:
            pack(Path(ours) / "runner.pyz")
            runner = remote_runner.send(device, Path(ours), "runner")
        sent = remote_runner.send(device, folder, "release")
        given = ["--signers", options.signers, "--target", options.target]
        remote_runner.run(device, runner, "verify", sent, *given)
    finally:
        device.close()
    return sent
