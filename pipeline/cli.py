"""jetpress run | plan | check | targets | report | compare | device | gc | completion

stdout carries results (one JSON object with --json), stderr the prose. Knobs live in the recipe: ``--set`` takes
any of its keys, and there is no other. Heavy imports come after the arguments are understood.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetpress.deploy import console
from jetpress.deploy.errors import (
    INTERRUPTED,
    BenchmarkInvalid,
    BudgetNotMet,
    JetpressError,
    RecipeError,
    from_os_error,
)
from jetpress.deploy.suggest import misspelt_command

if TYPE_CHECKING:
    from jetpress.pipeline.recipe.reading import Recipe

EXIT_CODES = """exit codes: 0 done, 2 recipe or input, 3 something is not installed, 4 a stage broke its promise,
5 device or disk, 6 trust, 7 benchmark invalid, 8 budget not met, 130 Ctrl-C (run again to go on)"""


def parser() -> argparse.ArgumentParser:
    """All commands and options; a test freezes the list."""
    top = argparse.ArgumentParser(
        prog="jetpress",
        description="From a trained PyTorch vision network to the fastest engine that meets your accuracy budget.",
        epilog=EXIT_CODES,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    for name, act, text in (
        ("run", _run, "run the pipeline: network in, engine and report out"),
        ("plan", _plan, "say what `run` would do, stage by stage, without doing it"),
    ):
        command = _command(commands, name, act, text)
        recipe = command.add_argument(
            "recipe", metavar="RECIPE", help="a .toml recipe, e.g. recipes/digits.toml"
        )
        recipe.complete = {"bash": "_filedir toml", "zsh": "_files -g '*.toml'"}  # type: ignore[attr-defined]
        command.add_argument(
            "--target", default="host", metavar="T", help="what to build for (default: host)"
        )
        command.add_argument(
            "--device", metavar="USER@HOST", help="where to build and measure (default: here)"
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a recipe key; repeatable",
        )

    commands.choices["plan"].add_argument(
        "--sensitivity",
        action="store_true",
        help="measure what each layer and block is worth on the dense network (trained if need be), with a plot",
    )
    commands.choices["plan"].add_argument(
        "--sparsity",
        action="store_true",
        help="predict which layers of the dense network may gain from 2:4 on the target, by their width",
    )
    check = _command(
        commands, "check", _check, "is this machine ready; or, with MODEL: will that target's parser take it"
    )
    check.add_argument("model", nargs="?", metavar="MODEL", help="any ONNX file")
    check.add_argument("--target", default="host", metavar="T", help="held against this target's parser")
    targets = _command(commands, "targets", _targets, "list the targets, or show one")
    targets.add_argument("name", nargs="?", metavar="NAME")
    report = _command(commands, "report", _report, "print a finished run's report and say where its page is")
    report.add_argument("run", metavar="RUN", help="a run's folder or its name in runs/")
    versus = _command(
        commands, "compare", _compare, "which of two runs is faster: side by side, where both can run"
    )
    versus.add_argument("first", metavar="A", help="a run's folder or its name in runs/")
    versus.add_argument("second", metavar="B", help="the other run")
    versus.add_argument("--device", metavar="USER@HOST", help="where to measure (default: here)")
    device = _command(
        commands, "device", _device, "say what a device is and holds, or empty ~/.jetpress there"
    )
    device.add_argument("do", choices=("show", "clean"), metavar="show|clean")
    device.add_argument("name", metavar="USER@HOST", help="as ssh takes it; `local` is this machine")
    collect = _command(commands, "gc", _gc, "remove what no run in runs/ needs")
    collect.add_argument("--all", action="store_true", help="also what the runs need: everything starts anew")
    collect.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    collect.add_argument(
        "--older-than", type=float, metavar="DAYS", help="also what runs need that were last used before that"
    )
    completion = _command(commands, "completion", _completion, "print a completion script", results=False)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    top.set_defaults(commands=tuple(commands.choices))
    return top


def _command(
    commands: Any, name: str, act: Callable[[argparse.Namespace], int], text: str, results: bool = True
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(act=act)
    if results:
        command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """The program: runs a command and turns every foreseen failure into one message and an exit code."""
    top = parser()
    if wrong := misspelt_command(
        sys.argv[1:] if arguments is None else arguments, top.get_default("commands")
    ):
        top.error(wrong)
    options = top.parse_args(arguments)
    if options.version:
        from importlib.metadata import version

        print(f"jetpress {version('jetpress')}")
        return 0
    if options.command is None:
        parser().print_help()
        return 0
    try:
        code: int = options.act(options)
        sys.stdout.flush()
    except JetpressError as error:
        return _fail(options, error)
    except KeyboardInterrupt:
        console.say("\ninterrupted: what was finished is kept, run the same command again to go on")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(options, from_os_error(error))
    return code


def _fail(options: argparse.Namespace, error: JetpressError) -> int:
    console.say(f"jetpress: error: {error}")
    if getattr(options, "json", False):
        print(json.dumps({"error": error.what, "hint": error.hint, "exit_code": error.exit_code}))
    return error.exit_code


def _run(options: argparse.Namespace) -> int:
    from jetpress.pipeline.data import ranks
    from jetpress.pipeline.training import torchrun

    if ranks.rank() > 0:
        return torchrun.serve()
    recipe = _recipe(options)
    from jetpress.pipeline.run import run

    with torchrun.leading():
        result = run(recipe, options.target, options.device)
    if options.json:
        print(json.dumps(result))
    if result["verdict"]["met"] is False:
        return BudgetNotMet.exit_code
    return BenchmarkInvalid.exit_code if (result["benchmark"] or {}).get("verdict") == "invalid" else 0


def _plan(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    if options.sensitivity:
        return _sensitivity(options)
    if options.sparsity:
        return _sparsity(options)

    recipe = _recipe(options)
    from jetpress.pipeline.run import plan

    steps = plan(recipe, options.target, options.device)
    if options.json:
        print(json.dumps({"steps": [asdict(step) for step in steps]}))
        return 0
    for step in steps:
        last = f"took {console.duration(step.seconds)}" if step.state == "cached" and step.seconds else ""
        if step.state == "will run" and step.seconds is not None:
            last = f"last time {console.duration(step.seconds)}"
        print(f"{step.name:<14} {step.state:<10} {step.why or last}".rstrip())
    return 0


def _sensitivity(options: argparse.Namespace) -> int:
    """What each layer loses, the most sensitive first."""
    from jetpress.pipeline.forecast import sensitivity

    facts, files = sensitivity(_recipe(options), options.target)
    if options.json:
        print(json.dumps({**asdict(facts), "files": {kind: str(path) for kind, path in files.items()}}))
        return 0
    print(f"distance from the dense outputs in {facts.unit}, on {facts.images} images, one group at a time")
    for name, points in sorted(facts.groups.items(), key=lambda item: -max(lost for _, lost in item[1])):
        units = points[0][0]
        said = "  ".join(f"{100 * (1 - kept / units):3.0f} % gone: {lost:.4g}" for kept, lost in points[1:])
        print(f"{name:<48} {units:>5} channels  {said}".rstrip())
    for name, lost in sorted(facts.blocks.items(), key=lambda item: -item[1]):
        print(f"{name:<48} whole block      {lost:.4g}")
    console.say(f"plot: {files['plot']}")
    return 0


def _sparsity(options: argparse.Namespace) -> int:
    """Which layers may run faster with 2:4, and why the others do not."""
    from jetpress.pipeline.forecast import sparsity

    skipped, layers = sparsity(_recipe(options), options.target)
    if options.json:
        print(json.dumps({"skipped": skipped or None, "layers": [asdict(layer) for layer in layers]}))
        return 0
    for layer in layers:
        print(f"{layer.name:<48} {layer.dense or f'may gain: {layer.products} products an output'}")
    may = sum(not layer.dense for layer in layers)
    print(
        skipped or f"{may} of {len(layers)} layers may gain from 2:4; TensorRT times both kernels and decides"
    )
    return 0


def _check(options: argparse.Namespace) -> int:
    if options.model is not None:
        return _check_model(options)
    from jetpress.deploy.check import check, lines

    report = check()
    print(json.dumps(report) if options.json else "\n".join(lines(report)))
    return 0 if report["ready"] else 3


def _check_model(options: argparse.Namespace) -> int:
    from jetpress.deploy.preflight.compatibility import report_lines

    lines, found, ok = report_lines(Path(options.model), options.target)
    print(json.dumps(found) if options.json else "\n".join(lines))
    return 0 if ok else RecipeError.exit_code


def _targets(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from jetpress.deploy.targets import TARGETS, find

    if options.name is None:
        if options.json:
            print(json.dumps({name: asdict(target) for name, target in TARGETS.items()}))
            return 0
        for name, target in TARGETS.items():
            print(
                f"{name:<15} {target.title:<45} {'TensorRT ' + target.tensorrt if target.tensorrt else ''}".rstrip()
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
    print(f"{'FP8':<20} {target.why_not_fp8 or 'by build.precision, see docs/quantization.md'}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from jetpress.pipeline.summary import find_run

    folder = find_run(options.run)
    if options.json:
        print((folder / "report.json").read_text())
    else:
        print((folder / "report.md").read_text())
        console.say(f"page: {folder / 'report.html'}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from jetpress.pipeline.compare import compare, in_words

    found = compare(options.first, options.second, options.device)
    print(json.dumps(found) if options.json else in_words(found))
    return 0


def _device(options: argparse.Namespace) -> int:
    from dataclasses import asdict

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


def _gc(options: argparse.Namespace) -> int:
    from jetpress.pipeline.store.collect import collect
    from jetpress.pipeline.store.store import Store
    from jetpress.pipeline.summary import home

    found = collect(
        Store(home() / ".store"),
        everything=options.all,
        older_than=options.older_than,
        dry_run=options.dry_run,
    )
    gone, stays = (sum(folder.size for folder in part) for part in (found.gone, found.stays))
    if options.json:
        counted = {
            "removed": len(found.gone),
            "freed_bytes": gone,
            "kept": len(found.stays),
            "kept_bytes": stays,
        }
        print(json.dumps({**counted, "dry_run": options.dry_run}))
        return 0
    for folder in found.gone if options.dry_run else ():
        print(f"{folder.size / 2**20:8.1f} MiB  {folder.stage or 'unfinished':<14} {folder.path}")
    console.say(
        f"{'would remove' if options.dry_run else 'removed'} {len(found.gone)} folders, {gone / 2**20:.1f} MiB; "
        f"kept {len(found.stays)} folders, {stays / 2**20:.1f} MiB"
    )
    return 0


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser(), shell=options.shell))
    return 0


def _recipe(options: argparse.Namespace) -> Recipe:
    from jetpress.deploy.targets import find
    from jetpress.pipeline.recipe.reading import Recipe

    find(options.target)  # a misspelt target is said before anything is read
    path = Path(options.recipe)
    if path.suffix != ".toml":
        embedded = Path(__file__).parent.parent / "recipes" / f"{path.name}.toml"
        if path.name != options.recipe or not embedded.is_file():
            raise RecipeError(
                f"{path} is not a .toml file", "for example recipes/digits.toml, or just digits"
            )
        path = embedded
    return Recipe.load(path, options.set)


if __name__ == "__main__":
    sys.exit(main())
