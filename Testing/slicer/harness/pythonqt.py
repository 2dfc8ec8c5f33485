"""PySide6 objects behind PythonQt's rules, which are those of a module inside Slicer.

PythonQt is a wrapper around Qt's meta-object, and so is this: every Qt object that reaches Python is an `Instance`
holding the PySide6 object. Properties are attributes, everything else is a method or a signal, nothing accepts a
keyword argument, and an attribute that the C++ class lacks can be neither read nor set. Wrapping, rather than adding
properties to PySide6's own classes, keeps those rules for objects that Qt makes itself (a dialog's button, a menu's
action) and leaves PySide6 as it was.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Any

import shiboken6
from PySide6.QtCore import Property, QMetaMethod, QMetaObject, QMetaProperty, QObject

from . import slots

ALIASES = {"name": "objectName"}  # Slicer's code reads widget.name

_classes: dict[type, QtClass] = {}


class QtClass(type):
    """The type of `qt.QLabel` and the like: calling one makes a wrapped object; its attributes are static."""

    native: type

    def __call__(cls, *arguments: Any) -> Any:
        return wrap(cls.native(*map(unwrap, arguments)))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_") or "native" not in cls.__dict__:
            raise AttributeError(f"{cls.__name__} has no attribute named '{name}'")
        value = getattr(cls.native, name)
        return method(value) if callable(value) and not isinstance(value, type) else value


class Instance(metaclass=QtClass):
    """A Qt object as PythonQt shows it. The PySide6 object itself: `unwrap(instance)`."""

    __slots__ = ("__weakref__", "_native")

    def __init_subclass__(cls, made_here: bool = False) -> None:
        if not made_here:
            raise TypeError(
                f"{cls.__name__} derives from a Qt class, which the harness does not imitate; compose or connect"
            )

    def className(self) -> str:
        return type(self).__name__

    def connect(self, signature: str, receiver: Any) -> bool:
        """Connects `"clicked(bool)"`; ValueError for a signal that the class lacks (PythonQt would only print it)."""
        native, normal = alive(self), normalized(signature)
        if normal not in signatures(type(native)):
            known = ", ".join(sorted(signatures(type(native))))
            raise ValueError(f"{self.className()} has no signal '{signature}'; it has {known}")
        return slots.connect(native, bound_signal(native, normal), normal, receiver, wrap)

    def disconnect(self, signature: str, receiver: Any) -> bool:
        """Ends a connection made with the same signature and receiver; ValueError if there is none."""
        return slots.disconnect(alive(self), normalized(signature), receiver)

    def __getattr__(self, name: str) -> Any:
        native, name = alive(self), ALIASES.get(name, name)
        if isinstance(native, QObject):
            if name.startswith("__"):
                raise AttributeError(name)
            if name in properties(type(native)):
                return wrap(read_property(native, name))
            if (signature := first_signature(type(native), name)) is not None:
                return SignalFunction(self, signature)
            if name in [bytes(known).decode() for known in native.dynamicPropertyNames()]:
                return wrap(native.property(name))
        if hasattr(native, name) and not name.startswith("_"):
            value = getattr(native, name)
            return method(value) if callable(value) and not isinstance(value, type) else wrap(value)
        child = (
            next((c for c in native.children() if c.objectName() == name), None)
            if isinstance(native, QObject)
            else None
        )
        if child is not None:
            return wrap(child)
        raise AttributeError(f"{self.className()} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        native, name = alive(self), ALIASES.get(name, name)
        if not isinstance(native, QObject) or (name not in properties(type(native)) and native.property(name) is None):
            raise AttributeError(
                f"'{name}' does not exist on {self.className()}, "
                "and creating new attributes on C++ objects is not allowed"
            )
        write_property(native, name, unwrap(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instance) and bool(unwrap(self) == unwrap(other))

    def __hash__(self) -> int:
        return hash(unwrap(self))

    def __repr__(self) -> str:
        return f"<{self.className()} around {unwrap(self)!r}>"


class SignalFunction:
    """`button.clicked`: to connect, to disconnect, and to emit by calling it."""

    def __init__(self, sender: Instance, signature: str) -> None:
        self.sender, self.signature = sender, signature

    def connect(self, receiver: Any) -> bool:
        return self.sender.connect(self.signature, receiver)

    def disconnect(self, receiver: Any) -> bool:
        return self.sender.disconnect(self.signature, receiver)

    def __call__(self, *arguments: Any) -> None:
        bound_signal(alive(self.sender), self.signature).emit(*map(unwrap, arguments))


def wrap(value: Any) -> Any:
    """What PythonQt would hand to Python: Qt objects wrapped, lists as tuples, everything else as it is."""
    if isinstance(value, list | tuple):
        return tuple(map(wrap, value))
    if not isinstance(value, shiboken6.Object):
        return value
    instance = object.__new__(class_of(type(value)))
    object.__setattr__(instance, "_native", value)
    return instance


def unwrap(value: Any) -> Any:
    """What PySide6 needs: the objects inside the wrappers; a function becomes a slot whose exceptions are kept."""
    if isinstance(value, Instance):
        return object.__getattribute__(value, "_native")
    if isinstance(value, QtClass):
        return value.native
    if isinstance(value, list | tuple):
        return type(value)(map(unwrap, value))
    if isinstance(value, types.FunctionType | types.MethodType):
        return slots.guarded(value, wrap)
    return value


def alive(instance: Instance) -> Any:
    """The PySide6 object, or ValueError as PythonQt raises it once Qt has deleted the object."""
    native = unwrap(instance)
    if not shiboken6.isValid(native):
        raise ValueError(f"Trying to use a destroyed {type(instance).__name__} object")
    return native


def class_of(native: type) -> QtClass:
    """The wrapper class of a PySide6 class; the wrapper classes derive from each other as the C++ classes do."""
    if native not in _classes:
        bases = (
            tuple(class_of(base) for base in native.__bases__ if issubclass(base, shiboken6.Object))
            if has_bases(native)
            else ()
        )
        made = QtClass.__new__(
            QtClass, native.__name__, bases or (Instance,), {"native": native, "__slots__": ()}, made_here=True
        )
        type.__init__(made, native.__name__, bases or (Instance,), {})
        _classes[native] = made
    return _classes[native]


def has_bases(native: type) -> bool:
    return native is not shiboken6.Object and native.__bases__ != (shiboken6.Object,)


def method(function: Any) -> Any:
    """A Qt method that takes and gives wrapped objects and, like a slot under PythonQt, no keyword arguments."""

    def call(*arguments: Any) -> Any:
        return wrap(function(*map(unwrap, arguments)))

    return call


@cache
def properties(native: type) -> dict[str, QMetaProperty]:
    """The Qt properties of a class by name. Taken from the class: an object's own `metaObject()` would die with it."""
    meta = native.staticMetaObject
    return {meta.property(i).name(): meta.property(i) for i in range(meta.propertyCount())}


def read_property(native: QObject, name: str) -> Any:
    declared = getattr(type(native), name, None)
    return getattr(native, name) if isinstance(declared, Property) else native.property(name)


def write_property(native: QObject, name: str, value: Any) -> None:
    kind, known = type(native), properties(type(native)).get(name)
    if known is not None and not known.isWritable():
        raise AttributeError(f"Property '{name}' of {kind.__name__} object is not writable")
    if isinstance(getattr(kind, name, None), Property):
        setattr(
            native, name, value
        )  # a stand-in's property: through Python, so that what its setter raises is not lost
    elif not native.setProperty(name, value) and known is not None:
        raise AttributeError(
            f"Property '{name}' of type '{known.typeName()}' does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )


@cache
def signatures(native: type) -> list[str]:
    """The signals of a class as C++ signatures, e.g. ["clicked(bool)", "clicked()", ...].

    A stand-in declares its signals with Python's `object`; its `SIGNATURES` say what the C++ widget calls them.
    """
    meta = native.staticMetaObject
    methods = [meta.method(i) for i in range(meta.methodCount())]
    found = [bytes(m.methodSignature()).decode() for m in methods if m.methodType() == QMetaMethod.MethodType.Signal]
    declared = getattr(native, "SIGNATURES", {})
    return [declared.get(signature.split("(")[0], signature) for signature in found]


def normalized(signature: str) -> str:
    """`"clicked( bool )"` as Qt writes it; in PySide6 6.12 a str or its bytes, so both are taken."""
    return bytes(QMetaObject.normalizedSignature(signature)).decode()


def first_signature(native: type, name: str) -> str | None:
    return next((s for s in signatures(native) if s.split("(")[0] == name), None)


def bound_signal(native: QObject, signature: str) -> Any:
    name, arguments = signature.rstrip(")").split("(")
    signal = getattr(native, name)
    return signal[arguments] if arguments and name not in getattr(native, "SIGNATURES", {}) else signal
