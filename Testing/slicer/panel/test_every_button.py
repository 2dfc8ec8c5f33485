"""No button of the panel is left out by the tests beside this file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from Testing.folders import ROOT

UI_FILE = ROOT / "SAMora/Resources/UI/SAMora.ui"
BUTTONS = ("QPushButton", "QToolButton", "qMRMLSegmentationShow3DButton")


def test_every_button_is_clicked_in_some_test() -> None:
    widgets = ElementTree.parse(UI_FILE).iter("widget")
    buttons = [widget.get("name") for widget in widgets if widget.get("class") in BUTTONS]
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert len(buttons) > 10
    assert [name for name in buttons if f"ui.{name})" not in tests] == []
