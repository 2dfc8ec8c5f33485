"""The tab "Several volumes": volumes of the scene, or a folder of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SAMoraSlicer.panel.hint import Hint
from SAMoraSlicer.panel.settings import remembered

INPUT_SETTING, OUTPUT_SETTING = "SAMora/BatchInput", "SAMora/BatchOutput"
SCENE, FOLDER = 0, 1  # entries of the combo box


class BatchTab:
    """What the batch works on; folders are remembered as preferences."""

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui, self._changed = ui, changed
        ui.inputFolder.currentPath = remembered(INPUT_SETTING)
        ui.outputFolder.currentPath = remembered(OUTPUT_SETTING)
        ui.batchSource.connect("currentIndexChanged(int)", self._source_chosen)
        ui.sceneVolumes.connect("checkedNodesChanged()", changed)
        ui.allVolumesButton.connect("clicked(bool)", self.check_all)
        ui.inputFolder.connect("currentPathChanged(QString)", self._folder_chosen)
        ui.outputFolder.connect("currentPathChanged(QString)", self._folder_chosen)
        self._source_chosen()

    @property
    def chosen(self) -> bool:
        """Whether this tab is in front."""
        return self.ui.tabs.currentIndex == self.ui.tabs.indexOf(self.ui.batchTab)

    @property
    def from_folder(self) -> bool:
        return self.ui.batchSource.currentIndex == FOLDER

    @property
    def volumes(self) -> list[Any]:
        """The checked volumes of the scene."""
        return list(self.ui.sceneVolumes.checkedNodes())

    @property
    def folders(self) -> tuple[Path, Path]:
        """Where to read and where to write."""
        return Path(self.ui.inputFolder.currentPath), Path(self.ui.outputFolder.currentPath)

    def check_all(self) -> None:
        """Check every volume of the scene."""
        for node in self.ui.sceneVolumes.uncheckedNodes():
            self.ui.sceneVolumes.setCheckState(node, qt.Qt.Checked)

    def hint(self) -> Hint | None:
        """What is still to be chosen; None if nothing is."""
        if self.from_folder:
            if not self.ui.inputFolder.currentPath.strip():
                return Hint(_("Choose the folder to read from."))
            if not self.ui.outputFolder.currentPath.strip():
                return Hint(_("Choose the folder to write to."))
        elif not self.volumes:
            if self.ui.sceneVolumes.uncheckedNodes():
                return Hint(_("Check the volumes to segment."), _("All volumes"), self.check_all)
            return Hint(_("The scene holds no volume; load some, or choose a folder of files."))
        return None

    def _source_chosen(self) -> None:
        for widget in (self.ui.sceneVolumesLabel, self.ui.sceneVolumes, self.ui.allVolumesButton):
            widget.visible = not self.from_folder
        for widget in (self.ui.inputFolderLabel, self.ui.inputFolder, self.ui.outputFolderLabel, self.ui.outputFolder):
            widget.visible = self.from_folder
        self._changed()

    def _folder_chosen(self) -> None:
        qt.QSettings().setValue(INPUT_SETTING, self.ui.inputFolder.currentPath)
        qt.QSettings().setValue(OUTPUT_SETTING, self.ui.outputFolder.currentPath)
        self._changed()
