"""SECURITY.md promises nothing that no test holds."""

from __future__ import annotations

import ast
import re

import pytest

from Testing.folders import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = [line for line in TEXT.splitlines() if line.startswith("| ") and "promise | held by" not in line]
HELD_BY = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_there_are_promises() -> None:
    assert len(PROMISES) >= 35


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_names_tests_that_are_there(promise: str) -> None:
    named = HELD_BY.findall(promise)
    assert named, "a promise needs a test"
    for path, name in named:
        tree = ast.parse((ROOT / "Testing" / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
