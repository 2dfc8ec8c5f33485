"""The section "Results" and its buttons."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from Testing.slicer import harness

AddVolume = Callable[..., Any]


@pytest.fixture
def result(widget: Any, add_volume: AddVolume, child: Any) -> Any:
    """The panel after a run on "CT"; organs fill a slice each, the last was not found."""
    add_volume()
    harness.click(widget.ui.applyButton)
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 60)
    return widget


def rows(widget: Any) -> list[list[str]]:
    table = widget.ui.resultsTable
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def test_before_the_first_run_it_says_what_will_stand_there(widget: Any) -> None:
    assert widget.ui.resultsLabel.text.startswith("No result yet")
    for part in (widget.ui.resultsTable, widget.ui.exportButton, widget.ui.editButton, widget.ui.show3DButton,
                 widget.ui.resultSelector):
        assert not part.visible


def test_every_organ_has_a_row(result: Any) -> None:
    assert rows(result)[0] == ["Spleen", "0.1", "50.0", "90 %"]
    assert rows(result)[-1] == ["Pancreas", "not found", "-", "-"]
    assert [result.ui.resultsTable.horizontalHeaderItem(n).text() for n in range(4)] == [
        "Organ", "Volume (ml)", "Mean (HU)", "Confidence"]
    assert not result.ui.resultsTable.item(0, 0).icon().isNull()


def test_the_table_is_exported(result: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: str(tmp_path / "Tabelle ä"))
    harness.click(result.ui.exportButton)
    with (tmp_path / "Tabelle ä.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 8 and written[0]["volume"] == "CT" and written[0]["organ"] == "spleen"
    assert result.ui.statusLabel.text == "The table was written to 'Tabelle ä.csv'."


@pytest.mark.parametrize("path", ["", "file/organs.csv"])
def test_an_export_that_is_dismissed_or_fails(result: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              path: str) -> None:
    import qt

    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: str(tmp_path / path) if path else "")
    before = result.ui.statusLabel.text
    harness.click(result.ui.exportButton)
    assert ("could not be written" in result.ui.statusLabel.text) if path else (result.ui.statusLabel.text == before)
    assert result.ui.statusLabel.text.endswith(".")


def test_the_report_is_copied(result: Any) -> None:
    import qt

    result.ui.logSection.collapsed = False
    harness.click(result.ui.copyReportButton)
    assert "exit code: 0" in qt.QApplication.clipboard().text()
    assert result.ui.log.plainText.endswith("The report is on the clipboard.")


def test_surfaces_are_shown(result: Any, scene: Any) -> None:
    segmentation = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    harness.click(result.ui.show3DButton)
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_the_segment_editor_opens_on_the_result(result: Any, scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    harness.click(result.ui.editButton)
    assert "needs Slicer's main window" in result.ui.statusLabel.text
    opened: dict[str, Any] = {}
    editor = SimpleNamespace(setSegmentationNode=lambda node: opened.update(segmentation=node),
                             setSourceVolumeNode=lambda node: opened.update(volume=node))
    module = SimpleNamespace(widgetRepresentation=lambda: SimpleNamespace(self=lambda: SimpleNamespace(editor=editor)))
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: result.parent)
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: opened.update(module=name))
    monkeypatch.setattr(slicer.modules, "segmenteditor", module, raising=False)
    harness.click(result.ui.editButton)
    assert opened == {"module": "SegmentEditor", "segmentation": scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"),
                      "volume": scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")}


def test_a_result_that_left_the_scene_is_said(result: Any, scene: Any) -> None:
    scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
    harness.click(result.ui.editButton)
    assert "no longer in the scene" in result.ui.statusLabel.text
    result.ui.resultsTable.cellClicked(0, 0)  # nothing to jump to, and no exception


def test_a_click_on_an_organ_shows_its_middle(result: Any, scene: Any) -> None:
    scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red").SetLayoutName("Red")
    slice_node = scene.GetFirstNodeByClass("vtkMRMLSliceNode")
    result.ui.resultsTable.cellClicked(4, 0)
    shown = [slice_node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    middle = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode").GetSegmentCenterRAS("liver")
    assert shown == pytest.approx(middle, abs=0.1) and shown[2] == pytest.approx(12.0, abs=3.0)
    result.ui.resultsTable.cellClicked(7, 0)  # not found
    assert [slice_node.GetSliceToRAS().GetElement(row, 3) for row in range(3)] == shown


def test_closing_the_scene_clears_the_table(result: Any, scene: Any) -> None:
    scene.Clear(0)
    assert result.ui.resultsLabel.text.startswith("No result yet") and not result.ui.resultsTable.visible
