"""Which names a TensorRT version has, and a walk that finds what the runner uses without asking first."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path

TABLE = json.loads((Path(__file__).parent / "tensorrt_names.json").read_text())
VERSIONS: list[str] = TABLE["versions"]
EVERYWHERE = {"ILogger", "IErrorRecorder", "Logger", "DataType", "__version__"}

# What the runner calls an object -> the class it is. "trt" is the module itself.
RECEIVERS = {
    "trt": "trt",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "runtime": "Runtime",
    "flag": "BuilderFlag",
    "typing": "NetworkDefinitionCreationFlag",
    "tensor": "ITensor",
    "verbosity": "ProfilingVerbosity",
    "layer": "ILayer",
    "fault": "ParserError",
    "inspector": "EngineInspector",
    "cache": "ITimingCache",
}


def names(version: str) -> dict[str, set[str]]:
    """The classes of a version with their names, and under "trt" the classes themselves."""
    place = VERSIONS.index(version)

    def has(span: str) -> bool:
        if span == "all":
            return True
        first, last = span.split(" .. ")
        return VERSIONS.index(first) <= place <= VERSIONS.index(last)

    found: dict[str, set[str]] = {"trt": set(EVERYWHERE)}
    for name, entry in TABLE["classes"].items():
        if has(entry["exists"]):
            found["trt"].add(name)
            found[name] = {item for span, items in entry["names"].items() if has(span) for item in items}
    return found


@dataclass
class Walk:
    """Follows the code as one version runs it: the table answers `hasattr`, dead branches are skipped."""

    functions: dict[str, ast.FunctionDef]
    table: dict[str, set[str]]
    assumed: dict[int, bool] = field(default_factory=dict)
    """Answers forced on single `hasattr` calls (by `id` of the node), to see whether they matter."""
    missing: list[str] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def kind(self, node: ast.expr) -> str | None:
        """The class of an expression, by what the runner calls it."""
        if isinstance(node, ast.Name):
            return RECEIVERS.get(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return RECEIVERS.get(node.attr)
            if self.kind(node.value) == "trt":
                return node.attr
        return None

    def answer(self, node: ast.expr) -> bool | None:
        """What a condition is in this version, where the table can tell."""
        if id(node) in self.assumed:
            return self.assumed[id(node)]
        if is_hasattr(node):
            receiver, name = node.args[0], node.args[1].value  # type: ignore[attr-defined]
            kind = self.kind(receiver)
            return None if kind is None else name in self.table.get(kind, set())
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.answer(node.operand)
            return None if inner is None else not inner
        if isinstance(node, ast.BoolOp):
            answers = [self.answer(value) for value in node.values]
            decisive = isinstance(node.op, ast.Or)
            if decisive in answers:
                return decisive
            return None if None in answers else not decisive
        return None

    def block(self, statements: list[ast.stmt]) -> bool:
        """Visit until a statement that always leaves; whether there was one."""
        return any(self.statement(statement) for statement in statements)

    def statement(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.If):
            self.expression(node.test)
            answer = self.answer(node.test)
            body = self.block(node.body) if answer is not False else True
            other = self.block(node.orelse) if answer is not True else True
            return body and other
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            elif isinstance(child, ast.expr):
                self.expression(child)
            else:
                self.other(child)
        return isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break))

    def other(self, node: ast.AST) -> None:
        """With-items, handlers, comprehensions, keywords: whatever holds statements or expressions."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            elif isinstance(child, ast.expr):
                self.expression(child)
            else:
                self.other(child)

    def expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            stop = isinstance(node.op, ast.Or)
            for value in node.values:
                self.expression(value)
                if self.answer(value) is stop:
                    return
            return
        if isinstance(node, ast.IfExp):
            self.expression(node.test)
            answer = self.answer(node.test)
            for branch, dead in ((node.body, False), (node.orelse, True)):
                if answer is not dead:
                    self.expression(branch)
            return
        if isinstance(node, ast.Attribute):
            self.attribute(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            self.call(node.func.id)
        self.other(node)

    def attribute(self, node: ast.Attribute) -> None:
        kind = self.kind(node.value)
        if kind is None or node.attr.startswith("__"):
            return
        self.used.add((kind, node.attr))
        if node.attr not in self.table.get(kind, set()):
            self.missing.append(f"line {node.lineno}: {kind}.{node.attr}")

    def call(self, name: str) -> None:
        if name in self.functions and name not in self.seen:
            self.seen.add(name)
            self.block(self.functions[name].body)


def is_hasattr(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hasattr"


def walk(trees: list[ast.Module], table: dict[str, set[str]], assumed: dict[int, bool] | None = None) -> Walk:
    """Walk from every method of every class, and through the functions that they reach."""
    found = Walk(functions_of(trees), table, assumed or {})
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):
                        found.block(method.body)
    return found


def functions_of(trees: list[ast.Module]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
