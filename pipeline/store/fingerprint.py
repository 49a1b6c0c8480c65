"""What a result depends on besides its inputs: the code that its stage uses, and the libraries under that.

A stage is followed name by name: from its function to the names that this loads, through imports (late and
relative ones, too) to other modules of ours, and on. What is never reached does not count, nor do comments,
layout and docstrings. What stands at a module's top and defines nothing counts with any name of the module,
and so do the files that the module reads beside itself: it names them in ``READS``, globs in its own folder,
and their bytes count. Where names cannot be followed (``globals()``, a module handed on), the whole module counts.

Decorators are taken to wrap a function, not to register it: then it would be reached without its name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jetpress.pipeline.store import symbols
from jetpress.pipeline.store.artifact import canonical, sha256
from jetpress.pipeline.store.symbols import Module, Target, Uses

ROOT = Path(__file__).parents[3]
"""The folder that our package lies in."""
OURS = ("jetpress",)
"""The packages that are followed; all others are libraries, and count by their version."""
WORDS = ("jetpress.deploy.console", "jetpress.deploy.errors")
"""They say what happens and decide nothing of what is made: a better message must not train anew."""

AT_IMPORT, EVERYTHING, AS_PROGRAM = "", "*", "__main__"
"""In place of a name: what an import of the module does, all that it holds, what it does as a program."""
NAMED = re.compile(rf"(?P<module>(?:{'|'.join(OURS)})(?:\.\w+)+)(?::(?P<name>\w+))?")
"""A string that names a module of ours, or a name in it: it is imported later, or run by another Python."""


@dataclass
class Node:
    """One name of one module: its own text, and what it leads to."""

    text: list[str] = field(default_factory=list)
    leads_to: set[tuple[str, str]] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)


@cache
def fingerprint(module: str, name: str = EVERYTHING, root: Path = ROOT) -> tuple[str, dict[str, str]]:
    """What the result of a stage depends on besides its inputs and settings.

    Args:
        module: that defines the stage; where it is not below ``root`` there is no code to follow.
        name: of the stage; one that is not at the module's top stands for the whole module.
        root: folder of the source tree.

    Returns:
        a digest of all code and files that the stage uses, and the versions of the libraries that these import
    """
    texts: dict[tuple[str, str], list[str]] = {}
    libraries: set[str] = set()
    todo = [(module, name)]
    while todo:
        one = todo.pop()
        if one not in texts:
            node = _node(root, *one)
            texts[one] = node.text
            libraries |= node.libraries
            todo += node.leads_to
    code = canonical(sorted([*one, *text] for one, text in texts.items() if text))
    return hashlib.sha256(code.encode()).hexdigest(), versions(libraries)


@cache
def _module(root: Path, name: str) -> Module | None:
    return symbols.read(root, name)


@cache
def _node(root: Path, module: str, name: str) -> Node:
    found, node = _module(root, module), Node()
    if found is None:
        return node
    if name == AT_IMPORT:
        _add_import(node, root, found)
        return node
    node.leads_to.add((module, AT_IMPORT))
    if name in found.defined:
        for statement in found.defined[name]:
            _add(node, root, found, statement)
    elif name in found.imported:
        node.text.append(".".join(found.imported[name]))
    elif name == AS_PROGRAM:
        for statement in found.as_program:
            _add(node, root, found, statement)
    else:
        node.leads_to |= {(module, one) for one in (*found.defined, AS_PROGRAM)}
        for target in found.imported.values():
            if len(target) > 1 and _module(root, ".".join(target)) is None:  # handed on, not only used
                _follow(node, root, target)
    return node


def _add_import(node: Node, root: Path, module: Module) -> None:
    """What happens whenever the module is imported, and the files that it reads.

    A package's own import happens for each of its modules: what its functions import late is not part of that.
    """
    package = module.name.rpartition(".")[0]
    if package:
        node.leads_to.add((package, AT_IMPORT))
    plain = {
        target[0]
        for name, target in module.imported.items()
        if len(target) == 1 and name not in module.only_types
    }
    node.leads_to |= {(one, AT_IMPORT) for one in plain if one.partition(".")[0] in OURS}
    node.text += [f"{file.name} {sha256(file)}" for file in files(module)]
    todo, seen = list(module.at_import), []
    while todo:
        statement = todo.pop()
        if not module.is_package:
            _add(node, root, module, statement)
        elif statement not in seen:
            seen.append(statement)
            node.text.append(statement.text)
            for chain in statement.chains:
                if chain[0] in module.defined:
                    todo += module.defined[chain[0]]
                elif chain[0] not in module.only_types:
                    _follow_own(node, root, module, chain)


def _add(node: Node, root: Path, module: Module, used: Uses) -> None:
    """The text of a statement, and all that it uses."""
    node.text.append(used.text)
    for chain in used.chains:
        _follow_own(node, root, module, chain)
    for target in used.late:
        _follow(node, root, target)
    for one in used.strings:
        if (said := NAMED.fullmatch(one)) and _module(root, said["module"]) is not None:
            _follow(node, root, (said["module"], *([said["name"]] if said["name"] else [])))
    if used.unfollowed:
        node.leads_to.add((module.name, EVERYTHING))


def _follow_own(node: Node, root: Path, module: Module, chain: Target) -> None:
    """A name of the module itself: defined in it, or imported into it."""
    if chain[0] in module.defined:
        node.leads_to.add((module.name, chain[0]))
    elif chain[0] in module.imported:
        node.leads_to.add((module.name, chain[0]))
        _follow(node, root, (*module.imported[chain[0]], *chain[1:]))


def _follow(node: Node, root: Path, target: Target) -> None:
    """From a module and names in it to where they are defined; all of the module where that is not seen."""
    name, names = target[0], target[1:]
    while (top := name.partition(".")[0]) in OURS:
        module = _module(root, name)
        if name in WORDS or module is None:
            return
        node.leads_to.add((name, AT_IMPORT))
        first = names[0] if names else EVERYTHING
        further = module.imported.get(first, (name, first))
        if first not in module.defined and further != (name, first):
            node.leads_to.add((name, first))
            name, names = further[0], (*further[1:], *names[1:])
        elif first not in module.defined and _module(root, f"{name}.{first}") is not None:
            name, names = f"{name}.{first}", names[1:]
        else:
            if first not in module.bound_there:
                node.leads_to.add((name, first if first in module.defined else EVERYTHING))
            return
    node.libraries.add(top)


def files(module: Module) -> list[Path]:
    """The files that a module says it reads."""
    return sorted(file for pattern in module.reads for file in module.folder.glob(pattern) if file.is_file())


@cache
def _installed() -> list[tuple[importlib.metadata.Distribution, str]]:
    """All distributions, each with the list of its files, or of its modules where it has no such list."""
    return [
        (one, "\n" + (one.read_text("RECORD") or one.read_text("top_level.txt") or ""))
        for one in importlib.metadata.distributions()
    ]


@cache
def _version(library: str) -> dict[str, str]:
    """``{distribution: version}`` of one top-level module.

    ``importlib.metadata.packages_distributions`` says the same, and parses each of 30,000 lines for it.
    """
    marks = [f"\n{library}{end}" for end in ("/", ".", "\n")]
    found = [one for one, listed in _installed() if any(mark in listed for mark in marks)]
    return {one.metadata["Name"]: one.version for one in found}


def versions(libraries: set[str]) -> dict[str, str]:
    """``{distribution: version}`` of imported top-level modules, and of Python itself."""
    found = {"python": platform.python_version()}
    for library in libraries - set(sys.stdlib_module_names):
        found |= _version(library)
    return dict(sorted(found.items()))
