"""What a file of unknown origin says, by its types: the causes that readers put into their sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")
KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a table", list: "a list"}


def typed(value: Any, kind: type[Value], what: str) -> Value:
    """``value`` if it is of ``kind``; a whole number is a number, too, and no truth value is one.

    Raises:
        ValueError: it is not. As everywhere here, the text is the cause alone.
    """
    kinds = (int, float) if kind is float else (kind,)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{what} is {_shown(value)} instead of {KINDS[kind]}")
    return value  # type: ignore[return-value]


def list_of(value: Any, kind: type[Value], what: str) -> list[Value]:
    """A list whose items are all of ``kind``."""
    return [typed(item, kind, f"item {number} of {what}") for number, item in enumerate(typed(value, list, what))]


def table_of(value: Any, kind: type[Value], what: str) -> dict[str, Value]:
    """A table whose values are all of ``kind``."""
    return {key: typed(item, kind, f"{what}'s {key!r:.60}") for key, item in typed(value, dict, what).items()}


def fields(value: Any, what: str, needed: Mapping[str, type], more: Mapping[str, type] | None = None
           ) -> dict[str, Any]:
    """A table with a value of its kind for each field that is ``needed``, perhaps ``more`` and no others.

    Null stands for a field of ``more`` that is left out.
    """
    table, known = typed(value, dict, what), {**needed, **(more or {})}
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    if unknown := [name for name in table if name not in known]:
        raise ValueError(f"{what} has the unknown field {unknown[0]!r:.60}")
    return {name: typed(item, known[name], f"{name} of {what}") for name, item in table.items()
            if item is not None or name in needed}


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return KINDS[type(value)]
    return "null" if value is None else f"{value!r:.60}"
