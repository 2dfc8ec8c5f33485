"""The measurement of the tests: every kind of change, and no change where none would run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from Testing import mutants
from Testing.folders import ROOT

SOURCE = '''"""Not 1 of these."""
LIMIT = 3


def among(found: "list[2]", most: int = 4) -> bool:
    """Less than 5."""
    if not found:
        return most - 1.5 > len(found) * 2
    return "ä" in found if found else f"{found[7]}" is None
'''


def test_every_kind_of_change_is_made_once() -> None:
    changes = {(mutant.before, mutant.after) for mutant in mutants.mutants_of("a.py", SOURCE)}
    assert changes == {
        ("4", "5"), ("not found", "(found)"), ("most - 1.5 > len(found) * 2", "(most - 1.5 >= len(found) * 2)"),
        ("most - 1.5", "(most + 1.5)"), ("1.5", "2.5"), ("len(found) * 2", "(len(found) / 2)"), ("2", "3"),
        ('"ä" in found', "('ä' not in found)"), ("found", "(not found)"),
        ('f"{found[7]}" is None', "(f'{found[7]}' is not None)"),
    }


def test_a_change_is_the_only_one_and_can_be_run() -> None:
    for mutant in mutants.mutants_of("a.py", SOURCE):
        changed = mutant.applied_to(SOURCE.encode()).decode()
        assert changed != SOURCE and changed.count("\n") == SOURCE.count("\n")
        ast.parse(changed)
        assert changed.splitlines()[mutant.line - 1] != SOURCE.splitlines()[mutant.line - 1]


def test_the_tests_nearest_to_a_source() -> None:
    tests = mutants.tests_of("SAMora/SAMoraSlicer/process.py")
    assert tests[0] == "Testing/slicer/test_process.py" and "Testing/slicer/test_devices.py" in tests[1:]
    tests = mutants.tests_of("SAMoraLib/volume/io.py")
    assert tests[0] == "Testing/library/volume/test_io.py" and len(tests) == 1 + mutants.IMPORTERS
    assert mutants.tests_of("SAMoraLib/__init__.py")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mutants.Bench:
    made = mutants.Bench.__new__(mutants.Bench)
    made.root = tmp_path
    (tmp_path / "limit.py").write_text("def few(n):\n    return n < 3\n")
    (tmp_path / "test_limit.py").write_text("import limit\n\n\ndef test_few():\n    assert limit.few(2)\n")
    return made


def test_a_change_is_noticed_or_survives_and_is_taken_back(bench: mutants.Bench) -> None:
    [comparison, number] = mutants.mutants_of("limit.py", (bench.root / "limit.py").read_text())
    source = (bench.root / "limit.py").read_bytes()
    assert not bench.notices(comparison, ["test_limit.py"])
    assert not bench.notices(number, ["test_limit.py"])
    (bench.root / "test_limit.py").write_text("import limit\n\n\ndef test_few():\n    assert not limit.few(3)\n")
    assert bench.notices(comparison, ["test_limit.py"])
    assert bench.notices(number, ["test_limit.py"]) == ["test_limit.py"]
    assert (bench.root / "limit.py").read_bytes() == source
    assert not bench.fails(["test_limit.py"]) and not bench.fails([])


def test_the_product_is_what_is_changed() -> None:
    found = mutants.all_mutants()
    assert len(found) > 5000
    assert {mutant.path.split("/")[0] for mutant in found} == {"SAMoraLib", "Training", "SAMora"}
    assert all((ROOT / mutant.path).is_file() for mutant in found)
