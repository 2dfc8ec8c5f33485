"""3D Slicer without its application: slicer-core's real scene and logics and PySide6's real Qt, put together so that a
scripted module runs unmodified. README.md says what is imitated and why.

    harness.start()
    harness.load_module("SAMora/SAMora.py")
    widget = harness.make_widget("SAMora")
    harness.screenshot(widget.parent, "panel.png")
"""

from __future__ import annotations

import os

# Before PySide6 and VTK are imported: no screen, and enums that are ints, as PythonQt's are.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x03")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

from .session import (
    clear,
    click,
    load_module,
    make_widget,
    open_main_window,
    render_3d,
    render_slice,
    screenshot,
    slot_errors,
    start,
    unload_module,
    wait_until,
)

__all__ = [
    "clear",
    "click",
    "load_module",
    "make_widget",
    "open_main_window",
    "render_3d",
    "render_slice",
    "screenshot",
    "slot_errors",
    "start",
    "unload_module",
    "wait_until",
]
