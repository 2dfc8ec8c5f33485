"""Do the tests notice? Random changes of the product's code, one at a time, and the tests nearest to each.

    make mutants ARGS="--seed 1 --count 250"

A change turns a comparison, exchanges an operator, adds one to a number, or inverts a condition, in a function of
SAMoraLib, Training or SAMoraSlicer. It is made in a copy of the tree; the test file of the module's name runs there,
then up to fourteen that import the module. What survives is either equivalent or a test that is missing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from Testing.folders import ROOT, SHARED
from Testing.house import mirror

SOURCES = ("SAMoraLib", "Training", "SAMora/SAMoraSlicer")
IN_SLICER = "Testing/slicer"
IMPORTERS = 14
TEST_SECONDS, SECONDS = 100, 1800  # for one test, by which an endless loop is noticed, and for all of a change's
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}
EXCHANGED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutant:
    """One expression of a source (``path``, from the root), and what stands there instead."""

    path: str
    line: int
    start: int  # bytes of the source
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.before} -> {self.after}"

    def applied_to(self, source: bytes) -> bytes:
        return source[:self.start] + self.after.encode() + source[self.end:]


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Every change of one source's functions."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, FUNCTION):
            for node, changed in _changes(function):
                start = starts[node.lineno - 1] + node.col_offset
                end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
                before = source.encode()[start:end].decode()
                after = ast.unparse(changed) if isinstance(changed, ast.Constant) else f"({ast.unparse(changed)})"
                found[start, end, after] = Mutant(path, node.lineno, start, end, before, after)
    return list(found.values())


def _changes(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """An expression that runs, and its change; annotations, docstrings and text in formats are left alone."""
    for node in _running(function):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            yield node, _with(node, ops=[TURNED[type(node.ops[0])]()])
        elif isinstance(node, ast.BinOp) and type(node.op) in EXCHANGED:
            yield node, _with(node, op=EXCHANGED[type(node.op)]())
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, ast.Constant(node.value + 1)
        if isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, ast.Compare):
            test = node.test
            inverted = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
            yield test, test.operand if inverted else ast.UnaryOp(ast.Not(), test)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                    yield child
                    yield from _running(child)


def _with(node: ast.expr, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def all_mutants() -> list[Mutant]:
    """Every change of the product."""
    paths = sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    return [mutant for path in paths
            for mutant in mutants_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))]


def tests_of(path: str) -> list[str]:
    """The test file of a source's name, then those that import it: of its own folder first."""
    parts = path.removeprefix("SAMora/").removesuffix(".py").removesuffix("/__init__").split("/")
    module, package, name = ".".join(parts), ".".join(parts[:-1]), parts[-1]
    imported = re.compile(rf"\b{re.escape(module)}\b|from {re.escape(package)} import .*\b{name}\b")
    own = mirror(ROOT / path)
    importers = [test for test in sorted((ROOT / "Testing").rglob("test_*.py"))
                 if test != own and imported.search(test.read_text(encoding="utf-8"))]
    importers.sort(key=lambda test: test.parent != own.parent)
    return [str(test.relative_to(ROOT)) for test in [own] * own.is_file() + importers[:IMPORTERS]]


class Bench:
    """A copy of the tree in which changes are made and tested."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / ROOT.name
        self.said = ""  # what the tests printed last
        tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                                 capture_output=True, text=True).stdout
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        if SHARED.exists():
            (folder / SHARED.name).symlink_to(SHARED, target_is_directory=True)

    def fails(self, tests: Sequence[str]) -> list[str]:
        """Run test files of the library and training, then those of Slicer, until one fails: which, or all of those
        that ran too long.
        """
        in_slicer = [test for test in tests if test.startswith(IN_SLICER)]
        elsewhere = [test for test in tests if test not in in_slicer]
        return self._fail(elsewhere) or self._fail(in_slicer, "--confcutdir", IN_SLICER)

    def _fail(self, tests: Sequence[str], *options: str) -> list[str]:
        if not tests:
            return []
        paths = os.pathsep.join([str(self.root), str(self.root / "SAMora")])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                   "-o", f"timeout={TEST_SECONDS}", *options, *tests]
        try:
            ended = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return list(tests)
        self.said = ended.stdout.decode(errors="replace")
        if ended.returncode in (0, 5):  # 5: every test is slow, none ran
            return []
        failed = set(re.findall(r"^(?:FAILED|ERROR) ([^\s:]+)", self.said, re.MULTILINE))
        return [test for test in tests if test in failed] or list(tests)

    def notices(self, mutant: Mutant, tests: Sequence[str]) -> list[str]:
        path = self.root / mutant.path
        source = path.read_bytes()
        path.write_bytes(mutant.applied_to(source))
        try:
            return self.fails(tests)
        finally:
            path.write_bytes(source)


def measure(mutants: Sequence[Mutant], workers: int) -> int:
    """Print what each change's tests said; how many were noticed.

    Raises:
        SystemExit: tests fail without any change.
    """
    noticed, done, lock = 0, 0, threading.Lock()
    sound: set[str] = set()  # tests that were seen to pass without a change
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        benches: queue.Queue[Bench] = queue.Queue()
        for number in range(workers):
            benches.put(Bench(Path(folder, str(number))))

        def examine(mutant: Mutant) -> None:
            nonlocal noticed, done
            bench = benches.get()
            try:
                seen = bench.notices(mutant, tests_of(mutant.path))
                unsound = bench.fails([test for test in seen if test not in sound])
                sound.update(seen)
            finally:
                benches.put(bench)
            if unsound:
                pool.shutdown(wait=False, cancel_futures=True)
                raise SystemExit(f"{bench.said}\nThe tests of {mutant.path} fail without a change; mend them first: "
                                 f"{unsound}")
            with lock:
                noticed, done = noticed + bool(seen), done + 1
                print(f"{done:4} {'noticed ' if seen else 'SURVIVED'} {mutant}", flush=True)

        for _ in pool.map(examine, mutants):
            pass
    return noticed


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--only", default="", help="a part of the sources' paths")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args(argv)
    candidates = [mutant for mutant in all_mutants() if arguments.only in mutant.path]
    chosen = random.Random(arguments.seed).sample(candidates, min(arguments.count, len(candidates)))
    noticed = measure(chosen, arguments.workers)
    print(f"{noticed} of {len(chosen)} changes noticed ({noticed / len(chosen):.0%}; seed {arguments.seed},"
          f" of {len(candidates)} possible)")


if __name__ == "__main__":
    main()
