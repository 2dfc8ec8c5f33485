"""What PySide6 forgives and PythonQt, Qt 5 or Python 3.9 does not, found in a source file without running it.

The harness refuses most of it at run time; this also reads the lines that no test reaches.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets
from PySide6.QtCore import QObject

from .pythonqt import ALIASES, normalized, properties, signatures
from .ui_files import STAND_INS

QT_MODULES = ("qt", "ctk")
FOREIGN_BINDINGS = ("PySide2", "PySide6", "PyQt5", "PyQt6", "shiboken6")
NEW_IN_QT6 = {  # attributes that Qt 5.15 does not have, where a person who knows Qt 6 would reach for them
    "checkStateChanged": "stateChanged(int)",
    "colorScheme": "slicer.app.palette()",
    "globalPosition": "globalPos()",
    "scenePosition": "pos()",
}
AT_FILE_SCOPE = {
    *sys.stdlib_module_names,
    "slicer",
    "qt",
    "ctk",
    "vtk",
    "numpy",
    "SAMoraLib",
    "SAMoraSlicer",
    "__future__",
}
UI_NAMES = ("self.ui", "ui")  # what slicer.util.childWidgetVariables gave
ALSO_ON_WRAPPERS = ("className", "connect", "disconnect", "delete", "help")


@dataclass
class Checker(ast.NodeVisitor):
    """Collects sentences about one file. `widgets`: class names of the .ui file's widgets, by name."""

    file: str
    widgets: dict[str, str]
    found: list[str] = field(default_factory=list)
    kinds: dict[str, type] = field(default_factory=dict)  # dotted name -> Qt class, where an assignment shows it

    def refuse(self, node: ast.AST, sentence: str) -> None:
        self.found.append(f"{self.file}:{getattr(node, 'lineno', 0)}: {sentence}")

    def visit_Module(self, node: ast.Module) -> None:
        for statement in node.body:
            self._check_import(statement)
        self.kinds = self._kinds_in(node, "self.")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside, self.kinds = self.kinds, self.kinds | self._kinds_in(node)
        self.generic_visit(node)
        self.kinds = outside

    def _kinds_in(self, scope: ast.AST, prefix: str = "") -> dict[str, type]:
        """The names of this scope that hold objects of one Qt class and are assigned nothing else (but None)."""
        stored = Counter(dotted(n) for n in ast.walk(scope) if isinstance(getattr(n, "ctx", None), ast.Store))
        values: dict[str, list[ast.expr]] = {}
        for assignment in (n for n in ast.walk(scope) if isinstance(n, ast.Assign)):
            for target in assignment.targets:
                values.setdefault(dotted(target), []).append(assignment.value)
        kinds = {}
        for name, found in values.items():
            known = {self.kind_of(v) for v in found if not (isinstance(v, ast.Constant) and v.value is None)}
            if name.startswith(prefix) and stored[name] == len(found) and len(known) == 1 and None not in known:
                kinds[name] = known.pop()
        return kinds

    def _check_import(self, statement: ast.stmt) -> None:
        """At file scope only what every Slicer brings along; the rest belongs into the function that needs it."""
        for name in imported(statement):
            if name.split(".")[0] not in (*AT_FILE_SCOPE, *FOREIGN_BINDINGS):
                self.refuse(statement, f"'{name}' is imported at file scope; import it in the function that uses it")

    def visit_Import(self, node: ast.Import) -> None:
        for name in imported(node):
            if name.split(".")[0] in FOREIGN_BINDINGS:
                self.refuse(node, f"'{name}' is not in Slicer; import qt")

    visit_ImportFrom = visit_Import

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if dotted(base).split(".")[0] in QT_MODULES:
                self.refuse(
                    node,
                    f"'{node.name}' derives from {dotted(base)}; PythonQt's subclasses differ, so compose",
                )
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted(node.func)
        if node.keywords and (name.split(".")[0] in QT_MODULES or qt_class(name) or self.is_qt_method(node.func)):
            self.refuse(
                node,
                f"{name}() is called with keywords, which PythonQt does not take; pass by position or set properties",
            )
        if name in ("qt.Signal", "qt.Slot", "qt.Property"):
            self.refuse(node, f"{name} is PySide6's; give the class a plain callback")
        if name == "_" and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant)):
            self.refuse(node, "_() must be given the text itself; format its result, or it cannot be translated")
        if isinstance(node.func, ast.Attribute):
            self._check_method(node, node.func)
        self.generic_visit(node)

    def _check_method(self, node: ast.Call, function: ast.Attribute) -> None:
        if function.attr == "exec":
            self.refuse(node, "exec() is Qt 6's; exec_() runs under both")
        if function.attr == "emit":
            self.refuse(node, "PythonQt's signals are emitted by calling them, and older Slicers have no emit()")
        kind = self.kind_of(function.value)
        if kind and is_property(kind, function.attr):
            self.refuse(node, f"'{function.attr}' of {kind.__name__} is a property under PythonQt; read it without ()")
        signature = node.args[0] if kind and function.attr in ("connect", "disconnect") and node.args else None
        if isinstance(signature, ast.Constant) and normalized(str(signature.value)) not in signatures(kind):
            self.refuse(node, f"{kind.__name__} has no signal '{signature.value}'")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in NEW_IN_QT6:
            self.refuse(node, f"'{node.attr}' is new in Qt 6; use {NEW_IN_QT6[node.attr]}")
        if is_scoped_enum(dotted(node)):
            self.refuse(node, f"{dotted(node)}: enum values are flat under PythonQt, e.g. qt.Qt.AlignLeft")
        if dotted(node.value) in UI_NAMES and node.attr not in self.widgets:
            self.refuse(node, f"the .ui file has no '{node.attr}'")
        kind = self.kind_of(node.value)
        if kind and not has_attribute(kind, node.attr):
            self.refuse(node, f"{kind.__name__} has no attribute '{node.attr}'")
        if (
            kind
            and isinstance(node.ctx, ast.Store)
            and has_attribute(kind, node.attr)
            and not is_property(kind, node.attr)
        ):
            self.refuse(node, f"'{node.attr}' of {kind.__name__} is no property and cannot be set")
        self.generic_visit(node)

    def is_qt_method(self, function: ast.AST) -> bool:
        return isinstance(function, ast.Attribute) and self.kind_of(function.value) is not None

    def kind_of(self, node: ast.AST) -> type | None:
        """The Qt class of an expression, where it can be told: a widget of the .ui file, or a name assigned once."""
        name = dotted(node.func) if isinstance(node, ast.Call) else dotted(node)
        if isinstance(node, ast.Call):
            return qt_class(name)
        owner, _, attribute = name.rpartition(".")
        return native_class(self.widgets.get(attribute, "")) if owner in UI_NAMES else self.kinds.get(name)


def check(source: Path, ui_file: Path | None = None) -> list[str]:
    """What is wrong with one source file, as `file:line: sentence`."""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"), filename=str(source), feature_version=(3, 9))
    except SyntaxError as error:
        return [f"{source.name}:{error.lineno}: {error.msg} (Slicer 5.8 has Python 3.9)"]
    checker = Checker(source.name, widget_classes(ui_file) if ui_file else {})
    checker.visit(tree)
    return checker.found


def widget_classes(ui_file: Path) -> dict[str, str]:
    """The class of each named widget of a .ui file."""
    return {widget.get("name", ""): widget.get("class", "") for widget in ElementTree.parse(ui_file).iter("widget")}


def imported(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        yield statement.module or "SAMoraSlicer"  # from . import ...


def dotted(node: ast.AST) -> str:
    """`self.ui.applyButton` as text; empty for anything but names and attributes."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}" if dotted(node.value) else ""
    return node.id if isinstance(node, ast.Name) else ""


def qt_class(name: str) -> type | None:
    """The class behind `qt.QTimer` or `ctk.ctkPathLineEdit`."""
    module, _, class_name = name.partition(".")
    return native_class(class_name) if module in (*QT_MODULES, "slicer") else None


def native_class(name: str) -> type | None:
    sources = (QtCore, QtGui, QtWidgets, QtNetwork)
    found = STAND_INS.get(name) or next((getattr(s, name) for s in sources if name and hasattr(s, name)), None)
    return found if isinstance(found, type) else None


def is_property(kind: type, name: str) -> bool:
    return issubclass(kind, QObject) and ALIASES.get(name, name) in properties(kind)


def has_attribute(kind: type, name: str) -> bool:
    return name in ALIASES or name in ALSO_ON_WRAPPERS or is_property(kind, name) or hasattr(kind, name)


def is_scoped_enum(name: str) -> bool:
    """`qt.Qt.AlignmentFlag.AlignLeft`, which is how PySide6 would have it."""
    parts = name.split(".")
    owner = native_class(parts[1]) if len(parts) == 4 and parts[0] in QT_MODULES else None
    return owner is not None and isinstance(getattr(owner, parts[2], None), type)
