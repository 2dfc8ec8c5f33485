"""The choice of the model and of the organs to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SAMoraSlicer.models import Model, titles
from SAMoraSlicer.panel.hint import short
from SAMoraSlicer.panel.settings import remembered
from SAMoraSlicer.panel.setup import details

MODEL_SETTING = "SAMora/Model"
FEWEST_ROWS, LINE_PIXELS = 3, 16  # of the list of organs, also of none


class ModelChoice:
    """Combo box of models, and the check list of the chosen one's organs.

    The choice belongs to the case and is kept in the parameter node; the last one is the next case's default.

    Attributes:
        absent: id of the model that the scene has chosen and that is not on this computer; "" otherwise.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui, self._changed = ui, changed
        self._parameters: Any = None
        self._models: list[Model] = []
        self._listed: Model | None = None
        self.absent = ""
        ui.modelSelector.connect("currentIndexChanged(int)", self._model_chosen)
        ui.organsList.connect("itemChanged(QListWidgetItem*)", self._organ_changed)
        ui.allOrgansButton.connect("clicked(bool)", lambda: self._check(qt.Qt.Checked))
        ui.noOrgansButton.connect("clicked(bool)", lambda: self._check(qt.Qt.Unchecked))

    @property
    def model(self) -> Model | None:
        name = self.ui.modelSelector.currentData
        return next((model for model in self._models if model.id == name), None)

    @property
    def organs(self) -> list[str] | None:
        """The names that are checked; None for all of them."""
        checked = self._names(qt.Qt.Checked)
        return None if len(checked) == self.ui.organsList.count else checked

    def bind(self, parameters: Any) -> None:
        """Follow this parameter node from now on; None while a scene closes."""
        self._parameters = parameters
        self.read()

    def offer(self, models: Sequence[Model]) -> None:
        """Show these models; the choice stays if it is among them, and is forgotten if it was deleted here."""
        offered = {model.id for model in models}
        gone = {model.id for model in self._models} - offered
        self._models = list(models)
        if self._parameters is not None and self._parameters.model in gone:
            self._parameters.model = ""
        selector = self.ui.modelSelector
        blocked = selector.blockSignals(True)
        selector.clear()
        for model in models:
            selector.addItem(_label(model), model.id)
        selector.blockSignals(blocked)
        self._listed = None
        self.read()

    def select(self, name: str) -> None:
        """Choose a model by its id."""
        index = self.ui.modelSelector.findData(name)
        if index >= 0:
            self.ui.modelSelector.currentIndex = index

    def check_all(self) -> None:
        self._check(qt.Qt.Checked)

    def read(self) -> None:
        """Show what the parameter node says: a saved scene may have been loaded."""
        selector = self.ui.modelSelector
        of_scene = self._parameters.model if self._parameters else ""
        wanted = of_scene or remembered(MODEL_SETTING)
        index = selector.findData(wanted)
        self.absent = of_scene if index < 0 else ""  # another one must not take its place without a word
        if not self.absent:
            index = max(0, index)
        blocked = selector.blockSignals(True)
        selector.currentIndex = index if self._models else -1
        selector.blockSignals(blocked)
        self._list_organs()

    def _model_chosen(self) -> None:
        name = self.ui.modelSelector.currentData or ""
        qt.QSettings().setValue(MODEL_SETTING, name)
        if self._parameters is not None:
            self._parameters.model = name
        self._list_organs()
        self._changed()

    def _list_organs(self) -> None:
        """One line per organ of the model; those of the node's ``skippedOrgans`` are unchecked."""
        organs, model = self.ui.organsList, self.model
        skipped = self._parameters.skippedOrgans if self._parameters is not None else []
        blocked = organs.blockSignals(True)
        if self._listed != model:
            self._listed = model
            self._fill(titles(model) if model is not None else {})
        for item in self._items():
            item.setCheckState(qt.Qt.Unchecked if item.data(qt.Qt.UserRole) in skipped else qt.Qt.Checked)
        organs.blockSignals(blocked)
        organs.enabled = model is not None and model.usable
        self.ui.modelInfo.text = details(model) if model is not None else _("No model is installed.")

    def _fill(self, named: Mapping[str, str]) -> None:
        organs = self.ui.organsList
        organs.clear()
        for name, title in named.items():
            item = qt.QListWidgetItem(short(title))
            item.setData(qt.Qt.UserRole, name)
            item.setCheckState(qt.Qt.Checked)
            organs.addItem(item)  # now the list's: not every PythonQt gives it away in the constructor
        rows = max(FEWEST_ROWS, len(named) // 2 + 1)  # two columns, and room for a scroll bar below
        organs.setFixedHeight(rows * max(LINE_PIXELS, organs.sizeHintForRow(0)) + 2 * organs.frameWidth)

    def _organ_changed(self) -> None:
        if self._parameters is not None:
            self._parameters.skippedOrgans = self._names(qt.Qt.Unchecked)
        self._changed()

    def _check(self, state: Any) -> None:
        blocked = self.ui.organsList.blockSignals(True)
        for item in self._items():
            item.setCheckState(state)
        self.ui.organsList.blockSignals(blocked)
        self._organ_changed()

    def _items(self) -> list[Any]:
        return [self.ui.organsList.item(row) for row in range(self.ui.organsList.count)]

    def _names(self, state: Any) -> list[str]:
        return [item.data(qt.Qt.UserRole) for item in self._items() if item.checkState() == state]


def _label(model: Model) -> str:
    title = short(model.title)
    if model.problem:
        return _("{title} (cannot be used)").format(title=title)
    return title if model.path is not None else _("{title} (to be downloaded)").format(title=title)
