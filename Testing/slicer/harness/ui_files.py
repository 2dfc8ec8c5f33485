""".ui files with Slicer's and CTK's widgets in them: loaded by Qt's own QUiLoader, checked and connected here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtWidgets
from PySide6.QtCore import QBuffer, QByteArray
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QWidget

from . import ctk_widgets, mrml_widgets
from .pythonqt import Instance, properties, unwrap, wrap

NOT_QT_PROPERTIES = {"buddy"}  # Designer's own, which the loader turns into a call
STAND_INS: dict[str, type[QWidget]] = {**ctk_widgets.STAND_INS, **mrml_widgets.STAND_INS}


class StandInLoader(QUiLoader):
    """Qt's loader, which is given our class for every widget that Slicer adds to Qt's."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[QWidget] = []

    def createWidget(self, class_name: str, parent: QWidget | None = None, name: str = "") -> QWidget:
        if class_name in STAND_INS:
            widget = STAND_INS[class_name](parent)
            widget.setObjectName(name)
        else:
            widget = super().createWidget(class_name, parent, name)
        self.made.append(widget)
        return widget


class UiLoader:
    """`qt.QUiLoader` for slicer.util.loadUI."""

    def load(self, file: Any, parent: Any = None) -> Instance:
        """The top widget of an opened QFile; ValueError for a class, property, signal or slot that does not exist."""
        device = unwrap(file)
        root = ElementTree.fromstring(bytes(device.readAll()))
        check(root, Path(device.fileName()).name)
        connections = root.findall("connections/connection")
        for section in root.findall("connections"):
            root.remove(section)
        sets = take_sets(root)
        loader, buffer = StandInLoader(), QBuffer()
        buffer.setData(QByteArray(ElementTree.tostring(root)))
        buffer.open(QBuffer.OpenModeFlag.ReadOnly)
        top = loader.load(buffer, unwrap(parent))
        top.destroyed.connect(loader.made.clear)  # the connection keeps the Python halves of the stand-ins till then
        for name, attribute, value in sets:
            setattr(named(top, name), attribute, value)
        for connection in connections:
            connect(top, connection)
        return wrap(top)


def check(root: ElementTree.Element, file_name: str) -> None:
    """Refuses what Qt's loader would pass over: an unknown widget class, and a property that is not the widget's."""
    known = set(QUiLoader().availableWidgets()) | set(STAND_INS) | {"Line"}
    for widget in root.iter("widget"):
        kind, name = widget.get("class", ""), f"{file_name}: {widget.get('class')} '{widget.get('name')}'"
        if kind not in known:
            raise ValueError(f"{name} is of a class that neither Qt nor ctk_widgets.py nor mrml_widgets.py has")
        native = STAND_INS.get(kind) or getattr(QtWidgets, "QFrame" if kind == "Line" else kind)
        static = {p.get("name", "") for p in widget.findall("property") if p.get("stdset") != "0"} - NOT_QT_PROPERTIES
        for unknown in sorted(static - properties(native).keys()):
            raise ValueError(f"{name} has no property '{unknown}'; a dynamic one is marked with stdset=\"0\"")


def take_sets(root: ElementTree.Element) -> list[tuple[str, str, int]]:
    """Takes the <set> properties of the stand-ins out of the file: Qt's loader knows no flags of a Python class."""
    taken = []
    for widget in (w for w in root.iter("widget") if w.get("class") in STAND_INS):
        for attribute in [p for p in widget.findall("property") if p.find("set") is not None]:
            flags = [flag.split("::")[-1] for flag in (attribute.findtext("set") or "").split("|")]
            value = sum(getattr(STAND_INS[widget.get("class", "")], flag) for flag in flags)
            taken.append((widget.get("name", ""), attribute.get("name", ""), value))
            widget.remove(attribute)
    return taken


def connect(top: QWidget, connection: ElementTree.Element) -> None:
    """Makes one <connection> of the file, which may be between stand-ins and so beyond Qt."""
    text = {child.tag: child.text or "" for child in connection}
    sender, receiver = (named(top, text[end]) for end in ("sender", "receiver"))
    sender.connect(text["signal"], getattr(receiver, text["slot"].split("(")[0]))


def named(top: QWidget, name: str) -> Instance:
    found = top if top.objectName() == name else top.findChild(QWidget, name)
    if found is None:
        raise ValueError(f"A connection of the .ui file names '{name}', which is no widget of it")
    return wrap(found)
