"""CTK's widgets that a module may use, as far as a module can see them: properties, signals, and a picture to click."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QChildEvent, QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractButton,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QWidget,
)


def stored(kind: type | str, name: str, default: Any) -> Property:
    """A property that is kept and given back, and does nothing else here."""
    key = f"_{name}"
    return Property(kind, lambda self: getattr(self, key, default), lambda self, value: setattr(self, key, value))


class ctkCollapsibleButton(QAbstractButton):
    """A titled section that a click on its title folds away; what its user hid before stays hidden when it opens."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._header = self.fontMetrics().height() + 10
        self._folding = False
        self._hidden: set[QWidget] = set()
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._header, 0, 0)
        self.toggled.connect(self._fold)

    def _fold(self, opened: bool) -> None:
        for child in self.children():
            if isinstance(child, QWidget):
                self._show(child)
        self.setMaximumHeight(16777215 if opened else self._header)
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def _show(self, child: QWidget) -> None:
        """Shows or hides a child as it now should be, without that counting as its user's wish."""
        self._folding = True
        child.setVisible(self.isChecked() and child not in self._hidden)
        if child not in self._hidden:  # or Qt would not tell of a later hide()
            child.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._folding = False

    def childEvent(self, event: QChildEvent) -> None:
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)

    def eventFilter(self, child: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.HideToParent and not self._folding:
            self._hidden.add(child)
        elif event.type() == QEvent.Type.ShowToParent and not self._folding:
            self._hidden.discard(child)
            if not self.isChecked():
                self._show(child)
        return False

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))

    def sizeHint(self) -> QSize:
        if not self.isChecked() or self.layout() is None:
            return QSize(200, self._header)
        return self.layout().totalSizeHint()

    def minimumSizeHint(self) -> QSize:
        return (
            QSize(100, self._header)
            if not self.isChecked() or self.layout() is None
            else self.layout().totalMinimumSize()
        )

    def hitButton(self, position) -> bool:
        return position.y() < self._header

    def paintEvent(self, event) -> None:
        painter, option = QPainter(self), QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._header)
        option.text = ("▾  " if self.isChecked() else "▸  ") + self.text()
        self.style().drawControl(QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        painter.drawText(option.rect.adjusted(8, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, option.text)


class ctkSliderWidget(QWidget):
    """A slider with a spin box beside it; `value` is a float."""

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.setRange(0, 100)
        self._slider.setRange(0, 1000)
        self._box.valueChanged.connect(self._show)
        self._box.valueChanged.connect(self.valueChanged.emit)
        self._slider.sliderMoved.connect(self._moved)

    def _show(self, value: float) -> None:
        span = self._box.maximum() - self._box.minimum()
        self._slider.setValue(round(1000 * (value - self._box.minimum()) / span) if span else 0)

    def _moved(self, position: int) -> None:
        self._box.setValue(self._box.minimum() + position / 1000 * (self._box.maximum() - self._box.minimum()))

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    value = Property(float, lambda self: self._box.value(), setValue)
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, value: self._box.setMinimum(value))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, value: self._box.setMaximum(value))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, value: self._box.setSingleStep(value)
    )
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._box.setDecimals(value))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, value: self._box.setSuffix(value))


class ctkPathLineEdit(QWidget):
    """A line for a path and a button to browse; the button opens nothing here."""

    currentPathChanged = Signal(str)
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 1, 2, 4, 8, 16, 32, 64  # QDir's filters

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QLineEdit()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        layout.addWidget(QPushButton("…"))
        self._line.textChanged.connect(self.currentPathChanged.emit)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        pass

    currentPath = Property(str, lambda self: self._line.text(), setCurrentPath)
    filters = stored(int, "filters", Files)
    nameFilters = stored("QStringList", "nameFilters", ())
    settingKey = stored(str, "settingKey", "")
    label = stored(str, "label", "")
    showBrowseButton = stored(bool, "showBrowseButton", True)
    showHistoryButton = stored(bool, "showHistoryButton", True)


class ctkMessageBox(QMessageBox):
    """What `slicer.util.messageBox` opens; under the harness opening one is an error (qt_module.PopUp)."""

    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")


STAND_INS = {name: value for name, value in list(vars().items()) if name.startswith("ctk")}
