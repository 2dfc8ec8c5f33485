"""The one door to the sam2 package: what comes through it, who uses it, and what is said without the package."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import SAMoraLib
from SAMoraLib.packages import sam2 as door
from Testing.folders import ROOT
from Testing.small import small_model

ALONE = "from SAMoraLib.packages.modeling_alone import import_modeling_alone as alone; alone(); "


def test_all_that_is_offered_is_there() -> None:
    assert all(callable(getattr(door, name)) for name in door.__all__)
    offered = {name for name, value in vars(door).items() if getattr(value, "__module__", "").startswith("sam2.")}
    assert offered == set(door.__all__)


def test_the_names_are_the_packages_classes() -> None:
    from sam2.modeling.sam.mask_decoder import MaskDecoder
    from sam2.modeling.sam.transformer import TwoWayTransformer

    assert door.HighResMaskDecoder is MaskDecoder and door.HighResTransformer is TwoWayTransformer


@pytest.mark.parametrize("before", ["", ALONE])
def test_sam_2_is_importable_whatever_torchvision_is(before: str) -> None:
    """Also in a program that has come as far as this without torchvision, which sam2 asks for."""
    code = before + "from SAMoraLib.decoders.high_res import build_high_res_decoder; print('ready')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert run.stdout.strip() == "ready", run.stderr


def test_only_what_a_row_asks_for_imports_sam_2() -> None:
    """At the top of a file, where it would be loaded with every model."""
    imports = ast.Import | ast.ImportFrom | ast.Try
    sam2 = re.compile(r"import sam2|from sam2|sam2_hiera|packages\.sam2")
    importing = {path.name for path in Path(SAMoraLib.__file__).parent.rglob("*.py")
                 for node in ast.parse(path.read_text(encoding="utf-8")).body
                 if isinstance(node, imports) and sam2.search(ast.unparse(node))}
    assert importing == {"sam2.py", "sam2_hiera.py", "hiera_experts.py", "high_res.py"}


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAMoraLib.encoders.sam2_hiera", "SAMoraLib.packages.sam2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "sam2.modeling.backbones.hieradet", None)
    with pytest.raises(ValueError, match=r"^SAM 2's rows need the Python package 'sam2' \(.*\); install it with "
                                         r"pip install 'samora\[sam2\]'\.$"):
        small_model("samed_2")
    small_model("samora")
