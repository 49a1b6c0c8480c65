"""The page of `import jetpress`, written from the docstrings of what it offers and of the records that these give."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import jetpress

HEAD = """# The library

Written from the docstrings by `make docs`. `import jetpress` loads nothing else; each name is loaded when it is asked
for. How they go together with a training of one's own is in [trainers.md](trainers.md). Tensors are PyTorch's,
`[n, ...]` is a batch of n samples. Errors are a `jetpress.deploy.errors.JetpressError`: one sentence of what is wrong,
one of what to do, and an exit code; what each function raises stands with it. The parts of a [Recipe](#recipe) are the
tables of [recipe.md](recipe.md); those of a [RunReport](#runreport) are what `report.json` holds, in the same order.
"""
SECTIONS = ("Args", "Returns", "Raises")
ELSEWHERE = ("Recipe", "RunReport")
"""What lies in them is described in recipe.md, and in the report's own page."""
INSIDE = ("Cut", "HasModule", "Target")
"""Nobody has one of these to look into."""
FIELD = re.compile(r"(\w+): (.*)", re.S)


def page() -> str:
    """``api.md``."""
    offered = [getattr(jetpress, name) for name in jetpress.__all__]
    functions = [one for one in offered if not inspect.isclass(one)]
    parts = [HEAD]
    for name, function in zip(jetpress.__all__, offered, strict=True):
        if function in functions:
            parts.append("\n".join([f"\n## {name}\n", *_function(name, function)]))
    parts.append("\n# Records\n")
    for record in sorted(_records(offered, functions), key=lambda one: one.__name__):
        parts += [f"\n## {record.__name__}\n", *_record(record)]
    return "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"


def _records(offered: list[Any], functions: list[Any]) -> list[type]:
    """The classes of ours that somebody has in hand: what is offered, taken or given, and what lies in that."""
    found: list[Any] = [one for one in offered if one not in functions]
    for function in functions:
        signature = inspect.signature(function)
        texts = [signature.return_annotation, *(one.annotation for one in signature.parameters.values())]
        found += _named(texts, function)
    for record in found:  # it grows
        if record.__name__ not in ELSEWHERE and dataclasses.is_dataclass(record):
            fields = [one for one in dataclasses.fields(record) if not one.name.startswith("_")]
            found += [one for one in _named([one.type for one in fields], record) if one not in found]
    return list(dict.fromkeys(found))


def _named(annotations: list[Any], thing: Any) -> list[type]:
    """Classes of ours with words of their own, by their names where ``thing`` is written."""
    names = [name for text in annotations for name in re.findall(r"\w+", str(text))]
    known = [vars(inspect.getmodule(thing)).get(name) for name in names]
    ours = [one for one in known if isinstance(one, type) and one.__module__.startswith("jetpress.")]
    return [one for one in ours if one.__doc__ and one.__name__ not in INSIDE]


def _function(name: str, function: Any) -> Iterator[str]:
    shown = list[str]()
    for one in inspect.signature(function).parameters.values():
        mark = "**" if one.kind is one.VAR_KEYWORD else "*" if one.kind is one.VAR_POSITIONAL else ""
        default = "" if one.default is one.empty else f"={one.default!r}"
        if one.kind is one.KEYWORD_ONLY and "*" not in "".join(shown):
            shown.append("*")
        shown.append(f"{mark}{one.name}{default}")
    call = f"jetpress.{name}({', '.join(shown)})"
    if len(call) > 100:
        call = f"jetpress.{name}(\n{textwrap.indent(textwrap.fill(', '.join(shown), 96), '    ')}\n)"
    yield f"```text\n{call}\n```\n"
    types = {one.name: _type(one.annotation) for one in inspect.signature(function).parameters.values()}
    yield from _docstring(function, types)


def _record(record: type) -> Iterator[str]:
    """What it is, its fields with their texts, and its methods."""
    yield from _docstring(record, {})
    if fields := [one for one in _fields(record) if not one[0].startswith("_")]:
        yield "| field | type | meaning |\n|---|---|---|"
        for name, kind, text in fields:
            yield f"| `{name}` | {_type(kind)} | {_inline(text)} |"
        yield ""
    for name, method in sorted(vars(record).items()):
        function = method.fget if isinstance(method, property) else getattr(record, name)
        if name.startswith("_") or not callable(function) or not function.__doc__:
            continue
        parameters = inspect.signature(function).parameters.values()
        called = ", ".join(one.name for one in parameters if one.name != "self")
        yield f"\n### {record.__name__}.{name}{'' if isinstance(method, property) else f'({called})'}\n"
        yield from _docstring(function, {one.name: _type(one.annotation) for one in parameters})


def _fields(record: type) -> list[tuple[str, Any, str]]:
    """Name, type and the text below it, which Python itself does not keep; of other classes what has such a text."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(tree, ast.ClassDef)
    methods = [one for one in tree.body if isinstance(one, ast.FunctionDef)]
    bodies = [tree.body, *(one.body for one in methods if one.name == "__init__")]
    found = dict[str, tuple[str, str]]()
    for body in bodies:
        for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(text, ast.Constant):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else "str"
                found[ast.unparse(target).removeprefix("self.")] = kind, str(text.value)
    if dataclasses.is_dataclass(record):
        return [(one.name, one.type, found.get(one.name, ("", ""))[1]) for one in dataclasses.fields(record)]
    return [(name, kind, text) for name, (kind, text) in found.items()]


def _docstring(thing: Any, types: dict[str, str]) -> Iterator[str]:
    """Prose as it is; what follows ``Args:`` and ``Raises:`` as tables."""
    text = inspect.getdoc(thing) or ""
    blocks = re.split(rf"^({'|'.join(SECTIONS)}):\n", text, flags=re.M)
    yield _prose(blocks[0]) + "\n"
    for section, body in zip(blocks[1::2], blocks[2::2], strict=True):
        body, rest = _indented(body)
        entries = [match for one in _entries(body) if (match := FIELD.match(one))]
        if section == "Returns" or not entries:
            yield textwrap.fill(f"**{section}**: {_inline(body)}", 118, break_on_hyphens=False) + "\n"
        else:
            kinds = " type |" if section == "Args" else ""
            first = "argument" if section == "Args" else "raises"
            yield f"| {first} |{kinds} meaning |\n|---|{'---|' * bool(kinds)}---|"
            for name, meaning in (one.groups() for one in entries):
                kind = f" {types.get(name, '')} |" if section == "Args" else ""
                yield f"| `{name}` |{kind} {_inline(meaning)} |"
            yield ""
        if rest.strip():
            yield _prose(rest) + "\n"


def _indented(body: str) -> tuple[str, str]:
    """The indented lines of a section, and what follows them."""
    lines = body.splitlines()
    end = next((n for n, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end])).strip(), "\n".join(lines[end:])


def _entries(body: str) -> list[str]:
    """Each entry with the lines that go on with it."""
    return [one for one in re.split(r"\n(?! )", body) if one.strip()]


def _prose(text: str) -> str:
    text = re.sub(
        r"::\n\n((?:    .*\n?|\n)+)",
        lambda code: f"\n```python\n{textwrap.dedent(code[1]).strip()}\n```\n\n",
        f"{text}\n",
    )
    return _marked(text).strip()


def _inline(text: str) -> str:
    return _marked(" ".join(text.split())).replace("|", "\\|")


def _marked(text: str) -> str:
    def named(match: re.Match[str]) -> str:
        name = match[1].rpartition(".")[2]
        offered = match[0].startswith(":func:") and name in jetpress.__all__
        return f"[{name}](#{name.lower()})" if offered else f"`{match[1]}`"

    return re.sub(r"(?<!`)``(?!`)", "`", re.sub(r":\w+:`([^`]+)`", named, text))


def _type(annotation: object) -> str:
    return "" if annotation is inspect.Parameter.empty else f"`{annotation}`".replace("|", "or")
