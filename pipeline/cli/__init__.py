"""The commands, a module for each group of them: `jetpress --help`.

stdout carries results (one JSON object with --json), stderr the prose. Knobs live in the recipe: ``--set`` takes
any of its keys, and there is no other. Heavy imports come after the arguments are understood.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from jetpress.deploy import console
from jetpress.deploy.errors import INTERRUPTED, JetpressError, from_os_error, not_ended
from jetpress.deploy.suggest import misspelt_command, misspelt_option
from jetpress.pipeline.cli import (
    building,
    deploying,
    machines,
    onnx_file,
    packaging,
    pages,
    releasing,
    results,
    starting,
    sweeping,
)
from jetpress.pipeline.cli.arguments import command

EXIT_CODES = """exit codes: 0 done, 2 recipe or input, 3 something is not installed, 4 a stage broke its promise,
5 device or disk, 6 trust, 7 benchmark invalid, 8 budget not met, 9 nothing gained,
130 Ctrl-C (run again to go on)"""
SPINS = "2000"
"""Rounds for which a thread of GNU OpenMP waits for the others without giving its processor away, some microseconds.
By default it is milliseconds: where other programs run too, PyTorch trained a small network 8 to 15 times slower."""


def parser() -> argparse.ArgumentParser:
    """All commands and options; a test freezes the list."""
    top = argparse.ArgumentParser(
        prog="jetpress",
        description="From a trained PyTorch vision network to the fastest engine that meets your accuracy budget.",
        epilog=EXIT_CODES,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for group in (
        starting, building, onnx_file, sweeping, machines, results, releasing, deploying, packaging, pages,
    ):  # fmt: skip
        group.add(commands)
    completion = command(commands, "completion", _completion, "print a completion script", results=False)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    top.set_defaults(commands=dict(commands.choices))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """The program: runs a command and turns every foreseen failure into one message and an exit code."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks, on Tab
        import argcomplete

        argcomplete.autocomplete(top)
    given = sys.argv[1:] if arguments is None else arguments
    _refuse_typos(top, given)
    options = top.parse_args(given)
    if options.version:
        from importlib.metadata import version

        print(f"jetpress {version('jetpress')}")
        return 0
    if options.command is None:
        top.print_help()
        return 0
    console.speak(options.level)
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when PyTorch is imported
    try:
        with not_ended():
            code: int = options.act(options)
        sys.stdout.flush()
    except JetpressError as error:
        return _fail(options, error)
    except KeyboardInterrupt:
        console.conclude("\ninterrupted: what was finished is kept, run the same command again to go on")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(options, from_os_error(error))
    return code


def _refuse_typos(top: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """End with the nearest name where a command or one of its options is misspelt; argparse only lists them."""
    commands: dict[str, argparse.ArgumentParser] = top.get_default("commands")
    if wrong := misspelt_command(given, commands):
        top.error(wrong)
    for number, name in enumerate(given):
        if name in commands:
            command = commands[name]
            options = [option for action in command._actions for option in action.option_strings]  # noqa: SLF001
            if wrong := misspelt_option(given[number + 1 :], options):
                command.error(wrong)
            return


def _fail(options: argparse.Namespace, error: JetpressError) -> int:
    console.conclude(f"jetpress: error: {error}")
    if getattr(options, "json", False):
        print(json.dumps({"error": error.what, "hint": error.hint, "exit_code": error.exit_code}))
    return error.exit_code


def _completion(options: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["jetpress"], shell=options.shell))
    return 0
