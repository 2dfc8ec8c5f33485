"""The one door to the segment-anything package, and the one to sam2."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from SAMoraLib.packages import segment_anything as door
from Testing.folders import ROOT

STATEMENT = re.compile(r"^\s*(?:from|import) (segment_anything|sam2)\b", re.MULTILINE)


def test_nobody_else_imports_the_packages() -> None:
    importing = {(path.name, match[1]) for path in ROOT.glob("SAMoraLib/**/*.py")
                 for match in STATEMENT.finditer(path.read_text(encoding="utf-8"))}
    assert importing == {("segment_anything.py", "segment_anything"), ("sam2.py", "sam2")}


def test_all_that_is_offered_is_there() -> None:
    assert all(isinstance(getattr(door, name), type) for name in door.__all__)


ALONE = "from SAMoraLib.packages.modeling_alone import import_modeling_alone as alone; alone(); "


@pytest.mark.parametrize("before", ["", ALONE])
#X, "from SAMoraLib.packages.modeling_alone import import_modeling_alone as alone; alone(); "])
def test_sam_2_is_importable_whatever_torchvision_is(before: str) -> None:
    """Also in a program that has come as far as this without torchvision, which sam2 asks for."""
    pytest.importorskip("sam2")
    code = before + "from SAMoraLib.decoders.high_res import build_high_res_decoder; print('ready')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert run.stdout.strip() == "ready", run.stderr
