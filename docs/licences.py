"""The licences of all that jetpress brings, read from what is installed: `python -m docs.licences`.

Each package once, with who asks for it: the core (`pip install jetpress`), or an extra or the development tools.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def closure(asked: Iterable[str]) -> dict[str, Distribution]:
    """All that these requirements need on this machine, by name; of what is not installed nothing."""
    todo, found = [(Requirement(one), {""}) for one in asked], dict[str, Distribution]()
    seen = set[tuple[str, frozenset[str]]]()
    while todo:
        wanted, extras = todo.pop()
        name = canonicalize_name(wanted.name)
        key = (name, frozenset(wanted.extras))
        if key in seen or (
            wanted.marker and not any(wanted.marker.evaluate({"extra": one}) for one in extras)
        ):
            continue
        seen.add(key)
        try:
            found[name] = distribution(wanted.name)
        except PackageNotFoundError:  # another that gives the same modules may be installed
            continue
        todo += [(Requirement(one), {"", *wanted.extras}) for one in found[name].requires or []]
    return found


def core() -> dict[str, Distribution]:
    """What `pip install jetpress` brings."""
    return closure(tomllib.loads(PROJECT.read_text())["project"]["dependencies"])


def everything() -> dict[str, Distribution]:
    """The same, with every extra and what is needed to develop."""
    told = tomllib.loads(PROJECT.read_text())
    extras = [one for group in told["project"]["optional-dependencies"].values() for one in group]
    return closure([*told["project"]["dependencies"], *extras, *told["dependency-groups"]["dev"]])


def licence(one: Distribution) -> str:
    """As its metadata tells it: the expression, else the classifiers and the first line of the free text."""
    told = one.metadata
    if expression := told.get_all("License-Expression"):
        return str(expression[0])
    classifiers = [text for text in told.get_all("Classifier") or [] if text.startswith("License")]
    return " ".join([*classifiers, "".join(told.get_all("License") or []).partition("\n")[0]]).strip()


def main() -> None:
    """A line for each package."""
    brought = core()
    for name, one in sorted(everything().items()):
        print(
            f"{'core' if name in brought else 'extra or dev':<14}{name:<32}{one.version:<16}{licence(one)[:120]}"
        )


if __name__ == "__main__":
    main()
