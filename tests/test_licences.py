"""What `pip install jetpress` brings: no licence asks for anything of those who ship what it makes."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PERMISSIVE = re.compile(
    r"\b(MIT|0?BSD|FreeBSD|Apache|ISC|Zlib|PSF|Python Software Foundation|BSL-1\.0|CC0|matplotlib)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"GPL|GNU|Mozilla|MPL|EUPL|CeCILL|CDDL|Eclipse|\bEPL\b|SSPL", re.IGNORECASE)
UNUSUAL = {
    "shtab": "MPL-2.0, by file: it is imported as it is, only to print completion scripts",
    "kiwisolver": "BSD-3-Clause, in a text that names itself nowhere",
}
"""What has been read by hand."""
OF_NVIDIA = re.compile("nvidia-|cuda-")
"""What PyTorch brings: NVIDIA's own terms, which allow its use on its hardware."""


def closure() -> dict[str, Distribution]:
    """All that the core needs on this machine, by name."""
    todo, found = [Requirement(one) for one in requires("jetpress") or []], dict[str, Distribution]()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = distribution(wanted.name)
        except PackageNotFoundError:  # another that gives the same modules may be installed
            continue
        todo += [Requirement(one) for one in found[name].requires or []]
    return found


def licence(one: Distribution) -> str:
    """As its metadata tells it: the expression, else the classifiers and the first line of the free text."""
    told = one.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in told.get_all("Classifier") or [] if text.startswith("License")]
    return " ".join([*classifiers, (told.get("License") or "").partition("\n")[0]])


def test_nothing_in_the_core_is_copyleft_but_what_is_named() -> None:
    found = {name: licence(one) for name, one in closure().items()}
    assert {
        "torch",
        "numpy",
        "pydantic",
        "sympy",
    } <= found.keys()  # the closure is one, and not the list alone
    mine = {name: text for name, text in found.items() if not OF_NVIDIA.match(name) and name not in UNUSUAL}
    assert {name: text for name, text in mine.items() if COPYLEFT.search(text)} == {}
    assert {name: text for name, text in mine.items() if not PERMISSIVE.search(text)} == {}
