"""What somebody who misspelt a name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that is nearest; None where none is near."""
    return next(iter(difflib.get_close_matches(name, list(valid), n=1)), None)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """``did you mean 'epochs'?``; empty where nothing valid is near."""
    close = closest(name, valid)
    return f"did you mean {close!r}?" if close else ""


def misspelt_command(arguments: Sequence[str], known: Iterable[str]) -> str:
    """What to say of a first argument that is no command, but nearly one; empty where there is nothing to say."""
    first = next((one for one in arguments if not one.startswith("-")), None)
    names = list(known)
    if first is None or first in names:
        return ""
    guess = did_you_mean(first, names)
    return f"there is no command {first!r}: {guess}" if guess else ""


def misspelt_option(arguments: Sequence[str], known: Iterable[str]) -> str:
    """What to say of the first ``--option`` that is none, but nearly one; empty where there is nothing to say.

    Beginnings of options count: argparse takes them.
    """
    names = list(known)
    for argument in arguments:
        if argument == "--":
            break
        name = argument.partition("=")[0]
        if name.startswith("--") and not any(one.startswith(name) for one in names):
            guess = did_you_mean(name, names)
            return f"there is no option {name}: {guess}" if guess else ""
    return ""
