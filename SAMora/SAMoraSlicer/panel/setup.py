"""The section "Setup": packages and models, what is missing of them, and the buttons that bring it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SAMoraLib.system.signals import describe_exit
from SAMoraSlicer import dependencies
from SAMoraSlicer.model_files import deletable, delete, download_arguments, install_from_file, partial_bytes
from SAMoraSlicer.models import ENDING, FOLDER_SETTING, Model, catalogue, models_folder
from SAMoraSlicer.panel.hint import Hint, duration, megabytes, plain, short
from SAMoraSlicer.process import ChildProcess, child_environment, python_command
from SAMoraSlicer.run import unforeseen

PACKAGES = " packages"  # no id of a model begins with a space
LONGEST_LINE = 500
FEWEST_LINES, MOST_LINES = 2, 8  # of the list of models, without scrolling


class SetupSection:
    """Packages and models.

    Args:
        ui: the panel's widgets.
        changed: called when something became available or went away.
        arrived: called with the id of a model that was downloaded or installed.

    Attributes:
        missing: requirements that are not met.
        models: the catalogue.
        trouble: the sentence of what failed last, "" after a success.
        trouble_of: what it is about: a model's id, or `PACKAGES`.
    """

    def __init__(self, ui: Any, changed: Callable[[], None], arrived: Callable[[str], None]) -> None:
        self.ui, self._changed, self._arrived = ui, changed, arrived
        self.missing: list[str] = []
        self.models: list[Model] = []
        self.trouble = self.trouble_of = self.broken = ""
        self._download: ChildProcess | None = None
        self._downloading = ""
        self._was_ready: bool | None = None
        ui.installButton.connect("clicked(bool)", self.install)
        ui.downloadButton.connect("clicked(bool)", self._download_or_cancel)
        ui.deleteButton.connect("clicked(bool)", self.delete_chosen)
        ui.installFileButton.connect("clicked(bool)", self.install_file)
        ui.openFolderButton.connect("clicked(bool)", self.open_folder)
        ui.modelsTree.connect("itemSelectionChanged()", self._other_chosen)
        ui.modelsFolderEdit.currentPath = str(models_folder())
        ui.modelsFolderEdit.connect("currentPathChanged(QString)", self._set_folder)
        ui.modelsTree.setColumnWidth(0, 230)

    @property
    def ready(self) -> bool:
        return not self.missing and not self.broken and any(model.usable for model in self.models)

    @property
    def busy(self) -> bool:
        return self._download is not None

    def model(self, name: str) -> Model | None:
        """The model of that id."""
        return next((model for model in self.models if model.id == name), None)

    def look(self) -> None:
        """See anew what is there; the section folds when nothing is missing, and opens when something is."""
        self.missing, self.models = dependencies.missing(), catalogue()
        self._list_models()
        self._show()
        if self.ready != self._was_ready:
            self.ui.setupButton.collapsed = self._was_ready = self.ready
        self._changed()

    def packages_broken(self, sentence: str) -> None:
        """The packages are there and do not work, as only a child process can find out; "" if they do."""
        self.broken = sentence
        self.look()

    def install_hint(self) -> Hint:
        """What to say while packages are missing."""
        sentence = self._trouble_with(PACKAGES) or self.broken or _("Python packages are missing; Setup lists them.")
        return Hint(sentence, _("Install"), self.install)

    def model_hint(self, model: Model) -> Hint:
        """What to say of a model that cannot be used yet."""
        if self._downloading == model.id:
            sentence = _("'{title}' is being downloaded: {percent} %.").format(
                title=model.title, percent=self.ui.downloadProgress.value)
            return Hint(sentence, _("Cancel"), self.stop)
        if model.problem:
            text = _("Delete") if deletable(model) else ""
            return Hint(model.problem, text, lambda: self.delete(model) if text else None)
        there = partial_bytes(model)
        sentence = (_("{there} of {size} of '{title}' are on this computer.") if there else
                    _("'{title}' is not on this computer yet ({size})."))
        sentence = sentence.format(title=model.title, size=megabytes(model.size_bytes), there=megabytes(there))
        button = _("Resume") if there else _("Download")
        return Hint(self._trouble_with(model.id) or sentence, button, lambda: self.download(model))

    def install(self) -> None:
        """Install the missing packages, after asking once."""
        wanted = self.missing or dependencies.requirements()
        question = _("{sentence}\n\nInstall them into Slicer's Python now? This takes some minutes.").format(
            sentence=dependencies.sentence(wanted))
        if not agreed(question):
            return
        again = bool(self.broken) and not self.missing  # they are there and do not work
        self.trouble_of = PACKAGES
        self.trouble = self._tried(dependencies.remove_torch if again else lambda: dependencies.install(wanted))
        self.broken = ""
        self.look()

    def download(self, model: Model) -> None:
        """Start to fetch a model; `step` goes on with it."""
        if self._download is not None:
            return
        child, self.trouble_of = ChildProcess(), model.id
        self.ui.downloadProgress.value = 0
        self.trouble = self._tried(lambda: child.start([*python_command(), *download_arguments(model)],
                                                       child_environment()))
        if not self.trouble:
            self._download, self._downloading = child, model.id
        self._show()
        self._changed()

    def step(self) -> None:
        """Take in what the download says."""
        if self._download is None:
            return
        code = self._download.poll()  # before the events: once it has ended, none comes after them
        for event in self._download.events():
            if event["event"] == "progress":
                self.ui.downloadProgress.value = int(100 * event["fraction"])
            elif event["event"] == "error":
                self.trouble = event["message"]
        if code is not None:
            if code and not self.trouble:
                self.trouble = _("The download {how}; press Resume to go on.").format(how=describe_exit(code))
            self._end_download()

    def stop(self) -> None:
        """Cancel the download; what has come stays for the next one."""
        if self._download is not None:
            self._download.cancel()
            self._end_download()

    def install_file(self) -> None:
        """Ask for a checkpoint and copy it into the models folder."""
        path = qt.QFileDialog.getOpenFileName(self.ui.installFileButton, _("Install a model from a file"), "",
                                              _("Models") + f" (*{ENDING})")
        if path:
            self.trouble = self._tried(lambda: self._bring(install_from_file(path).id))
            self._show()

    def delete_chosen(self) -> None:
        if model := self._chosen():
            self.delete(model)

    def delete(self, model: Model) -> None:
        """Remove a model's file, after asking."""
        if agreed(_("Delete the model '{title}' from this computer?").format(title=short(model.title))):
            self.trouble_of = model.id
            self.trouble = self._tried(lambda: delete(model))
            self.look()

    def open_folder(self) -> None:
        """Show the models folder in the system's file manager."""
        folder = models_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.trouble = _("The folder '{folder}' cannot be made ({cause}); choose another models folder.").format(
                folder=folder, cause=error.strerror)
        else:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))
        self._show()

    def _set_folder(self, path: str) -> None:
        qt.QSettings().setValue(FOLDER_SETTING, path.strip())
        self.look()

    def _download_or_cancel(self) -> None:
        model = self._chosen()
        if self.busy:
            self.stop()
        elif model is not None:
            self.download(model)

    def _end_download(self) -> None:
        name, self._download, self._downloading = self._downloading, None, ""
        model = next((model for model in catalogue() if model.id == name), None)
        if model is not None and model.usable:
            self._bring(name)
        else:
            self.look()

    def _bring(self, name: str) -> None:
        """Show a model that is new on this computer, in the list and as the choice."""
        self.look()
        self._choose(name)
        self._arrived(name)

    @staticmethod
    def _tried(action: Callable[[], str | None]) -> str:
        """The sentence of what went wrong, or "" (or what the action itself says)."""
        qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
        try:
            return action() or ""
        except (ValueError, OSError, RuntimeError) as error:
            return str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("unforeseen")  # into Slicer's own log
            return unforeseen(error, _("Setup was at work"))
        finally:
            qt.QApplication.restoreOverrideCursor()

    def _list_models(self) -> None:
        tree = self.ui.modelsTree
        chosen = self._chosen()
        blocked = tree.blockSignals(True)
        tree.clear()
        for model in self.models:
            item = qt.QTreeWidgetItem()
            tree.addTopLevelItem(item)  # now the tree's: not every PythonQt gives it away in the constructor
            item.setText(0, short(model.title))
            item.setText(1, _state(model))
            item.setToolTip(0, plain(short(model.title)))
            item.setData(0, qt.Qt.UserRole, model.id)
            if chosen is not None and model.id == chosen.id:
                tree.setCurrentItem(item)
        if tree.currentItem() is None and self.models:
            tree.setCurrentItem(tree.topLevelItem(0))
        tree.blockSignals(blocked)
        lines = min(max(len(self.models), FEWEST_LINES), MOST_LINES) + 1  # with the header
        tree.setFixedHeight(lines * (tree.fontMetrics().height() + 5) + 2 * tree.frameWidth)

    def _choose(self, name: str) -> None:
        tree = self.ui.modelsTree
        for row in range(tree.topLevelItemCount):
            if tree.topLevelItem(row).data(0, qt.Qt.UserRole) == name:
                tree.setCurrentItem(tree.topLevelItem(row))

    def _chosen(self) -> Model | None:
        item = self.ui.modelsTree.currentItem()
        return self.model(item.data(0, qt.Qt.UserRole)) if item is not None else None

    def _show(self) -> None:
        installed = not self.missing and not self.broken
        self.ui.dependenciesLabel.text = self.broken or dependencies.sentence(self.missing)
        self.ui.installButton.visible = not installed
        if self.ready:
            self.ui.setupButton.text = _("Setup: ready")
        else:
            self.ui.setupButton.text = _("Setup: packages are missing") if not installed else _("Setup: no model yet")
        self._show_chosen()

    def _trouble_with(self, what: str) -> str:
        return self.trouble if self.trouble_of == what else ""

    def _other_chosen(self) -> None:
        self.trouble = ""
        self._show_chosen()

    def _show_chosen(self) -> None:
        ui, model = self.ui, self._chosen()
        can_download = model is not None and model.path is None and bool(model.urls)
        ui.setupModelLabel.text = self.trouble or (details(model) if model is not None else "")
        begun = model is not None and can_download and partial_bytes(model) > 0
        ui.downloadButton.text = _("Cancel") if self.busy else _("Resume") if begun else _("Download")
        ui.downloadButton.enabled = self.busy or can_download
        ui.downloadProgress.visible = self.busy
        ui.deleteButton.enabled = model is not None and not self.busy and deletable(model)


def agreed(question: str) -> bool:
    """Whether the person wants it; without a main window nobody could answer, and the click was the answer."""
    return slicer.util.mainWindow() is None or slicer.util.confirmOkCancelDisplay(plain(question))


def details(model: Model) -> str:
    """What is known of a model, in up to three lines."""
    if model.problem:
        return model.problem
    organs = _("{count} organs").format(count=len(model.organs))
    modality = _("CT and MR") if model.modality == "any" else model.modality
    facts = [modality, organs, megabytes(model.size_bytes), model.licence]
    lines = [" · ".join(fact for fact in facts if fact), _times(model), model.description]
    return "\n".join(short(line, LONGEST_LINE) for line in lines if line)


def _times(model: Model) -> str:
    named = ((_("CPU"), model.cpu_seconds), (_("GPU"), model.gpu_seconds))
    times = ", ".join(f"{duration(seconds)} ({name})" for name, seconds in named if seconds is not None)
    return _("{times} for {what}").format(times=times, what=model.measured_on) if times else ""


def _state(model: Model) -> str:
    if model.problem:
        return _("cannot be used")
    if model.path is not None:
        return _("yes, {size}").format(size=megabytes(model.size_bytes))
    if there := partial_bytes(model):
        return f"{100 * there // max(1, model.size_bytes)} %"
    return _("no, {size}").format(size=megabytes(model.size_bytes))
