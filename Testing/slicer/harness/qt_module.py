"""The module `qt`: PySide6's classes in one flat namespace, as PythonQt has them, and nothing that waits for anyone."""

from __future__ import annotations

import types
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets

from .pythonqt import class_of, method

SOURCES = (QtCore, QtGui, QtWidgets, QtNetwork)
MODAL_STATICS = {
    "QMessageBox": ("about", "critical", "information", "question", "warning"),
    "QFileDialog": ("getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName"),
    "QInputDialog": ("getDouble", "getInt", "getItem", "getMultiLineText", "getText"),
    "QColorDialog": ("getColor",),
}
NOT_IN_PYTHONQT = ("Signal", "Slot", "Property", "QtMsgType")  # PySide6's own ways


class PopUp(RuntimeError):
    """A modal window was about to open. In a test that wants its answer, `monkeypatch` the call that opens it."""


def build() -> types.ModuleType:
    """The `qt` module, without QUiLoader (ui_files.py adds it). Its names are looked up at their first use."""
    module = types.ModuleType("qt", __doc__)
    module.__getattr__ = exposed
    for name, functions in MODAL_STATICS.items():
        for function in functions:
            setattr(exposed(name), function, staticmethod(refusal(f"qt.{name}.{function}")))
    for name in ("QDialog", "QMenu"):
        exposed(name).exec_ = exposed(name).exec = refusal(f"qt.{name}.exec_")
    return module


def exposed(name: str) -> Any:
    """The class, function or namespace `name` of Qt, wrapped where it is a class or function."""
    source = next((s for s in SOURCES if hasattr(s, name)), None)
    if source is None or name.startswith("_") or name in NOT_IN_PYTHONQT:
        raise AttributeError(f"qt has no attribute named '{name}'")
    value = getattr(source, name)
    if isinstance(value, type) and issubclass(value, shiboken6.Object):
        return class_of(value)
    return method(value) if isinstance(value, types.BuiltinFunctionType) else value


def refusal(name: str) -> Any:
    def refuse(*arguments: Any) -> None:
        title = getattr(arguments[0], "windowTitle", "") if arguments else ""
        text = getattr(arguments[0], "text", "") if arguments else ""
        raise PopUp(f"{name} would wait for a person to answer: {title} {text} {arguments}")

    return refuse
