"""The panel on a scene with a volume, away from this machine's models, devices and settings."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).with_name("stand_in_child.py")


@pytest.fixture
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models folder, not made yet."""
    folder = tmp_path / "modèles 模型"
    monkeypatch.setenv("SAMORA_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def widget(module: Any, models_folder: Path) -> Any:
    """The panel with nothing but the demonstration model; which devices there are is known already."""
    import qt

    from Testing.slicer import harness

    known = {"torch": importlib.metadata.version("torch"), "devices": [["cuda:0", "CUDA 0: Test"], ["cpu", "CPU"]]}
    qt.QSettings().setValue("SAMora/KnownDevices", json.dumps(known))
    return harness.make_widget("SAMora")


@pytest.fixture
def add_volume(scene: Any) -> Callable[[str], Any]:
    """Puts a volume of 10 x 12 x 14 voxels, or of another shape, into the scene."""
    import numpy as np
    import slicer

    def add(name: str = "CT", shape: tuple[int, int, int] = (14, 12, 10)) -> Any:
        volume = slicer.util.addVolumeFromArray(np.zeros(shape, np.int16), name=name)
        volume.SetSpacing(2.0, 2.5, 3.0)
        return volume

    return add


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`child("is killed")`: what the segmenting program will do; "segments" to begin with."""
    if os.name == "nt":
        pytest.skip("the stand-in for PythonSlicer is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "PythonSlicer"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def behave(mode: str) -> None:
        monkeypatch.setenv("SAMORA_TEST_CHILD", mode)

    behave("segments")
    return behave


@pytest.fixture
def temporary(tmp_path: Path, slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slicer's temporary folder, empty."""
    folder = tmp_path / "temporär 一時"
    folder.mkdir()
    monkeypatch.setattr(slicer_app, "temporaryPath", str(folder))
    return folder
