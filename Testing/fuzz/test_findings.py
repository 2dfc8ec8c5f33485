"""Which exceptions are refusals, where the others come from, and what is kept of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from SAMoraLib.card import read_card
from Testing.fuzz import findings
from Testing.fuzz.findings import MEMORY, SENTENCE, TRACEBACK, Finding
from Testing.fuzz.mutate import Mutant


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("error", "kind"), [
    (ValueError("It is damaged; get it again."), None), (FileNotFoundError("There is none; give one."), None),
    (OSError(5, "Input/output error"), None), (KeyError("a"), TRACEBACK), (RuntimeError("It is."), TRACEBACK),
    (SystemExit(1), TRACEBACK), (ValueError("a\nb."), SENTENCE), (ValueError("x" * 700 + "."), SENTENCE),
    (ValueError("no sentence"), SENTENCE), (ValueError(""), SENTENCE), (MemoryError(), MEMORY),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), MEMORY),
    (caused(ValueError("It is damaged; get it again."), MemoryError()), MEMORY),
    (caused(ValueError("It is damaged; get it again."), RuntimeError("Failed to allocate memory for image.")), MEMORY),
    (caused(ValueError("It is damaged; get it again."), RuntimeError("other")), None),
])
def test_what_an_exception_is(error: BaseException, kind: str | None) -> None:
    fault = findings.fault_of(error)
    assert (fault and fault[0]) == kind


def test_the_place_is_the_innermost_of_the_product(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read_card(Path(__file__))
    place = findings.place_in(findings.traceback_of(caught.value))
    assert place.startswith("SAMoraLib/card.py:") and place.endswith(" read_header")
    dumped = ('Fatal Python error\n  File "/a/SimpleITK/x.py", line 3 in Execute\n'
              '  File "/a/SAMora/SAMoraSlicer/cases.py", line 7 in one\n  File "/a/SAMoraLib/cli.py", line 9 in two\n')
    assert findings.place_in(dumped, innermost_first=True) == "SAMora/SAMoraSlicer/cases.py:7 one"
    assert findings.place_in("nothing") == ""


def test_a_finding_is_kept_and_read_again(tmp_path: Path) -> None:
    finding = Finding("nifti", 1, 7, TRACEBACK, "KeyError", "text\n", "a.py:1 b", ("flip_bits",))
    mutant = Mutant({"series/a.dcm": b"1", "b": b""}, {"series/a.dcm": b"2"}, ("flip_bits",))
    place = findings.keep(finding, mutant, tmp_path)
    assert (place / "input/series/a.dcm").read_bytes() == b"1"
    assert findings.kept(place) == findings.kept(place / findings.ABOUT) == (finding, mutant)
    (place / findings.ABOUT).write_text("{}")
    with pytest.raises(ValueError, match="no finding"):
        findings.kept(place)


def test_alike_faults_are_one_line() -> None:
    found = [Finding("nifti", 1, number, TRACEBACK, "KeyError", str(number), "a.py:1 b") for number in (3, 5)]
    found.append(Finding("mha", 1, 4, TRACEBACK, "KeyError", "", "a.py:1 b"))
    assert findings.table(found).splitlines()[2:] == [
        "| 1 | mha | traceback | KeyError | a.py:1 b | 4 |", "| 2 | nifti | traceback | KeyError | a.py:1 b | 3 |"]
