"""SAMora.py and SAMoraSlicer hold to what PythonQt, Qt 5.15 and Python 3.9 understand, untested lines included."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.folders import ROOT

MODULE = ROOT / "SAMora"
UI_FILE = MODULE / "Resources" / "UI" / "SAMora.ui"
SOURCES = sorted([*MODULE.glob("*.py"), *MODULE.glob("SAMoraSlicer/**/*.py")])
UI = """<ui version="4.0"><widget class="qMRMLWidget" name="Panel">
<widget class="QPushButton" name="applyButton"/><widget class="qMRMLNodeComboBox" name="inputSelector"/>
</widget></ui>"""

pytestmark = pytest.mark.usefixtures("slicer_app")


def found_in(source: str, folder: Path) -> list[str]:
    from Testing.slicer.harness import rules

    (folder / "Panel.ui").write_text(UI, encoding="utf-8")
    (folder / "Panel.py").write_text(source, encoding="utf-8")
    return rules.check(folder / "Panel.py", folder / "Panel.ui")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_module_keeps_the_rules(source: Path) -> None:
    from Testing.slicer.harness import rules

    assert rules.check(source, UI_FILE) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from PySide6.QtWidgets import QLabel", "'PySide6.QtWidgets' is not in Slicer"),
        ("import requests", "'requests' is imported at file scope"),
        ("import torch", "'torch' is imported at file scope"),
        ("import qt\nclass Panel(qt.QWidget): pass", "derives from qt.QWidget"),
        ("import qt\nqt.QPushButton(text='Apply')", "qt.QPushButton() is called with keywords"),
        ("import slicer\nslicer.qMRMLNodeComboBox(parent=None)", "slicer.qMRMLNodeComboBox() is called with keywords"),
        ("import qt\nchanged = qt.Signal(int)", "qt.Signal is PySide6's"),
        (
            "import qt\ndef apply():\n    button = qt.QPushButton()\n    button.setText(text='Apply')",
            "button.setText() is called with keywords",
        ),
        ("import qt\ndef apply():\n    label = qt.QLabel()\n    print(label.text())", "'text' of QLabel is a property"),
        (
            "import qt\ndef apply():\n    label = qt.QLabel()\n    label.txet = 'liver'",
            "QLabel has no attribute 'txet'",
        ),
        (
            "import qt\ndef apply():\n    label = qt.QLabel()\n    label.setText = 'liver'",
            "'setText' of QLabel is no property",
        ),
        (
            "import qt\ndef apply():\n    timer = qt.QTimer()\n    timer.connect('timeOut()', print)",
            "QTimer has no signal 'timeOut()'",
        ),
        ("import qt\nprint(qt.Qt.AlignmentFlag.AlignLeft)", "enum values are flat"),
        ("import qt\nqt.QDialog().exec()", "exec() is Qt 6's"),
        ("def apply(button):\n    button.clicked.emit()", "emitted by calling them"),
        ("def moved(event):\n    return event.globalPosition()", "'globalPosition' is new in Qt 6"),
        ("def apply(self):\n    self.ui.aplyButton.click()", "the .ui file has no 'aplyButton'"),
        ("def apply(self):\n    self.ui.applyButton.enabeld = True", "QPushButton has no attribute 'enabeld'"),
        ("def apply(self):\n    self.ui.applyButton.enabled()", "'enabled' of QPushButton is a property"),
        ("def __init__(self, ui):\n    ui.applyButton.txet = 'Apply'", "QPushButton has no attribute 'txet'"),
        (
            "def apply(self):\n    button = self.ui.applyButton\n    button.clik()",
            "QPushButton has no attribute 'clik'",
        ),
        (
            "def apply(self):\n    self.ui.inputSelector.connect('currentNodeChanged(vtkMRMLScene*)', print)",
            "qMRMLNodeComboBox has no signal 'currentNodeChanged(vtkMRMLScene*)'",
        ),
        ("_ = str\norgan = 'liver'\nprint(_(f'{organ} found'))", "_() must be given the text itself"),
        ("match 1:\n    case _:\n        pass", "Slicer 5.8 has Python 3.9"),
    ],
)
def test_wrong_code_is_refused(source: str, said: str, tmp_path: Path) -> None:
    found = found_in(source, tmp_path)
    assert len(found) == 1
    assert said in found[0]
    assert found[0].startswith("Panel.py:")


def test_right_code_is_let_through(tmp_path: Path) -> None:
    source = """
from __future__ import annotations
import json, qt, ctk, vtk, slicer, numpy as np
from SAMoraSlicer.nodes import check_volume
from slicer.i18n import tr as _
class Panel:
    def setup(self):
        self.timer = qt.QTimer()
        self.timer.singleShot = False
        self.timer.setInterval(100)
        self.timer.connect("timeout()", self.step)
        self.ui.applyButton.connect("clicked(bool)", self.apply)
        self.ui.applyButton.clicked.disconnect(self.apply)
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.apply)
        self.ui.inputSelector.setCurrentNode(None)
    def apply(self, on: bool | None = None):
        import torch
        self.ui.applyButton.text = _("Cancel {name}").format(name=self.ui.applyButton.name)
        item = qt.QTableWidgetItem("liver")
        item.setTextAlignment(qt.Qt.AlignRight)
        table = self.ui.applyButton if on else None
        for item in table.items():
            item.anything()
        return item.text(), slicer.util.tempDirectory(key="SAMora")
"""
    assert found_in(source, tmp_path) == []
