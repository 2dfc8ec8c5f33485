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


def organ(name: str, found: bool = True) -> dict[str, Any]:
    return {"name": name, "title": name.capitalize(), "found": found, "voxels": 8, "volume_ml": 1.25,
            "mean_intensity": 40.0, "confidence": 0.5}


class Shown:
    """The section with results of no run, on segmentations of a block for every organ."""

    def __init__(self, widget: Any, scene: Any, add_volume: AddVolume) -> None:
        self.widget, self.scene, self.volume = widget, scene, add_volume()
        self.section, self.table = widget.panel.results, widget.ui.resultsTable

    def segmentation(self, *names: str) -> Any:
        import numpy as np
        import slicer

        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.CreateDefaultDisplayNodes()
        for number, name in enumerate(names):
            mask = np.zeros((14, 12, 10), np.uint8)
            mask[3 * number:3 * number + 2, 2:6, 2:6] = 1
            node.GetSegmentation().AddEmptySegment(name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, self.volume)
        return node

    def show(self, *results: tuple[str, Any, list[dict[str, Any]]]) -> None:
        """Name, segmentation and organs of each."""
        from SAMoraSlicer.results import Result

        self.section.show([Result(name, self.volume.GetID(), node.GetID() if node else "gone", "CT", tuple(organs))
                           for name, node, organs in results])


@pytest.fixture
def shown(widget: Any, scene: Any, add_volume: AddVolume) -> Shown:
    return Shown(widget, scene, add_volume)


def test_one_of_several_results_is_chosen_and_a_single_one_is_not(shown: Shown) -> None:
    selector, label = shown.widget.ui.resultSelector, shown.widget.ui.resultsLabel
    shown.show(("a", None, [organ("liver"), organ("spleen", False)]), ("b", None, [organ("aorta")]))
    assert selector.visible and [selector.itemText(row) for row in range(selector.count)] == ["a", "b"]
    assert label.text.startswith("a: 1 of 2 organs found.") and [row[0] for row in rows(shown.widget)] == [
        "Liver", "Spleen"]
    selector.currentIndex = 1
    assert label.text.startswith("b: 1 of 1 organs found.") and [row[0] for row in rows(shown.widget)] == ["Aorta"]
    shown.show(("c", None, [organ("liver")]))
    assert not selector.visible and selector.count == 1 and shown.section.shown.volume == "c"


def test_what_can_be_done_with_results_is_offered_with_them(shown: Shown) -> None:
    ui, segmentation = shown.widget.ui, shown.segmentation("liver")
    parts = (ui.resultsTable, ui.show3DButton, ui.editButton, ui.exportButton)
    shown.show(("a", segmentation, [organ("liver")]))
    assert all(part.visible for part in parts) and ui.show3DButton.segmentationNode() == segmentation
    shown.section.clear()
    assert not any(part.visible for part in parts) and ui.show3DButton.segmentationNode() is None
    assert shown.section.shown is None


def test_a_swatch_has_its_segments_colour(shown: Shown) -> None:
    segmentation = shown.segmentation("liver", "aorta")
    for name, colour in (("liver", (1.0, 0.0, 1.0)), ("aorta", (0.0, 1.0, 0.2))):
        segmentation.GetSegmentation().GetSegment(name).SetColor(*colour)
    shown.show(("a", segmentation, [organ("liver"), organ("spleen"), organ("aorta")]))
    swatches = [shown.table.item(row, 0).icon() for row in range(3)]
    assert swatches[1].isNull(), "no such segment"
    for icon, colour in ((swatches[0], (255, 0, 255)), (swatches[2], (0, 255, 51))):
        pixel = icon.pixmap(12, 12).toImage().pixelColor(6, 6)
        assert (pixel.red(), pixel.green(), pixel.blue()) == colour
    assert all(shown.table.item(0, column).icon().isNull() for column in (1, 2, 3))


def test_without_the_segmentation_the_numbers_stay(shown: Shown) -> None:
    shown.show(("a", None, [organ("liver")]))
    assert rows(shown.widget) == [["Liver", "1.2", "40.0", "50 %"]] and shown.table.item(0, 0).icon().isNull()


def test_numbers_stand_below_each_other_and_organs_take_the_room(shown: Shown) -> None:
    import qt

    shown.show(("a", None, [organ("liver")]))
    right = [bool(shown.table.item(0, column).textAlignment() & qt.Qt.AlignRight) for column in range(4)]
    assert right == [False, True, True, True]
    header = shown.table.horizontalHeader()
    assert [header.sectionResizeMode(column) for column in range(4)] == [
        qt.QHeaderView.Stretch, *[qt.QHeaderView.ResizeToContents] * 3]


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (3, 3), (15, 15), (16, 15)])
def test_the_table_is_as_high_as_its_rows_but_not_without_end(shown: Shown, count: int, lines: int) -> None:
    table = shown.table
    shown.show(("a", None, [organ(f"organ-{number}") for number in range(count)]))
    line = table.verticalHeader().defaultSectionSize
    assert table.fontMetrics().height() <= line <= 2 * table.fontMetrics().height()
    around = table.horizontalHeader().sizeHint.height() + 2 * table.frameWidth
    assert table.minimumHeight == around + lines * line and table.rowCount == count


def test_a_click_goes_to_the_organ_of_its_row_or_nowhere(shown: Shown) -> None:
    shown.scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red").SetLayoutName("Red")
    matrix = shown.scene.GetFirstNodeByClass("vtkMRMLSliceNode").GetSliceToRAS()
    segmentation = shown.segmentation("liver", "spleen", "aorta")
    shown.show(("a", segmentation, [organ("liver"), organ("spleen", False), organ("aorta"), organ("stomach")]))
    places = []
    for row in (0, 1, 2, 3):  # the spleen was not found, and the stomach has been deleted since
        shown.table.cellClicked(row, 1)
        places.append([matrix.GetElement(axis, 3) for axis in range(3)])
    liver, aorta = (segmentation.GetSegmentCenterRAS(name) for name in ("liver", "aorta"))
    assert places[0] == places[1] == pytest.approx(liver) and places[2] == places[3] == pytest.approx(aorta)
    assert places[0] != places[2]
    shown.section.clear()
    shown.table.cellClicked(0, 0)
    shown.show(("a", None, [organ("liver")]))
    shown.table.cellClicked(0, 0)
    assert [matrix.GetElement(axis, 3) for axis in range(3)] == places[3]


@pytest.mark.parametrize(("chosen", "written"), [("a.csv", "a.csv"), ("a.CSV", "a.CSV"), ("a.txt", "a.txt.csv"),
                                                 ("a", "a.csv")])
def test_an_exported_table_has_its_ending_once(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               chosen: str, written: str) -> None:
    import qt

    asked: list[Any] = []
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName",
                        lambda *arguments: asked.append(arguments) or str(tmp_path / "out" / chosen))
    (tmp_path / "out").mkdir()
    shown.show(("a", None, [organ("liver")]))
    harness.click(shown.widget.ui.exportButton)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [written]
    assert asked[0][2:] == ("organs.csv", "Tables (*.csv)")


def test_there_is_nothing_to_edit_before_the_first_result(shown: Shown) -> None:
    shown.section.edit()
    assert "no longer in the scene" in shown.widget.ui.statusLabel.text
