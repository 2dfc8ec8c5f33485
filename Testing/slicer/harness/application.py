"""`slicer.app`: what a module asks of the running application, without windows and without a person."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from . import slots
from .pythonqt import unwrap, wrap

SETTINGS_FOLDER = tempfile.TemporaryDirectory(prefix="harness-settings-", ignore_cleanup_errors=True)


class Signals:
    """The signals of an object that is no QObject here; connecting to one that the real object lacks is refused."""

    SIGNALS: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._receivers: dict[str, list[Callable[..., Any]]] = {signal: [] for signal in self.SIGNALS}

    def connect(self, signal: str, receiver: Callable[..., Any]) -> bool:
        if signal not in self._receivers:
            raise ValueError(
                f"{type(self).__name__} has no signal '{signal}'; the harness knows {', '.join(self.SIGNALS)}"
            )
        self._receivers[signal].append(receiver)
        return True

    def disconnect(self, signal: str, receiver: Callable[..., Any]) -> bool:
        self._receivers[signal].remove(receiver)
        return True

    def fire(self, signal: str, *arguments: Any) -> None:
        """Not in Slicer: a test's way to say that it happened."""
        for receiver in list(self._receivers[signal]):
            slots.guarded(receiver, wrap)(*arguments)


class ModuleManager(Signals):
    """`slicer.app.moduleManager()`: the loaded modules by name."""

    SIGNALS = ("moduleLoaded(QString)", "moduleAboutToBeUnloaded(QString)", "modulesLoaded(QStringList)")

    def __init__(self) -> None:
        super().__init__()
        self.modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self.modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self.modules)


class Application(Signals):
    """`slicer.app`. `testing` and `main_window_wanted` are the tests' switches; the rest is named as in Slicer 5.12."""

    SIGNALS = ("startupCompleted()", "aboutToQuit()", "lastWindowClosed()", "mrmlSceneChanged(vtkMRMLScene*)")
    applicationName = "Slicer"
    applicationVersion = "5.12.3"
    majorVersion, minorVersion = 5, 12
    revision = "00000"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, scene: Any, logic: Any) -> None:
        super().__init__()
        self.native = QApplication.instance() or QApplication([sys.argv[0]])
        self.native.setOrganizationName("NA-MIC")
        self.native.setApplicationName("Slicer")
        for scope in (QSettings.Scope.UserScope, QSettings.Scope.SystemScope):
            QSettings.setPath(QSettings.Format.IniFormat, scope, SETTINGS_FOLDER.name)
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        self.testing = False
        self.temporaryPath = tempfile.gettempdir()
        self.slicerHome = SETTINGS_FOLDER.name
        self.exit_code: int | None = None
        self._scene, self._logic, self._modules = scene, logic, ModuleManager()

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def layoutManager(self) -> None:
        """None, as in a Slicer without main window."""

    def processEvents(self, *arguments: Any) -> None:
        self.native.processEvents(*arguments)

    def topLevelWidgets(self) -> tuple[Any, ...]:
        return wrap(self.native.topLevelWidgets())

    def testingEnabled(self) -> bool:
        return self.testing

    def commandOptions(self) -> Any:
        return SimpleNamespace(
            noMainWindow=slicer.util.mainWindow() is None,
            testingEnabled=self.testing,
            runPythonAndExit=False,
            verboseModuleDiscovery=False,
        )

    def settings(self) -> Any:
        return wrap(QSettings())

    userSettings = settings
    revisionUserSettings = settings

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def setOverrideCursor(self, cursor: Any) -> None:
        self.native.setOverrideCursor(unwrap(cursor))

    def restoreOverrideCursor(self) -> None:
        self.native.restoreOverrideCursor()

    def clipboard(self) -> Any:
        return wrap(self.native.clipboard())

    def thread(self) -> Any:
        return wrap(self.native.thread())

    def palette(self) -> Any:
        return wrap(self.native.palette())

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def moduleDocumentationUrl(self, module_name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{module_name.lower()}.html"

    def exit(self, code: int = 0) -> None:
        self.exit_code = code
