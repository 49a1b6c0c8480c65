"""What a module binds at its top, and what each of its statements uses. Nothing is imported: all is read."""

from __future__ import annotations

import ast
import hashlib
import re
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from jetpress.pipeline.store.remembered import remembered

LISTED = "READS"
"""The name under which a module lists the files that it reads."""
UNFOLLOWED = {"globals", "eval", "exec", "__import__"}
"""Who calls these reaches names that are not written down."""
DOTTED = re.compile(r"\w+(?:\.\w+)+(?::\w+)?")
"""A string that may name a module, or a name in it."""

Target = tuple[str, ...]
"""A module, and names in it: ``("jetpress.pipeline.network.models", "load")``; the module alone is all of it."""


@dataclass(frozen=True)
class Uses:
    """What a statement is, and what it loads from outside itself."""

    text: str
    """Digest of its syntax: no comments, no layout, no docstrings."""
    chains: tuple[Target, ...]
    """Names of its module, each with the attributes asked of it: ``("models", "load")``."""
    late: tuple[Target, ...]
    """What its own imports bring in."""
    strings: tuple[str, ...]
    """Those that may name a module."""
    unfollowed: bool


@dataclass
class Module:
    """The top of a module: which name is bound by which statements, and what those use."""

    name: str
    folder: Path
    """Where it lies, and the files that it reads beside itself."""
    is_package: bool
    defined: dict[str, list[Uses]] = field(default_factory=dict)
    imported: dict[str, Target] = field(default_factory=dict)
    only_types: set[str] = field(default_factory=set)
    """What is imported for the type checker alone."""
    at_import: list[Uses] = field(default_factory=list)
    """What is done whenever the module is imported, whoever imports it for whatever."""
    bound_there: set[str] = field(default_factory=set)
    as_program: list[Uses] = field(default_factory=list)
    """``if __name__ == "__main__"``"""
    reads: tuple[str, ...] = ()


def read(root: Path, name: str) -> Module | None:
    """The module called ``name`` below ``root``; None: there is none. A folder without a file is an empty one."""
    path = root.joinpath(*name.split("."))
    is_package = path.is_dir()
    file = path / "__init__.py" if is_package else path.with_suffix(".py")
    if not file.is_file():
        return Module(name, path, True) if is_package else None
    module = Module(name, file.parent, is_package)
    return _from_table(module, remembered(file, name, lambda text: _table(_bound(module, text))))


def _bound(module: Module, text: str) -> Module:
    """Filled with all that its source says."""
    filled, lines = Module(module.name, module.folder, module.is_package), text.split("\n")
    for statement in ast.parse(text).body:
        _bind(filled, statement, lines)
    return filled


def _table(module: Module) -> dict[str, Any]:
    """What was read, as plain values."""
    return {
        "defined": {name: [astuple(one) for one in ones] for name, ones in module.defined.items()},
        "imported": module.imported,
        "only_types": sorted(module.only_types),
        "at_import": [astuple(one) for one in module.at_import],
        "bound_there": sorted(module.bound_there),
        "as_program": [astuple(one) for one in module.as_program],
        "reads": module.reads,
    }


def _from_table(module: Module, told: dict[str, Any]) -> Module:
    def read_uses(ones: list[Any]) -> list[Uses]:
        return [
            Uses(text, tuple(map(tuple, chains)), tuple(map(tuple, late)), tuple(strings), unfollowed)
            for text, chains, late, strings, unfollowed in ones
        ]

    return replace(
        module,
        defined={name: read_uses(ones) for name, ones in told["defined"].items()},
        imported={name: tuple(target) for name, target in told["imported"].items()},
        only_types=set(told["only_types"]),
        at_import=read_uses(told["at_import"]),
        bound_there=set(told["bound_there"]),
        as_program=read_uses(told["as_program"]),
        reads=tuple(told["reads"]),
    )


def _bind(module: Module, statement: ast.stmt, lines: list[str]) -> None:
    def used() -> Uses:
        return uses(module, statement, lines)

    match statement:
        case ast.Expr(ast.Constant(str())) | ast.ImportFrom(module="__future__"):
            return
        case ast.Import() | ast.ImportFrom() if not any(alias.name == "*" for alias in statement.names):
            module.imported |= dict(_bindings(module, statement))
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            module.defined.setdefault(statement.name, []).append(used())
        case ast.If(ast.Name("TYPE_CHECKING")):
            for late in statement.orelse:
                _bind(module, late, lines)
            bound = dict(_imports(module, [node for one in statement.body for node in ast.walk(one)]))
            module.only_types |= bound.keys() - module.imported.keys()
            module.imported = bound | module.imported
        case ast.If(ast.Compare(ast.Name("__name__"))):
            module.as_program.append(used())
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() if assigned := _assigned(statement):
            for name in assigned:
                module.defined.setdefault(name, []).append(used())
                if name == LISTED and isinstance(statement, ast.Assign):
                    module.reads = tuple(ast.literal_eval(statement.value))
        case _:
            module.at_import.append(used())
            nodes = list(ast.walk(statement))
            module.imported |= dict(_imports(module, nodes))
            names = [node for node in nodes if isinstance(node, ast.Name)]
            module.bound_there |= {one.id for one in names if isinstance(one.ctx, ast.Store)}


def _assigned(statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> list[str]:
    """The names that it binds; none where it changes something else, as ``torch.x = 1`` does."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    parts = [part for target in targets for part in getattr(target, "elts", [target])]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def _imports(module: Module, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, Target]]:
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _bindings(module, node)


def _bindings(module: Module, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Target]]:
    """What each name is that an import binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, (alias.name if alias.asname else top,)
        return
    parts = module.name.split(".")
    above = parts[: len(parts) - node.level + module.is_package] if node.level else []
    source = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        yield alias.asname or alias.name, (source, alias.name) if alias.name != "*" else (source,)


def uses(module: Module, statement: ast.stmt, lines: list[str]) -> Uses:
    """What ``statement``, at the top of ``module`` whose source has these ``lines``, uses."""
    nodes = list(ast.walk(statement))
    _drop_docstrings(nodes)
    late = dict(_imports(module, nodes))
    known = _loaded_from_outside(module, statement, lines) | set(late)
    star = {("*",)} & {(one,) for one in late}
    chains, strings, calls = set(), set(), set()
    todo: list[ast.AST] = [statement]
    while todo:
        node, attributes = todo.pop(), []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            calls.add(node.func.id)
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in known:
            chains.add((node.id, *reversed(attributes)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings |= {node.value} if DOTTED.fullmatch(node.value) else set()
        todo += ast.iter_child_nodes(node)
    return Uses(
        hashlib.sha256(ast.dump(statement).encode()).hexdigest(),
        tuple(sorted(chain for chain in chains if chain[0] not in late)),
        tuple(sorted((*late[chain[0]], *chain[1:]) for chain in (*chains, *star) if chain[0] in late)),
        tuple(sorted(strings)),
        bool(calls & UNFOLLOWED or star),
    )


def _loaded_from_outside(module: Module, statement: ast.stmt, lines: list[str]) -> set[str]:
    """Names that are no argument and no variable of the functions that load them."""
    first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", ()))])
    own = lines[first - 1 : statement.end_lineno]
    indented = ["if 1:"] if statement.col_offset else []
    return _global(symtable.symtable("\n".join([*indented, *own]), module.name, "exec"))


def _global(table: symtable.SymbolTable) -> set[str]:
    inner = [_global(child) for child in table.get_children()]
    function = table.get_type() == "function"
    symbols = table.get_symbols()
    own = {one.get_name() for one in symbols if (one.is_global() if function else one.is_referenced())}
    return own.union(*inner)


def _drop_docstrings(nodes: Iterable[ast.AST]) -> None:
    for node in nodes:
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
