"""jetpress run | plan"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.cli import several
from jetpress.pipeline.cli.arguments import Commands, command, completed, recipe

if TYPE_CHECKING:
    from jetpress.pipeline.store.steps import Step


def add(commands: Commands) -> None:
    """Both take the same options."""
    text = "run the pipeline: network in, engine and report out"
    build = command(commands, "run", run, text, works_long=True)
    text = "say what `run` would do, stage by stage, without doing it"
    plan = command(commands, "plan", _plan, text, works_long=True)
    for either in (build, plan):
        given = either.add_argument(
            "recipe", metavar="RECIPE", help="a .toml recipe, e.g. recipes/digits.toml"
        )
        completed(given, "recipe")
        on_targets(either)
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


def on_targets(parser: argparse.ArgumentParser) -> None:
    """For what, where, and how other than the recipe says."""
    parser.add_argument(
        "--target",
        default="host",
        metavar="T[,T]",
        help="what to build for (default: host); several with commas",
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="[T=]USER@HOST",
        help="where to build and measure (default: here); with several targets T=USER@HOST, repeatable",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key; repeatable"
    )


def run(options: argparse.Namespace) -> int:
    """Run a recipe for every ``--target``; of several a table at the end, and the worst exit code."""
    from jetpress.pipeline.data import ranks
    from jetpress.pipeline.training import torchrun

    if ranks.rank() > 0:
        return torchrun.serve()
    chosen, given = several.pairs(options.target, options.device), recipe(options)
    with torchrun.leading():
        ended = several.run_each(given, chosen)
    if len(ended) > 1:
        from jetpress.pipeline.listing import table

        console.conclude("\n".join(["", *table([one.row for one in ended])]))
    if options.json:
        print(json.dumps(ended[0].plain if len(ended) == 1 else {"runs": [one.plain for one in ended]}))
    return several.worst([one.exit_code for one in ended])


def _plan(options: argparse.Namespace) -> int:
    if options.sensitivity:
        return _sensitivity(options)
    if options.sparsity:
        return _sparsity(options)

    chosen, given = several.pairs(options.target, options.device), recipe(options)
    from jetpress.pipeline.flow.devices import target_of
    from jetpress.pipeline.run import plan

    found = {one: target_of(one.target, one.device) for one in chosen}
    given = several.shared(given, [*found.values()])
    plans = {one.target: plan(given, target, one.device) for one, target in found.items()}
    if options.json:
        plain = {target: [asdict(step) for step in steps] for target, steps in plans.items()}
        print(json.dumps({"targets": plain} if len(plain) > 1 else {"steps": plain[chosen[0].target]}))
        return 0
    for target, steps in plans.items():
        if len(plans) > 1:
            print(f"{target}:")
        _print_steps(steps)
    return 0


def _print_steps(steps: Sequence[Step]) -> None:
    for step in steps:
        last = f"took {console.duration(step.seconds)}" if step.state == "cached" and step.seconds else ""
        if step.state == "will run" and step.seconds is not None:
            last = f"about {console.duration(step.seconds)}"
        print(f"{step.name:<14} {step.state:<10} {step.why or last}".rstrip())
    console.say(_in_all(steps))


def _only_target(options: argparse.Namespace) -> str:
    """The target, where what is asked for is of one.

    Raises:
        RecipeError: several are given.
    """
    chosen = several.pairs(options.target, options.device)
    if len(chosen) > 1:
        raise RecipeError(f"--target {options.target}: this is predicted for one target", "name one of them")
    return chosen[0].target


def _in_all(steps: Sequence[Step]) -> str:
    """How long a run would take, as far as runs like it tell."""
    ahead = [step.seconds for step in steps if step.state == "will run"]
    known = [seconds for seconds in ahead if seconds is not None]
    if not ahead:
        return "nothing is left to do"
    if not known:
        return f"{len(ahead)} steps will run; how long they take is not known: none like them has run here"
    untold = len(ahead) - len(known)
    more = f", and {untold} steps of which none like them has run here" if untold else ""
    return f"{len(ahead)} steps will run: about {console.duration(sum(known))}{more}"


def _sensitivity(options: argparse.Namespace) -> int:
    """What each layer loses, the most sensitive first."""
    from jetpress.pipeline.flow.forecast import sensitivity

    facts, files = sensitivity(recipe(options), _only_target(options))
    if options.json:
        print(json.dumps({**asdict(facts), "files": {kind: str(path) for kind, path in files.items()}}))
        return 0
    print(f"relative squared error of the outputs on {facts.images} images, with a share of one group gone")
    for name, points in sorted(facts.groups.items(), key=lambda item: -max(lost for _, lost in item[1])):
        units = points[0][0]
        said = "  ".join(f"{100 * (1 - kept / units):.0f} %: {lost:.3g}" for kept, lost in points[1:])
        print(f"{name:<48} {units:>5} channels  {said}".rstrip())
    for name, lost in sorted(facts.blocks.items(), key=lambda item: -item[1]):
        print(f"{name:<48} whole block      {lost:.4g}")
    console.say(f"plot: {files['plot']}")
    return 0


def _sparsity(options: argparse.Namespace) -> int:
    """Which layers may run faster with 2:4, and why the others do not."""
    from jetpress.pipeline.flow.forecast import sparsity

    skipped, layers = sparsity(recipe(options), _only_target(options))
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
