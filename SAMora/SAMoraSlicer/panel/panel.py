"""The panel as a whole: its sections, what they work on, and what it says next."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SAMoraLib.request import Options, as_names
from SAMoraSlicer.nodes import check_volume
from SAMoraSlicer.panel.batch import BatchTab
from SAMoraSlicer.panel.device import DeviceChoice
from SAMoraSlicer.panel.hint import Hint
from SAMoraSlicer.panel.model import ModelChoice
from SAMoraSlicer.panel.results import ResultSection
from SAMoraSlicer.panel.run import RunSection
from SAMoraSlicer.panel.setup import SetupSection
from SAMoraSlicer.panel.speed import SpeedChoice
from SAMoraSlicer.panel.work import FolderWork, SceneWork, Work
from SAMoraSlicer.temporary import sweep

POLL_MILLISECONDS = 100


class Panel:
    """Puts the sections together; whatever changes in one, `refresh` shows what follows from it.

    Args:
        ui: the widgets of SAMora.ui.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        for folder in (slicer.app.temporaryPath, tempfile.gettempdir()):  # what a Slicer that was killed has left
            sweep(Path(folder))
        self.parameters: Any = None  # SAMoraParameterNode, or None while a scene closes or the module is not shown
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MILLISECONDS)
        self.timer.connect("timeout()", self.step)
        self._made = self._shown = False  # the sections call back while they are made
        self.results = ResultSection(ui, self._tell)
        self.run = RunSection(ui, self._finished)
        self.models = ModelChoice(ui, self._chosen)
        self.batch = BatchTab(ui, self._chosen)
        self.setup = SetupSection(ui, self._available, self.models.select)
        self.device = DeviceChoice(ui, self.setup.packages_broken, self._poll)
        self.speed = SpeedChoice(ui)
        self._made = True
        ui.applyButton.connect("clicked(bool)", self.apply_or_cancel)
        ui.tabs.connect("currentChanged(int)", self._chosen)
        self.setup.look()

    def enter(self) -> None:
        """The module is shown: packages and models may have come from elsewhere."""
        self._shown = True
        self.setup.look()

    def bind(self, parameters: Any) -> None:
        """Follow this parameter node; None: none."""
        self.parameters = parameters
        self.models.bind(parameters)
        self.refresh()

    def parameters_changed(self) -> None:
        """Something was chosen, here or by a script."""
        self.models.read()
        self._chosen()

    def parameters_set_back(self, names: Sequence[str]) -> None:
        """The scene said of this module what cannot be."""
        said = {"inputVolume": _("volume"), "region": _("region"), "outputSegmentation": _("segmentation"),
                "model": _("model"), "skippedOrgans": _("organs")}
        self._tell(_("The scene's choice of {what} was damaged and is forgotten; choose again before Apply.").format(
            what=", ".join(said[name] for name in names)))

    def scene_closes(self) -> None:
        """Everything that the results refer to goes away; a folder is another matter."""
        if isinstance(self.run.work, SceneWork):
            self.run.cancel()
            self.run.tell(_("Cancelled, because the scene was closed."))
        self.results.clear()

    def stop(self) -> None:
        """End all child processes."""
        self.timer.stop()
        self.run.cancel()
        self.setup.stop()
        self.device.stop()

    def apply_or_cancel(self) -> None:
        """Apply, or Cancel while something runs."""
        if self.run.busy:
            self.run.cancel()
        elif self._hint().ready:  # asked again: a path that was emptied tells nobody
            self.run.start(self._work)
        self._poll()
        self.refresh()

    def step(self) -> None:
        """Take in what the child processes say."""
        self.run.step()
        self.setup.step()
        self.device.step()
        self._poll()
        self.refresh()

    def refresh(self) -> None:
        """Show what follows from all that is chosen."""
        if self._made:
            self.run.show(Hint("") if self.run.busy else self._hint())

    def _poll(self) -> None:
        """The timer runs as long as a child process does."""
        busy = self.run.busy or self.setup.busy or self.device.busy
        if busy and not self.timer.isActive():
            self.timer.start()
        elif not busy:
            self.timer.stop()

    def _work(self) -> Work:
        model, organs = self.models.model, self.models.organs
        options = Options(as_names(organs), self.device.name, **self.speed.chosen,
                          assume_hu=self.ui.assumeHuCheckBox.checked)
        assert model is not None  # Apply is enabled only once there is one
        if self.batch.chosen and self.batch.from_folder:
            return FolderWork(*self.batch.folders, model, options)
        if self.batch.chosen:
            return SceneWork(self.batch.volumes, model, options)
        node = self.parameters
        return SceneWork([node.inputVolume], model, options, node.region, node.outputSegmentation)

    def _finished(self, work: Work) -> None:
        if results := work.results():
            self.results.show(results)
            self.ui.resultsButton.collapsed = False

    def _available(self) -> None:
        """Packages or models came or went, or a download goes on."""
        if self._made:
            self.models.offer(self.setup.models)
            if self._shown and self.setup.ready:
                self.device.ask_once()
            self._chosen()
            self._poll()

    def _chosen(self) -> None:
        """Something else was chosen: what was said of the last run is no longer of interest."""
        if self._made:
            self.run.message = None
            self.refresh()

    def _tell(self, sentence: str) -> None:
        self.run.tell(sentence)
        self.refresh()

    def _hint(self) -> Hint:
        """The first thing that is missing, or what was said last, or that all is ready."""
        setup, model = self.setup, self.models.model
        if setup.missing or setup.broken:
            return setup.install_hint()
        if self.models.absent:
            return Hint(_("The scene's model '{id}' is not on this computer; choose another, or install it.").format(
                id=self.models.absent), _("From file..."), setup.install_file)
        if model is None:
            return Hint(_("No model is installed."), _("From file..."), setup.install_file)
        if not model.usable:
            return setup.model_hint(model)
        if (missing := self.batch.hint() if self.batch.chosen else self._volume_hint()) is not None:
            return missing
        if self.models.organs == []:
            return Hint(_("No organ is checked."), _("All organs"), self.models.check_all)
        return self.run.message or Hint(_("Ready."), ready=True)

    def _volume_hint(self) -> Hint | None:
        volume = self.parameters.inputVolume if self.parameters is not None else None
        if volume is None:
            return Hint(_("Load a CT or MR volume."), _("Add data..."), _add_data)
        try:
            check_volume(volume)
        except ValueError as error:
            return Hint(str(error))
        return None


def _add_data() -> None:
    if slicer.util.mainWindow() is not None:
        slicer.app.ioManager().openAddDataDialog()
