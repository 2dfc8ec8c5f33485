"""Starting the harness and what tests and pictures do with it."""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_main_windows: list[Any] = []


def start() -> None:
    """Makes `slicer`, `qt`, `ctk` and `vtk` importable as inside Slicer. Only the first call does anything.

    ImportError if slicer-core or PySide6 is not installed.
    """
    if "qt" in sys.modules:
        return
    import slicer

    from . import qt_module, scene

    sys.modules["qt"] = qt_module.build()
    slicer.mrmlScene, application_logic, modules = scene.start()
    slicer.modules = scene.namespace(modules)
    _add_widgets(slicer)

    from .application import Application

    slicer.app = Application(slicer.mrmlScene, application_logic)
    slicer.app.moduleManager().modules.update(modules)
    _add_python_modules(slicer)


def _add_widgets(slicer: types.ModuleType) -> None:
    """qMRML* classes belong to `slicer`, ctk* to `ctk`, and QUiLoader makes both."""
    from . import ctk_widgets, mrml_widgets, ui_files
    from .pythonqt import class_of

    sys.modules["ctk"] = types.ModuleType("ctk")
    for module, stand_ins in ((sys.modules["ctk"], ctk_widgets.STAND_INS), (slicer, mrml_widgets.STAND_INS)):
        for name, native in stand_ins.items():
            setattr(module, name, class_of(native))
    sys.modules["qt"].QUiLoader = ui_files.UiLoader


def _add_python_modules(slicer: types.ModuleType) -> None:
    from . import parameter_node, scripted_module, translation
    from .pythonqt import class_of

    slicer.qSlicerScriptedLoadableModule = scripted_module.qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = class_of(scripted_module.qSlicerScriptedLoadableModuleWidget)
    built = {
        "ScriptedLoadableModule": scripted_module.build(),
        "parameterNodeWrapper": parameter_node.build(),
        "i18n": translation.build(),
    }
    for name, module in built.items():
        setattr(slicer, name, module)
        sys.modules[f"slicer.{name}"] = module


def clear() -> None:
    """An empty scene, empty settings, and nothing left over from an earlier test."""
    import qt
    import slicer

    from . import slots

    slicer.app.testing = False
    slicer.app.exit_code = None
    while _main_windows:
        _main_windows.pop().deleteLater()
    slicer.mrmlScene.Clear(0)
    qt.QSettings().clear()
    slicer.app.processEvents()
    slots.errors.clear()


def slot_errors() -> list[Exception]:
    """What was raised in slots since the last `clear`. Slicer would have printed it and gone on."""
    from . import slots

    return list(slots.errors)


def open_main_window() -> Any:
    """A main window, for code that asks for one before it opens a dialog. Closed by `clear`."""
    import qt

    window = qt.QMainWindow()
    window.name = "qSlicerMainWindow"
    _main_windows.append(window)
    return window


def load_module(path: Path) -> types.ModuleType:
    """Loads a scripted module from its file as Slicer does at its start."""
    from . import scripted_module

    return scripted_module.load(Path(path).resolve())


def unload_module(name: str) -> None:
    """Ends a loaded module: exit, cleanup, widget deleted."""
    from . import scripted_module

    scripted_module.unload(name)


def make_widget(name: str) -> Any:
    """The Python widget of a loaded module, set up and entered, as if the person had just chosen it."""
    import slicer

    representation = slicer.app.moduleManager().module(name).widgetRepresentation()
    show(representation)
    representation.enter()
    return representation.self()


def show(widget: Any) -> None:
    """Makes a widget visible to itself and its children, without a window."""
    from PySide6.QtCore import Qt

    from .pythonqt import unwrap

    unwrap(widget).setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    unwrap(widget).show()


def click(widget: Any, x: int | None = None, y: int | None = None) -> None:
    """A real mouse click at (x, y) of a widget; by default half-way up near its left edge, where a check box is."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    from .pythonqt import unwrap

    native = unwrap(widget)
    middle = native.rect().center()
    at = QPoint(min(middle.x(), 10) if x is None else x, middle.y() if y is None else y)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Runs the event loop until `condition()` holds; TimeoutError if it does not within `seconds`."""
    import slicer

    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"Waited {seconds} s in vain")
        slicer.app.processEvents()
        time.sleep(0.005)


def screenshot(widget: Any, path: Path, width: int = 480, height: int | None = None) -> Path:
    """A picture of a widget, `width` pixels wide and as high as it wants to be (or `height`)."""
    import slicer

    from .pythonqt import unwrap

    show(widget)
    native = unwrap(widget)
    for _ in range(2):  # lines of wrapped text settle with the width
        wanted = native.heightForWidth(width) if native.hasHeightForWidth() else native.sizeHint().height()
        native.resize(width, height or wanted)
        slicer.app.processEvents()
    if not native.grab().save(str(path)):
        raise OSError(f"{path}: the picture could not be written")
    return Path(path)


def render_slice(
    volume: Any,
    path: Path,
    orientation: str = "Axial",
    centre: tuple[float, float, float] | None = None,
    size: int = 400,
) -> Path:
    """A slice of a volume node with the visible segmentations and regions on it; see views.slice_view."""
    from . import views

    return views.slice_view(volume, path, orientation, centre, size)


def render_3d(path: Path, size: int = 400, azimuth: float = 0.0) -> Path:
    """The visible surfaces of the scene; see views.three_d_view."""
    from . import views

    return views.three_d_view(path, size, azimuth)
