"""Fixtures for what runs inside 3D Slicer, on slicer-core's real scene and PySide6's real Qt (harness/README.md)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from Testing.folders import ROOT
from Testing.guard import guarded, own_folders  # noqa: F401  fixtures
from Testing.heard_signals import heard_signals  # noqa: F401  a fixture

MODULE = ROOT / "SAMora" / "SAMora.py"


@pytest.fixture(scope="session")
def slicer_app() -> Any:
    """`slicer.app`, with slicer, qt, ctk and vtk importable; skips where their packages are not installed."""
    from Testing.slicer import harness  # before PySide6: it sets what PySide6 reads at its import

    for package, name in (("slicer", "slicer-core"), ("PySide6.QtWidgets", "PySide6-Essentials")):
        try:
            importlib.import_module(package)
        except ImportError as error:
            pytest.skip(f'{name} cannot be imported ({error}); pip install -e ".[slicer]"')
    harness.start()
    import slicer

    return slicer.app


@pytest.fixture
def scene(slicer_app: Any) -> Iterator[Any]:
    """The MRML scene, empty, with empty settings. An exception in a slot fails the test that caused it."""
    from Testing.slicer import harness

    harness.clear()
    yield slicer_app.mrmlScene()
    caught = harness.slot_errors()
    harness.clear()
    if caught:
        raise caught[0]


@pytest.fixture
def module(scene: Any) -> Iterator[Any]:
    """SAMora.py, loaded unmodified as Slicer loads it: `module.SAMoraLogic()`."""
    from Testing.slicer import harness

    yield harness.load_module(MODULE)
    harness.unload_module("SAMora")


@pytest.fixture
def widget(module: Any) -> Any:
    """The panel (`SAMoraWidget`), set up and entered; `harness.click(widget.ui.applyButton)` clicks."""
    from Testing.slicer import harness

    return harness.make_widget("SAMora")
