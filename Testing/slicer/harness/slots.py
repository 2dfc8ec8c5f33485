"""Connections as PythonQt makes them: surplus arguments are cut off, and an exception in a slot does not reach Qt.

Under Slicer such an exception is printed and forgotten; here it is kept in `errors`, and the test that caused it fails.
"""

from __future__ import annotations

import inspect
import logging
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import QObject

errors: list[Exception] = []
_made: dict[int, list[tuple[str, Callable[..., Any], Any]]] = {}


def guarded(receiver: Callable[..., Any], wrap: Callable[[Any], Any], limit: int | None = None) -> Callable[..., None]:
    """A slot that calls `receiver` with as many of the signal's arguments as the signal has and the receiver takes."""
    count = accepted(receiver)

    def slot(*arguments: Any) -> None:
        try:
            receiver(*map(wrap, arguments[:limit][:count]))
        except Exception as error:
            logging.getLogger(__name__).exception("in a slot")
            errors.append(error)

    return slot


def accepted(receiver: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt hands over: it looks into functions and methods and gives others everything."""
    if not isinstance(receiver, types.FunctionType | types.MethodType):
        return None
    parameters = inspect.signature(receiver).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def connect(
    sender: QObject, signal: Any, signature: str, receiver: Callable[..., Any], wrap: Callable[[Any], Any]
) -> bool:
    """Connects a PySide6 signal of `sender` to a Python callable and remembers it for `disconnect`."""
    if not callable(receiver):
        raise TypeError(f"A signal can only be connected to something callable, got {receiver!r}")
    made = _made_by(sender)
    arguments = signature[signature.index("(") + 1 : -1]
    slot = guarded(receiver, wrap, limit=len(arguments.split(",")) if arguments else 0)
    made.append((signature, receiver, signal.connect(slot)))
    return True


def disconnect(sender: QObject, signature: str, receiver: Callable[..., Any]) -> bool:
    """Ends a connection; ValueError if it was never made."""
    made = _made_by(sender)
    for entry in made:
        if entry[:2] == (signature, receiver):
            made.remove(entry)
            return QObject.disconnect(entry[2])
    raise ValueError(f"{receiver!r} is not connected to '{signature}'")


def _made_by(sender: QObject) -> list[tuple[str, Callable[..., Any], Any]]:
    """The connections of one C++ object. Its Python object may come and go meanwhile, so its address is the key."""
    address = shiboken6.getCppPointer(sender)[0]
    if address not in _made:
        _made[address] = []
        sender.destroyed.connect(lambda: _made.pop(address, None))
    return _made[address]
