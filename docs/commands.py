"""The page of the commands, written from the parser that reads them."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from jetpress.pipeline.cli import EXIT_CODES, parser

HEAD = """# Commands

Written from the command line's own parser by `make docs`. Results go to stdout (one JSON object with `--json`), prose
to stderr. Knobs live in the recipe: `--set section.key=value` takes any of its keys ([recipe.md](recipe.md)). A name
that is misspelt gets the nearest one.
"""
GOALS = """
Goals, for `--goal` and the fourth question; `at N points` says how much accuracy may be lost (1 where it is left out),
`int8` may stand beside any of them:

| goal | becomes | judged |
|---|---|---|
| `fastest at 1 point` | `prune.macs = 0.75`; the furthest round within the budget is kept | anywhere |
| `half the size`, `4x smaller`, `30 % less work` | `prune.params`, `prune.macs` | anywhere |
| `5 ms`, `200 fps` | `prune.latency_ms`, `prune.fps`, and the same in `[budget]` | on the device alone |
| `twice as fast` | `prune.latency` | on the device alone |
| `int8 at 1 point` | `build.precision = "int8"`, nothing pruned | anywhere |
"""
SEVERAL = """
Several targets (`--target host,xavier`) run one after the other; what does not depend on the target is done once. A
device is then named with its target: `--device xavier=user@host`. At the end stand a table and the worst exit code.
"""
BEHIND = {"init": GOALS, "run": SEVERAL}
"""Command -> what is said behind its options."""


def page() -> str:
    """``commands.md``."""
    commands: dict[str, argparse.ArgumentParser] = parser().get_default("commands")
    parts = [HEAD]
    for name, command in commands.items():
        parts.append(f"\n## {name}\n\n{_sentence(command.description or '')}\n")
        parts += ["\n", *_table(command), BEHIND.get(name, "")]
    codes = " ".join(EXIT_CODES.replace("exit codes: ", "").split())
    text = f"{_sentence(codes)} More in [troubleshooting.md](troubleshooting.md)."
    parts.append(f"\n## Exit codes\n\n{textwrap.fill(text, 118)}\n")
    return "".join(parts)


def _table(command: argparse.ArgumentParser) -> Iterator[str]:
    yield "| argument | meaning |\n|---|---|\n"
    for action in command._actions:  # noqa: SLF001  (argparse has no public list)
        if not isinstance(action, argparse._HelpAction):  # noqa: SLF001
            yield f"| {_shown(action)} | {(action.help or _choices(action)).replace('|', 'or')} |\n"


def _shown(action: argparse.Action) -> str:
    """As it is typed: `--target T`, `RECIPE`."""
    value = action.metavar or (None if action.option_strings else action.dest)
    if isinstance(value, tuple):
        value = " ".join(value)
    if not action.option_strings:
        shown = f"[{value}]" if action.nargs == "?" else str(value)
        return f"`{shown}`".replace("|", "/")
    return ", ".join(f"`{option}{f' {value}' if value else ''}`" for option in action.option_strings)


def _choices(action: argparse.Action) -> str:
    return ", ".join(f"`{one}`" for one in action.choices or ())


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
