"""The section "Results": the table of organs, and what to do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SAMoraSlicer.panel.hint import short
from SAMoraSlicer.results import Result, cells, headers, write_csv

CSV_ENDING = ".csv"
MOST_ROWS = 15  # without scrolling


class ResultSection:
    """Shows one result of the last run at a time; of a folder run, what was written where.

    Args:
        ui: the panel's widgets.
        tell: called with a sentence when a button could not do its work.
    """

    def __init__(self, ui: Any, tell: Callable[[str], None]) -> None:
        self.ui, self._tell = ui, tell
        self._results: list[Result] = []
        ui.resultSelector.connect("currentIndexChanged(int)", self._show)
        ui.resultsTable.connect("cellClicked(int,int)", self._jump)
        ui.editButton.connect("clicked(bool)", self.edit)
        ui.exportButton.connect("clicked(bool)", self.export)
        ui.resultsTable.verticalHeader().visible = False
        ui.resultsTable.verticalHeader().setDefaultSectionSize(ui.resultsTable.fontMetrics().height() + 4)
        ui.resultsTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.resultsTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self.clear()

    @property
    def shown(self) -> Result | None:
        index = self.ui.resultSelector.currentIndex
        return self._results[index] if 0 <= index < len(self._results) else None

    def clear(self) -> None:
        """Forget the results, as when the scene closes."""
        self.show([])

    def show(self, results: list[Result]) -> None:
        """Show these instead of the last ones."""
        self._results = list(results)
        selector = self.ui.resultSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        for result in results:
            selector.addItem(short(result.volume))
        selector.blockSignals(blocked)
        selector.visible = len(results) > 1
        self._show()

    def edit(self) -> None:
        """Open the Segment Editor on the result and its volume."""
        segmentation, volume = self._nodes()
        if segmentation is None:
            self._tell(_("The segmentation is no longer in the scene; segment the volume again."))
            return
        if slicer.util.mainWindow() is None:
            self._tell(_("The Segment Editor needs Slicer's main window; start Slicer with one."))
            return
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)

    def export(self) -> None:
        """Ask for a file and write the table of all results to it."""
        path = qt.QFileDialog.getSaveFileName(self.ui.exportButton, _("Export the table"), f"organs{CSV_ENDING}",
                                              _("Tables") + f" (*{CSV_ENDING})")
        if not path:
            return
        path += "" if path.lower().endswith(CSV_ENDING) else CSV_ENDING
        try:
            write_csv(self._results, path)
        except OSError as error:
            self._tell(str(error))
        else:
            self._tell(_("The table was written to '{path}'.").format(path=Path(path).name))

    def _nodes(self) -> tuple[Any, Any]:
        """Segmentation and volume of the result that is shown; None for what is gone from the scene."""
        result = self.shown
        if result is None:
            return None, None
        return slicer.mrmlScene.GetNodeByID(result.segmentation_id), slicer.mrmlScene.GetNodeByID(result.volume_id)

    def _show(self) -> None:
        result = self.shown
        segmentation, _volume = self._nodes()
        self.ui.resultsLabel.text = self._summary(result)
        self.ui.resultsTable.visible = result is not None
        self.ui.show3DButton.setSegmentationNode(segmentation)
        for button in (self.ui.show3DButton, self.ui.editButton, self.ui.exportButton):
            button.visible = result is not None
        if result is not None:
            self._fill(result, segmentation)

    @staticmethod
    def _summary(result: Result | None) -> str:
        if result is None:
            return _("No result yet: choose a volume and press Apply; the organs' volumes will stand here.")
        return _("{name}: {found} of {all} organs found. For research only; check every organ.").format(
            name=short(result.volume), found=result.found, all=len(result.organs))

    def _fill(self, result: Result, segmentation: Any) -> None:
        table = self.ui.resultsTable
        table.clearContents()
        table.setRowCount(len(result.organs))
        table.setHorizontalHeaderLabels(list(headers(result)))
        for row, organ in enumerate(result.organs):
            for column, text in enumerate(cells(organ)):
                item = qt.QTableWidgetItem(short(text))
                if column:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(row, column, item)
            segment = segmentation.GetSegmentation().GetSegment(organ["name"]) if segmentation is not None else None
            if segment is not None:
                table.item(row, 0).setIcon(_swatch(segment.GetColor()))
        rows = min(len(result.organs), MOST_ROWS) * table.verticalHeader().defaultSectionSize
        table.setFixedHeight(rows + table.horizontalHeader().sizeHint.height() + 2 * table.frameWidth)

    def _jump(self, row: int, column: int) -> None:
        """Show the middle of an organ in all slice views."""
        result, (segmentation, _volume) = self.shown, self._nodes()
        if result is None or segmentation is None or not result.organs[row]["found"]:
            return
        middle = segmentation.GetSegmentCenterRAS(result.organs[row]["name"])
        if middle is not None:
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *middle, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def _swatch(colour: tuple[float, float, float]) -> Any:
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor(*(int(255 * part) for part in colour)))
    return qt.QIcon(pixmap)
