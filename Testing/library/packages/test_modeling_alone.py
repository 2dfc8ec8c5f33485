"""The segment-anything package's modules alone: fast, and the whole package still works where it is imported first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from Testing.folders import ROOT


def run(code: str) -> str:
    """In a process of its own: what is imported stays imported."""
    start = "import sys; from SAMoraLib.packages.modeling_alone import import_modeling_alone as alone; "
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}).stdout.strip()


def test_a_program_segments_without_torchvision() -> None:
    assert run("alone(); import SAMoraLib.inference.predict_files; from SAMoraLib.model import build_model; "
               "from SAMoraLib.variants import get_variant; build_model(get_variant('h_samora', 'tiny'), 3, 64); "
               "print('torchvision' in sys.modules, 'segment_anything' in sys.modules)") == "False False"


def test_the_classes_are_the_packages_own() -> None:
    assert run("alone(); from SAMoraLib.decoders.mask import MaskDecoder; "
               "from SAMoraLib.packages.torchvision import importable_torchvision\n"
               "with importable_torchvision():\n  import segment_anything\n"
               "print(sys.modules['segment_anything.build_sam'].MaskDecoder is MaskDecoder)") == "True"


def test_a_package_that_was_imported_before_stays() -> None:
    assert run("from SAMoraLib.packages.torchvision import importable_torchvision\n"
               "with importable_torchvision():\n  import segment_anything\n"
               "before = segment_anything; alone(); import segment_anything; "
               "print(segment_anything is before and bool(segment_anything.modeling))") == "True"


def test_a_missing_package_is_named() -> None:
    code = ("import importlib.util; importlib.util.find_spec = lambda name: None\n"
            "try:\n    alone()\nexcept ImportError as error:\n    print(error.name)")
    assert run(code) == "segment_anything"


def test_one_process_imports_it_whole() -> None:
    """As the tests' own process does, by their conftest."""
    pytest.importorskip("segment_anything")
    import segment_anything

    assert segment_anything.modeling
