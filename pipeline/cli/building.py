"""jetpress run | plan"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from jetpress.deploy import console
from jetpress.pipeline.cli.arguments import Commands, command, recipe


def add(commands: Commands) -> None:
    """Both take the same options."""
    run = command(commands, "run", _run, "run the pipeline: network in, engine and report out")
    plan = command(commands, "plan", _plan, "say what `run` would do, stage by stage, without doing it")
    for either in (run, plan):
        given = either.add_argument(
            "recipe", metavar="RECIPE", help="a .toml recipe, e.g. recipes/digits.toml"
        )
        given.complete = {"bash": "_filedir toml", "zsh": "_files -g '*.toml'"}  # type: ignore[attr-defined]
        either.add_argument("--target", default="host", metavar="T", help="what to build for (default: host)")
        either.add_argument(
            "--device", metavar="USER@HOST", help="where to build and measure (default: here)"
        )
        either.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a recipe key; repeatable",
        )
    plan.add_argument(
        "--sensitivity",
        action="store_true",
        help="measure what each layer and block is worth on the dense network (trained if need be), with a plot",
    )
    plan.add_argument(
        "--sparsity",
        action="store_true",
        help="predict which layers of the dense network may gain from 2:4 on the target, by their width",
    )


def _run(options: argparse.Namespace) -> int:
    from jetpress.pipeline.data import ranks
    from jetpress.pipeline.training import torchrun

    if ranks.rank() > 0:
        return torchrun.serve()
    given = recipe(options)
    from jetpress.benchmarks.report.headline import shown
    from jetpress.pipeline.run import run

    with torchrun.leading():
        result = run(given, options.target, options.device)
    if options.json:
        print(json.dumps(result.to_dict()))
    return shown(result).exit_code


def _plan(options: argparse.Namespace) -> int:
    if options.sensitivity:
        return _sensitivity(options)
    if options.sparsity:
        return _sparsity(options)

    given = recipe(options)
    from jetpress.pipeline.run import plan

    steps = plan(given, options.target, options.device)
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
    from jetpress.pipeline.flow.forecast import sensitivity

    facts, files = sensitivity(recipe(options), options.target)
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
    from jetpress.pipeline.flow.forecast import sparsity

    skipped, layers = sparsity(recipe(options), options.target)
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
