"""Python modules of Slicer: the base classes that SAMora.py derives from, and loading it as Slicer loads it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import qt
import shiboken6
import slicer
from PySide6.QtCore import Property
from PySide6.QtWidgets import QLayout, QVBoxLayout

from .mrml_widgets import qMRMLWidget
from .pythonqt import unwrap, wrap


class qSlicerScriptedLoadableModule:
    """What the module class is given as `parent`, with the C++ class' properties and no others."""

    __slots__ = (
        "_widget",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path, self._widget = name, str(path), None
        self.widgetRepresentationCreationEnabled = True

    def widgetRepresentation(self) -> Any:
        """The module's widget, made and set up at the first call, as Slicer does when the module is first shown."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        made = wrap(qSlicerScriptedLoadableModuleWidget(self.name))
        made.setMRMLScene(slicer.mrmlScene)
        unwrap(made).set_up()
        return made

    def end(self) -> None:
        """What the end of the application does: exit, cleanup, widget deleted."""
        if self._widget is None:
            return
        if self._widget.isEntered:
            self._widget.exit()
        slicer.app.moduleManager().fire("moduleAboutToBeUnloaded(QString)", self.name)
        shiboken6.delete(unwrap(self._widget))
        delattr(slicer.modules, f"{self.name}Widget")

    def logic(self) -> None:
        """None: in Slicer too the logic of a Python module is an attribute of its widget."""


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The C++ widget around a module's Python widget."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._module, self._python, self._entered = name, None, False
        QVBoxLayout(self).setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)  # Slicer scrolls it

    def set_up(self) -> None:
        self._python = getattr(sys.modules[self._module], f"{self._module}Widget")(wrap(self))
        setattr(slicer.modules, f"{self._module}Widget", self._python)
        self._python.setup()

    def self(self) -> Any:
        return self._python

    def enter(self) -> None:
        self._entered = True
        call(self._python, "enter")

    def exit(self) -> None:
        self._entered = False
        call(self._python, "exit")

    isEntered = Property(bool, lambda self: self._entered)


def call(target: Any, name: str) -> None:
    """Slicer calls enter, exit and cleanup only where the Python class has them."""
    getattr(target, name, lambda: None)()


class ScriptedLoadableModule:
    def __init__(self, parent: qSlicerScriptedLoadableModule) -> None:
        self.parent, self.moduleName = parent, type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        for ending in (".svg", ".png"):
            icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}{ending}"
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        address = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information see the <a href="{address}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **arguments: Any) -> None:
        getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")().runTest(**arguments)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent or wrap(qSlicerScriptedLoadableModuleWidget(self.moduleName))
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """The "Reload & Test" section of the developer mode is left out."""

    def cleanup(self) -> None:
        pass

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The first of the module's parameter nodes, made if there is none."""
        known = self.getAllParameterNodes()
        return known[0] if known else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if self.moduleName in (node.GetAttribute("ModuleName"), node.GetSingletonTag())]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.enableScreenshots, self.screenshotScaleFactor, self.messageDelay = False, 1.0, 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, 0)

    def runTest(self) -> None:
        logging.warning("No test is defined in %s", type(self).__name__)


def build() -> types.ModuleType:
    """The module `slicer.ScriptedLoadableModule`, for `from slicer.ScriptedLoadableModule import *`."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    module.__all__ = [name for name in globals() if name.startswith("ScriptedLoadableModule")]
    for name in module.__all__:
        setattr(module, name, globals()[name])
    return module


def load(path: Path) -> types.ModuleType:
    """Imports a module's file as Slicer does: its folder goes on sys.path, and the module class is instantiated."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    python = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    try:
        spec.loader.exec_module(python)
    except BaseException:
        del sys.modules[name]
        raise
    module = qSlicerScriptedLoadableModule(name, path)
    getattr(python, name)(module)
    slicer.app.moduleManager().modules[name] = module
    setattr(slicer.modules, name.lower(), module)
    return python


def unload(name: str) -> None:
    """Ends a module and forgets its names, so that the next `load` starts afresh."""
    slicer.app.moduleManager().modules.pop(name).end()
    delattr(slicer.modules, name.lower())
    sys.modules.pop(name, None)
