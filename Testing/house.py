"""The shape of the code, measured: lengths, comprehensions, imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from Testing.folders import ROOT

PRODUCT = ("SAMoraLib", "Training", "SAMora")
MIRRORS = {"SAMoraLib": "library", "Training": "training", "SAMora": "slicer"}  # the folders of Testing
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSION = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Place:
    """Where something was found, and how much of it."""

    file: str
    line: int
    name: str
    count: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name} {self.count}"


def sources(*folders: str) -> list[Path]:
    """The Python files in folders of the clone."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(*folders: str) -> list[Place]:
    """Every function with its lines, from ``def`` to the last one."""
    return [Place(str(path.relative_to(ROOT)), node.lineno, node.name, (node.end_lineno or 0) - node.lineno + 1)
            for path in sources(*folders) for node in ast.walk(_parsed(path)) if isinstance(node, FUNCTION)]


def crowded_statements(*folders: str) -> list[Place]:
    """Statements with two or more comprehensions."""
    found = []
    for path in sources(*folders):
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.stmt):
                count = sum(isinstance(part, COMPREHENSION) for part in _own_expressions(node))
                if count > 1:
                    found.append(Place(str(path.relative_to(ROOT)), node.lineno, type(node).__name__, count))
    return found


def _own_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """What belongs to the statement itself, not to the statements in its body."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr | ast.comprehension | ast.keyword | ast.withitem | ast.arguments):
            yield from ast.walk(child)


def imports(*folders: str) -> dict[str, set[str]]:
    """Module -> our own modules that it imports anywhere, inside functions, too."""
    files = {_module(path): path for path in sources(*folders)}
    return {name: {target for target in _targets(path, files) if target != name} for name, path in files.items()}


def circles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Modules that import each other, directly or through others: the strongly connected parts of more than one."""
    order: dict[str, int] = {}  # Tarjan's numbers: when a module was met, and the earliest one that it leads back to
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in graph.get(name, ()):
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            part = stack[stack.index(name):]
            del stack[stack.index(name):]
            if len(part) > 1:
                found.append(tuple(sorted(part)))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def lines_with(pattern: str, *folders: str) -> list[str]:
    """FILE:LINE of every line of the sources in which a regular expression is found."""
    return [f"{path.relative_to(ROOT)}:{number}" for path in sources(*folders)
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
            if re.search(pattern, line)]


def mirror(source: Path) -> Path:
    """Where the test file of a source's name belongs; SAMoraSlicer is the Slicer module itself, no folder of it."""
    product, *folders = source.relative_to(ROOT).parts[:-1]
    kept = [folder for folder in folders if folder != "SAMoraSlicer"]
    return ROOT.joinpath("Testing", MIRRORS[product], *kept, f"test_{source.stem}.py")


def says_something_to_test(source: Path) -> bool:
    """Not so: a folder's ``__init__``, ``__main__``, and modules of nothing but imports and types without methods."""
    if source.stem in ("__init__", "__main__"):
        return False
    statements = _parsed(source).body
    types = [node for node in statements if isinstance(node, ast.ClassDef)]
    if any(isinstance(part, FUNCTION) for node in types for part in ast.walk(node)):
        return True
    plain = ast.Import | ast.ImportFrom | ast.ClassDef
    return not types or any(not isinstance(node, plain) and not _is_docstring(node) for node in statements)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "SAMora" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(path: Path, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in named if name in files]
            yield from modules
            if len(modules) < len(named) and node.module in files:
                yield node.module
