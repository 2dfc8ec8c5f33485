"""Nothing that comes from a file, a server or the scene is shown as HTML, which could open files and reach servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from Testing.folders import ROOT
from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_catalogue, write_checkpoint

UI_FILE = ROOT / "SAMora/Resources/UI/SAMora.ui"
SOURCES = sorted([ROOT / "SAMora/SAMora.py", *(ROOT / "SAMora/SAMoraSlicer").rglob("*.py")])
HOSTILE = '<img src="file:///dev/zero"><b>Bold</b> &lt;i&gt;'
AddVolume = Callable[..., Any]


def tree(widget: Any) -> Iterator[Any]:
    """PySide6's own widgets, the given one first."""
    from PySide6.QtWidgets import QWidget

    from Testing.slicer.harness.pythonqt import unwrap

    native = unwrap(widget)
    yield native
    yield from native.findChildren(QWidget)


def tips(widget: Any) -> Iterator[str]:
    """All tool tips: of widgets, and of what lists, trees, tables and combo boxes hold."""
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QAbstractItemView, QComboBox

    for one in tree(widget):
        yield from (one.toolTip(), one.statusTip(), one.whatsThis())
        model = one.model() if isinstance(one, QAbstractItemView | QComboBox) else None
        for row in range(model.rowCount() if model else 0):
            for column in (0, 1):  # an index that is not there has no data
                yield str(model.index(row, column).data(Qt.ItemDataRole.ToolTipRole) or "")


def rich(widget: Any) -> list[str]:
    """What of a panel would be shown as HTML."""
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QLabel

    labels = [one.objectName() for one in tree(widget) if isinstance(one, QLabel)
              and one.textFormat() != Qt.TextFormat.PlainText]
    return labels + [tip for tip in tips(widget) if is_rich(tip)]


def is_rich(text: str) -> bool:
    """What Qt makes of a text that it is not told of."""
    from PySide6 import QtGui

    return bool(QtGui.Qt.mightBeRichText(text))  # of the namespace, in the module that Qt has it from


@pytest.fixture
def hostile(models_folder: Path) -> None:
    """A models folder whose files and list say nothing but tags."""
    write_catalogue(models_folder, title=HOSTILE, description=HOSTILE, licence=HOSTILE, measured_on=HOSTILE,
                    organs=[HOSTILE], cpu_seconds=1)
    write_checkpoint(models_folder / "<b>own<b>.safetensors", licence=HOSTILE, description=HOSTILE, name=HOSTILE)


def test_texts_from_files_and_the_scene_are_shown_letter_by_letter(hostile: None, widget: Any, add_volume: AddVolume,
                                                                   child: Any) -> None:
    volume = add_volume(HOSTILE)
    ui, shown = widget.ui, []
    for row in range(ui.modelSelector.count):
        ui.modelSelector.currentIndex = row
        ui.modelsTree.setCurrentItem(ui.modelsTree.topLevelItem(row))
        shown += [ui.modelInfo.text, ui.setupModelLabel.text, ui.statusLabel.text]
        assert rich(widget.parent) == []
    assert sum(HOSTILE in text for text in shown) >= 3, shown
    widget.panel.models.select("samora-demo")
    ui.modelSelector.currentIndex = next(row for row in range(ui.modelSelector.count)
                                         if "cannot" not in ui.modelSelector.itemText(row)
                                         and "down" not in ui.modelSelector.itemText(row))
    harness.click(ui.applyButton)
    assert HOSTILE in ui.statusLabel.text and rich(widget.parent) == []
    harness.wait_until(lambda: ui.applyButton.text == "Apply", 60)
    assert HOSTILE in ui.resultsLabel.text and rich(widget.parent) == []
    volume.SetAndObserveImageData(None)
    widget.panel.refresh()
    assert HOSTILE in ui.statusLabel.text and rich(widget.parent) == []


def test_nodes_of_ours_hold_no_tags(widget: Any, scene: Any, add_volume: AddVolume, child: Any) -> None:
    """Slicer shows names in its own displays, some of them as HTML."""
    add_volume(HOSTILE + "x" * 1000)
    harness.click(widget.ui.applyButton)
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 60)
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert "<" not in node.GetName() and ">" not in node.GetName() and len(node.GetName()) < 300
    assert "Bold" in node.GetName()


def test_devices_and_errors_are_shown_letter_by_letter(widget: Any) -> None:
    import importlib.metadata

    import qt

    known = {"torch": importlib.metadata.version("torch"), "devices": [["cuda:0", HOSTILE]]}
    qt.QSettings().setValue("SAMora/KnownDevices", json.dumps(known))
    widget.panel.device._show(widget.panel.device._remembered())
    widget.panel.setup.packages_broken(HOSTILE)
    assert HOSTILE in widget.ui.dependenciesLabel.text and HOSTILE in widget.ui.statusLabel.text
    assert widget.ui.deviceSelector.itemText(1) == HOSTILE and rich(widget.parent) == []


def test_a_question_holds_no_tags(hostile: None, widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: widget.parent)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: asked.append(text))
    for model in widget.panel.setup.models:
        widget.panel.setup.delete(model)
    assert len(asked) >= 3 and not any(map(is_rich, asked))
    assert any("img" in text for text in asked), asked


def test_every_label_of_the_ui_file_takes_text_for_text() -> None:
    labels = [widget for widget in ElementTree.parse(UI_FILE).iter("widget") if widget.get("class") == "QLabel"]
    formats = [label.findtext("property[@name='textFormat']/enum") for label in labels]
    assert len(labels) > 10 and set(formats) == {"Qt::PlainText"}


def test_no_label_or_message_box_is_made_in_code() -> None:
    """One that were would take tags for tags; questions are asked by ``agreed`` alone."""
    words = ("QLabel(", "QMessageBox", "errorDisplay", "warningDisplay", "infoDisplay", "showStatus", "QToolTip",
             "setHtml", "appendHtml", "RichText", "QTextEdit", "QTextBrowser")
    made = [f"{path.name}: {word}" for path in SOURCES for word in words if word in path.read_text(encoding="utf-8")]
    assert made == []


@pytest.mark.parametrize("text", [HOSTILE, "<b>", "&lt;b&gt;", "<!-- x -->", '<?xml version="1.0"?>', "a <br/> b",
                                  "< b >", "<a href='x'>"])
def test_a_tool_tip_looks_the_same_and_is_no_html(slicer_app: Any, text: str) -> None:
    from SAMoraSlicer.panel.hint import NO_SPACE, plain

    assert is_rich(text) or text.startswith(("<!", "<?"))  # which not every Qt takes for HTML
    assert not is_rich(plain(text)) and plain(text).replace(NO_SPACE, "") == text


def test_texts_of_a_million_letters_leave_the_panel_as_it_is(models_folder: Path, widget: Any, add_volume: AddVolume
                                                             ) -> None:
    write_catalogue(models_folder, title="x" * 1_000_000, description="y\n" * 500_000, licence="z" * 1_000_000)
    add_volume("v" * 1_000_000)
    widget.panel.setup.look()
    ui = widget.ui
    for row in range(ui.modelSelector.count):
        ui.modelSelector.currentIndex = row
        ui.modelsTree.setCurrentItem(ui.modelsTree.topLevelItem(row))
        shown = (ui.statusLabel.text, ui.modelInfo.text, ui.setupModelLabel.text, ui.modelSelector.itemText(row))
        assert all(len(text) < 2000 and text.count("\n") < 3 for text in shown)
    assert all(len(tip) < 2000 for tip in tips(widget.parent))


def test_a_folder_of_patients_is_not_named_in_the_report(widget: Any, child: Any, tmp_path: Path) -> None:
    import numpy as np
    import qt

    from SAMoraLib.volume import Volume
    from SAMoraLib.volume.io import write_volume

    folder, output = tmp_path / "Klinik Süd" / "Müller, Hans 1950", tmp_path / "Ergebnisse Dr. Weiß"
    folder.mkdir(parents=True)
    volume = Volume(np.zeros((3, 4, 5), np.int16), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    write_volume(volume, folder / "Meyerbeer 4711234.nii.gz")
    child("crashes")
    widget.ui.tabs.currentIndex = widget.ui.batchSource.currentIndex = 1
    widget.ui.inputFolder.currentPath, widget.ui.outputFolder.currentPath = str(folder), str(output)
    harness.click(widget.ui.applyButton)
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 60)
    work = widget.panel.run._last
    work.run._child._lines.append(f"{output}/Meyerbeer%204711234 of KLINIK SÜD in M\\xfcller, Hans 1950: m\u00fcller")
    harness.click(widget.ui.statusButton)
    report = qt.QApplication.clipboard().text()
    assert "Segmentation fault in a driver" in report and "exit code: 3" in report
    for secret in ("klinik", "süd", "ller", "hans", "meyerbeer", "4711234", "ergebnisse", "weiß", str(tmp_path)):
        assert secret not in report.lower(), report
