"""The one door to the segment-anything package; nobody else imports it, nor sam2."""

from __future__ import annotations

import re

from SAMoraLib.packages import segment_anything as door
from Testing.folders import ROOT

STATEMENT = re.compile(r"^\s*(?:from|import) (segment_anything|sam2)\b", re.MULTILINE)


def test_nobody_else_imports_the_packages() -> None:
    importing = {(path.name, match[1]) for path in ROOT.glob("SAMoraLib/**/*.py")
                 for match in STATEMENT.finditer(path.read_text(encoding="utf-8"))}
    assert importing == {("segment_anything.py", "segment_anything"), ("sam2.py", "sam2")}


def test_all_that_is_offered_is_there() -> None:
    assert all(isinstance(getattr(door, name), type) for name in door.__all__)
