"""A torchvision whose compiled operators do not match torch must not stop the import."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from SAMoraLib.packages import torchvision as torchvision_door
from Testing.folders import ROOT

# What torchvision itself does while it is imported, without its compiled library.
MISMATCHED = """
import torch

@torch.library.register_fake("torchvision::nms")
def _nms(dets, scores, iou_threshold):
    return dets

READY = True
"""


def test_operators_are_declared_where_they_are_missing(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(MISMATCHED, encoding="utf-8")
    code = ("from SAMoraLib.packages.torchvision import importable_torchvision\n"
            "for _ in range(2):\n  with importable_torchvision():\n    import torchvision\n"
            "print(torchvision.READY)")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
                         env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, check=False)
    assert run.stdout.strip() == "True", run.stderr


def test_segment_anything_can_be_imported_afterwards() -> None:
    with torchvision_door.importable_torchvision():
        assert importlib.import_module("segment_anything").sam_model_registry


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(torchvision_door.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="no kernel image"), torchvision_door.importable_torchvision():
        pass
