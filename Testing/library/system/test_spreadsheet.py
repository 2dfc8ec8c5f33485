"""Cells that no spreadsheet works out."""

from __future__ import annotations

from typing import Any

import pytest

from SAMoraLib.system.spreadsheet import cell


@pytest.mark.parametrize(("text", "written"), [
    ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@A1", "'@A1"), ("  =1", "  '=1"), ("\t=1", r"\t=1"),
    ("\r=1", r"\r=1"), ("\n=1", r"\n=1"), ("a\n=1", r"a\n=1"), ("a;=1", "a;'=1"), ("a; -1", "a; '-1"),
    ("\uff1d1", "'\uff1d1"), ("\x1b[2J", r"\x1b[2J"), ("M\udcfcller", r"M\udcfcller"), ("", "")])
def test_a_formula_is_marked_and_control_characters_are_spelt_out(text: str, written: str) -> None:
    assert cell(text) == written


@pytest.mark.parametrize("value", ["Leber", "T1-weighted", "a = b", "x@y", "腹部", -1.5, 0, True, None])
def test_any_other_value_is_as_it_is(value: Any) -> None:
    assert cell(value) == value and type(cell(value)) is type(value)
