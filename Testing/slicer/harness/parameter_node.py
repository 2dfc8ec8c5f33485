"""A small stand-in for `slicer.parameterNodeWrapper`: the same values in the same MRML node, bound to the same widgets.

Slicer's own is not in the slicer-core wheel, and ten times as long (packs, caching, generated panels).
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def check(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], value is {value}")


@dataclass(frozen=True)
class Choice:
    choices: list[Any]

    def check(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, value is {value}")


@dataclass(frozen=True)
class Default:
    value: Any


EMPTY = {bool: False, int: 0, float: 0.0, str: "", Path: Path(), list: [], dict: {}}


class Parameter:
    """One annotated attribute: its name in the node, how it is written there, its default, what it must satisfy."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.kind, *notes = (
            typing.get_args(annotation) if typing.get_origin(annotation) is typing.Annotated else (annotation,)
        )
        self.plain = typing.get_origin(self.kind) or self.kind
        self.checks = [note for note in notes if hasattr(note, "check")]
        self.default = next((note.value for note in notes if isinstance(note, Default)), default)
        if self.default is None and not self.is_node:
            self.default = self._first_default()

    @property
    def is_node(self) -> bool:
        options = [k for k in typing.get_args(self.kind) or (self.kind,) if k is not type(None)]
        return all(isinstance(k, type) and issubclass(k, slicer.vtkMRMLNode) for k in options)

    def _first_default(self) -> Any:
        choices = [check.choices for check in self.checks if isinstance(check, Choice)]
        if choices:
            return choices[0][0]
        if isinstance(self.plain, type) and issubclass(self.plain, enum.Enum):
            return next(iter(self.plain))
        if self.plain not in EMPTY:
            raise TypeError(f"Parameter '{self.name}': a parameter node cannot hold a {self.kind}")
        return EMPTY[self.plain]

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.plain is list:
            return self._read_list(node)
        if not node.HasParameter(self.name):
            return self.default
        text = node.GetParameter(self.name)
        if isinstance(self.plain, type) and issubclass(self.plain, enum.Enum):
            return self.plain[text]
        if self.plain in (str, Path):
            return self.plain(text)
        return text == "True" if self.plain is bool else self.plain(json.loads(text))

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            self._write_node(node, value)
            return
        if self.plain is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, self.plain) or (self.plain is int and isinstance(value, bool)):
            raise ValueError(f"Value must be of type '{self.kind}', value is {value!r}")
        for check in self.checks:
            check.check(value)
        if self.plain is list:
            self._write_list(node, value)
        else:
            node.SetParameter(self.name, self._text(value))

    def is_in(self, node: Any) -> bool:
        return self.is_node or bool(node.HasParameter(f"{self.name}_len" if self.plain is list else self.name))

    def _read_list(self, node: Any) -> list[Any]:
        """As Slicer keeps lists: their length and every item, each a parameter."""
        if not node.HasParameter(f"{self.name}_len"):
            return list(self.default)
        kind = (*typing.get_args(self.kind), str)[0]
        return [kind(node.GetParameter(f"{self.name}_{number}"))
                for number in range(int(node.GetParameter(f"{self.name}_len")))]

    def _write_list(self, node: Any, value: list[Any]) -> None:
        was, before = node.StartModify(), len(self._read_list(node))
        for number, item in enumerate(value):
            node.SetParameter(f"{self.name}_{number}", str(item))
        node.SetParameter(f"{self.name}_len", str(len(value)))
        for number in range(len(value), before):
            node.UnsetParameter(f"{self.name}_{number}")
        node.EndModify(was)

    def _write_node(self, node: Any, value: Any) -> None:
        if value is not None and not isinstance(value, typing.get_args(self.kind) or self.kind):
            raise ValueError(f"Parameter '{self.name}' takes a {self.kind}, got a {value.GetClassName()}")
        node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def _text(self, value: Any) -> str:
        if isinstance(value, enum.Enum):
            return value.name
        return str(value) if isinstance(value, str | Path | bool) else json.dumps(value)


@dataclass(frozen=True)
class Binding:
    """How a widget class shows a value: the signal that says it changed, and how it is read and set."""

    signal: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]


def attribute(name: str, signal: str, kind: Callable[[Any], Any] = lambda value: value) -> Binding:
    return Binding(
        signal, lambda widget: kind(getattr(widget, name)), lambda widget, value: setattr(widget, name, value)
    )


BINDINGS: dict[tuple[type, str], Binding] = {
    (bool, "QCheckBox"): attribute("checked", "toggled(bool)"),
    (bool, "QPushButton"): attribute("checked", "toggled(bool)"),
    (int, "QSpinBox"): attribute("value", "valueChanged(int)"),
    (int, "QSlider"): attribute("value", "valueChanged(int)"),
    (float, "QDoubleSpinBox"): attribute("value", "valueChanged(double)"),
    (float, "ctkSliderWidget"): attribute("value", "valueChanged(double)"),
    (str, "QLineEdit"): attribute("text", "textChanged(QString)"),
    (str, "QTextEdit"): Binding("textChanged()", lambda w: w.toPlainText(), lambda w, text: w.setPlainText(text)),
    (Path, "ctkPathLineEdit"): Binding(
        "currentPathChanged(QString)", lambda w: Path(w.currentPath), lambda w, p: w.setCurrentPath(str(p))
    ),
}
NODE_BINDING = Binding(
    "currentNodeChanged(vtkMRMLNode*)", lambda w: w.currentNode(), lambda w, node: w.setCurrentNode(node)
)


def combo_binding(widget: Any, parameter: Parameter) -> Binding:
    """A combo box is filled with the choices, as Slicer's connector does."""
    if issubclass(parameter.plain, enum.Enum):
        values = list(parameter.plain)
        labels = [value.label() if hasattr(value, "label") else value.name for value in values]
    else:
        values = next((check.choices for check in parameter.checks if isinstance(check, Choice)), None)
        if values is None:
            raise RuntimeError(
                f"Parameter '{parameter.name}' can only be shown in a combo box with the Choice annotation"
            )
        labels = [str(value) for value in values]
    widget.clear()
    widget.addItems(labels)
    return Binding(
        "currentIndexChanged(int)",
        lambda w: values[w.currentIndex],
        lambda w, value: setattr(w, "currentIndex", values.index(value)),
    )


def binding(widget: Any, parameter: Parameter) -> Binding:
    if parameter.is_node and widget.className() == "qMRMLNodeComboBox":
        return NODE_BINDING
    if widget.className() == "QComboBox":
        return combo_binding(widget, parameter)
    if (parameter.plain, widget.className()) not in BINDINGS:
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{parameter.kind}' to widget type '{widget.className()}'"
        )
    return BINDINGS[parameter.plain, widget.className()]


class Wrapper:
    """What the decorator adds to the annotated class."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, list[Callable[[], Any]]] = {}
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)
            parameter.read(parameterNode)  # as Slicer's does, which keeps what it read

    def getValue(self, name: str) -> Any:
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[name].default)

    def dataType(self, name: str) -> Any:
        return self.allParameters[name].kind

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> int:
        return self.parameterNode.EndModify(was)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui: Any) -> None:
        """Binds every widget whose dynamic property SlicerParameterName names a parameter; as in Slicer, no tag."""
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = {widget.property("SlicerParameterName"): widget for widget in widgets}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, widgets: dict[str, Any]) -> int:
        unknown = set(widgets) - set(self.allParameters)
        if unknown:
            raise ValueError(
                f"Cannot find a param with the given name: {', '.join(unknown)}; "
                f"there are {', '.join(self.allParameters)}"
            )
        tag = max(self._guis, default=-1) + 1
        self._guis[tag] = [self._bind(name, widget) for name, widget in widgets.items()]
        return tag

    def _bind(self, name: str, widget: Any) -> Callable[[], Any]:
        """Keeps one widget and its parameter equal until the returned function is called."""
        bound = binding(widget, self.allParameters[name])

        def to_widget(*event: Any) -> None:
            if bound.read(widget) != getattr(self, name):
                bound.write(widget, getattr(self, name))

        def to_node() -> None:
            if bound.read(widget) != getattr(self, name):
                setattr(self, name, bound.read(widget))

        to_widget()
        widget.connect(bound.signal, to_node)
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, to_widget)
        return lambda: (widget.disconnect(bound.signal, to_node), self.RemoveObserver(observer))

    def disconnectGui(self, tag: int) -> None:
        for end in self._guis.pop(tag, ()):
            end()


def parameterNodeWrapper(described: type | None = None) -> Any:
    """The decorator: annotated attributes become properties that live in a vtkMRMLScriptedModuleNode."""
    if described is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(described, include_extras=True)
    parameters = {name: Parameter(name, hint, getattr(described, name, None)) for name, hint in hints.items()}
    body = {
        name: value for name, value in vars(described).items() if name not in ("__dict__", "__weakref__", "__init__")
    }
    accessors = {name: accessor(parameter) for name, parameter in parameters.items()}
    return type(described.__name__, (Wrapper,), {**body, **accessors, "allParameters": parameters})


def accessor(parameter: Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode), lambda self, value: parameter.write(self.parameterNode, value)
    )


def build() -> types.ModuleType:
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for public in (parameterNodeWrapper, WithinRange, Choice, Default):
        setattr(module, public.__name__, public)
    return module
