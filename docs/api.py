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
one of what to do, and an exit code; what each function raises stands with it.
"""
SECTIONS = ("Args", "Returns", "Raises")
FIELD = re.compile(r"(\w+): (.*)", re.S)


def page() -> str:
    """``api.md``."""
    records: list[type] = []
    parts = [HEAD]
    for name in jetpress.__all__:
        thing = getattr(jetpress, name)
        if inspect.isclass(thing):
            records.append(thing)
            continue
        parts.append("\n".join([f"\n## {name}\n", *_function(name, thing)]))
        records += [one for one in _given_by(thing) if one not in records]
    parts.append("\n# Records\n")
    for record in sorted(records, key=lambda one: one.__name__):
        parts += [f"\n## {record.__name__}\n", *_record(record)]
    return "\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n"


def _given_by(function: Any) -> list[type]:
    """The records of ours that its annotation says it gives."""
    names = re.findall(r"\w+", str(inspect.signature(function).return_annotation))
    given = [vars(inspect.getmodule(function)).get(name) for name in names]
    return [one for one in given if isinstance(one, type) and dataclasses.is_dataclass(one)]


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
    if texts := _field_texts(record):
        yield "| field | type | meaning |\n|---|---|---|"
        for one in dataclasses.fields(record):
            if not one.name.startswith("_"):
                yield f"| `{one.name}` | {_type(one.type)} | {_inline(texts.get(one.name, ''))} |"
        yield ""
    for name, method in sorted(vars(record).items()):
        function = method.fget if isinstance(method, property) else getattr(record, name)
        if name.startswith("_") or not callable(function) or not function.__doc__:
            continue
        parameters = inspect.signature(function).parameters.values()
        called = ", ".join(one.name for one in parameters if one.name != "self")
        yield f"\n### {record.__name__}.{name}{'' if isinstance(method, property) else f'({called})'}\n"
        yield from _docstring(function, {one.name: _type(one.annotation) for one in parameters})


def _field_texts(record: type) -> dict[str, str]:
    """The text below each field, which Python itself does not keep."""
    if not dataclasses.is_dataclass(record):
        return {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = dict[str, str]()
    for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            found[node.target.id] = str(text.value) if isinstance(text, ast.Constant) else ""
    return found


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
        return f"[{name}](#{name.lower()})" if name in jetpress.__all__ else f"`{match[1]}`"

    return re.sub(r":\w+:`([^`]+)`", named, text).replace("``", "`")


def _type(annotation: object) -> str:
    return "" if annotation is inspect.Parameter.empty else f"`{annotation}`".replace("|", "or")
