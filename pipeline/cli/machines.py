"""jetpress check | targets | device"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.cli.arguments import Commands, command


def add(commands: Commands) -> None:
    """This machine, and those that are built for."""
    text = "is this machine ready; or, with MODEL: will that target's parser take it"
    check = command(commands, "check", _check, text)
    check.add_argument("model", nargs="?", metavar="MODEL", help="any ONNX file")
    check.add_argument("--target", default="host", metavar="T", help="held against this target's parser")
    check.add_argument(
        "--no-trial",
        action="store_true",
        help="do not parse or build it with a runtime that is installed here",
    )
    targets = command(commands, "targets", _targets, "list the targets, or show one")
    targets.add_argument("name", nargs="?", metavar="NAME")
    device = command(
        commands, "device", _device, "say what a device is and holds, or empty ~/.jetpress there"
    )
    device.add_argument("do", choices=("show", "clean"), metavar="show|clean")
    device.add_argument("name", metavar="USER@HOST", help="as ssh takes it; `local` is this machine")


def _check(options: argparse.Namespace) -> int:
    if options.model is not None:
        return _check_model(options)
    from jetpress.deploy.check import check, lines
    from jetpress.deploy.targets import find

    find(options.target)
    report = check()
    print(json.dumps(report) if options.json else "\n".join(lines(report)))
    return 0 if report["ready"] else 3


def _check_model(options: argparse.Namespace) -> int:
    from jetpress.deploy.preflight.compatibility import report_lines

    lines, found, ok = report_lines(Path(options.model), options.target, trial=not options.no_trial)
    if not ok:
        from jetpress.pipeline.mending import mends

        mended = mends(Path(options.model), options.target)
        lines, found = [*lines, *mended], {**found, "engine": mended}
    print(json.dumps(found) if options.json else "\n".join(lines))
    return 0 if ok else RecipeError.exit_code


def _targets(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from jetpress.deploy.targets import BOARD, TARGETS, find

    if options.name is None:
        if options.json:
            print(json.dumps({name: asdict(target) for name, target in TARGETS.items()}))
            return 0
        for name, target in TARGETS.items():
            print(
                f"{name:<16} {target.title:<52} {'TensorRT ' + target.tensorrt if target.tensorrt else ''}".rstrip()
            )
        print(
            f"{BOARD:<16} what the device is that is given with --device, by name or by what it says of itself"
        )
        return 0
    target = find(options.name)
    if options.json:
        print(json.dumps(asdict(target)))
        return 0
    for key, value in asdict(target).items():
        print(f"{key:<20} {value}")
    print(
        f"{'2:4 sparsity':<20} {target.why_not_sparse or 'can pay (wide layers, FP16 or INT8): it is measured'}"
    )
    print(f"{'FP8':<20} {target.why_not_fp8 or 'by build.precision, see `jetpress docs quantization`'}")
    return 0


def _device(options: argparse.Namespace) -> int:
    from jetpress.deploy.device.device import open as open_device
    from jetpress.deploy.device.inventory import lines, show

    device = open_device(options.name)
    try:
        if options.do == "show":
            shown = show(device)
            print(json.dumps(asdict(shown)) if options.json else "\n".join(lines(shown)))
            return 0
        folder, held = device.folder, device.clean()
    finally:
        device.close()
    if options.json:
        print(json.dumps({"folder": folder, "files": held.files, "bytes": held.size}))
    else:
        console.say(
            f"{device.name}: {folder} is empty; it held {held.files} files, {held.size / 2**20:.1f} MiB"
        )
    return 0
