"""What the fields of a record may hold: types and ranges, checked before anything is made of it (torch-free).

Records come from the headers of files that anybody may have written. A rule is a test and its words for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from reprlib import Repr
from typing import Any

MAX_NAME, MAX_LINE, MAX_TEXT = 300, 500, 10_000
# Control characters but for tabs and new lines, separators of lines, and what turns the direction of writing: they
# steer a terminal, or make a text look like another one.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
MAX_SHOWN = 80
_SHOWN = Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60


@dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes:
        wanted: in words, after "give".
        holds: whether a value is so.
    """

    wanted: str
    holds: Callable[[Any], bool]


def check_fields(record: str, values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Refuse a record whose fields are not what their rules say.

    Args:
        record: what it is, for the sentence.

    Raises:
        ValueError: the first such field, its value and what it may be.
    """
    for name, rule in rules.items():
        if not rule.holds(values[name]):
            raise ValueError(f"The {record}'s {name.replace('_', ' ')} is {shown(values[name])}; give {rule.wanted}.")


def shown(value: Any) -> str:
    """A value of any size and kind in a few printable letters."""
    text = _SHOWN.repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def spelt_out(text: str) -> str:
    """A name on one line, what would steer a terminal as ``\\x1b``; letters that are no text stay what they are."""
    return re.sub(rf"{STEERING.pattern}|[\n\t]", lambda found: found[0].encode("unicode_escape").decode(), text)


def whole(low: int, high: int) -> Rule:
    """An int that is no bool."""
    return Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float) -> Rule:
    """A number that is neither infinite nor NaN."""
    return Rule(f"a number from {low:g} to {high:g}", lambda value: NUMBER.holds(value) and low <= value <= high)


NUMBER = Rule("a number", lambda value: type(value) in (int, float))
FLAG = Rule("true or false", lambda value: isinstance(value, bool))


def line(longest: int = MAX_LINE, shortest: int = 0) -> Rule:
    """A text on one line."""
    return Rule(f"a line of {shortest} to {longest} characters, none of them a control character",
                lambda value: _is_text(value, longest) and len(value) >= shortest and not re.search(r"[\n\t]", value))


NAME = line(MAX_NAME, 1)
TEXT = Rule(f"a text of up to {MAX_TEXT} characters, none of them a control character",
            lambda value: _is_text(value, MAX_TEXT))


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and not STEERING.search(value)


def one_of(choices: Collection[str]) -> Rule:
    """One of some words."""
    return Rule(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def tuple_of(rule: Rule, least: int, most: int) -> Rule:
    """A tuple of so many values of a kind."""
    count = f"{least}" if least == most else f"{least} to {most}"
    return Rule(f"a list of {count} values, each {rule.wanted}",
                lambda value: isinstance(value, tuple) and least <= len(value) <= most and all(map(rule.holds, value)))


def instance_of(kind: type, wanted: str) -> Rule:
    """A record that has been checked when it was made."""
    return Rule(wanted, lambda value: isinstance(value, kind))


def optional(rule: Rule) -> Rule:
    """None, or what ``rule`` says."""
    return Rule(f"{rule.wanted}, or nothing", lambda value: value is None or rule.holds(value))


def known_fields(kind: Any, data: Any, always: Collection[str] = ()) -> dict[str, Any]:
    """What a table of JSON's says for the fields of a dataclass, as ``table_of``.

    Args:
        always: fields that every version wrote, though they have a default.
    """
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    return table_of(kind.__name__.lower(), data, [f.name for f in fields(kind)], [*required, *always])


def table_of(record: str, data: Any, known: Collection[str], required: Collection[str]) -> dict[str, Any]:
    """A table of JSON's, its lists as the tuples that they were.

    Args:
        record: what it is, for the sentence.

    Raises:
        ValueError: no table, or a field that is not ``known``, or none that is ``required``.
    """
    if not isinstance(data, dict):
        raise ValueError(f"The {record} is {shown(data)}; give a table of its fields.")
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"The card has unknown {record} fields {_listed(unknown)}; it was written by a newer version, "
                         "update SAMora.")
    if missing := [name for name in required if name not in data]:
        raise ValueError(f"The {record} lacks the field '{missing[0]}'; export the checkpoint again.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _listed(names: Collection[str]) -> str:
    """Names that a file chose: of each a few letters, of many the first."""
    return ", ".join([shown(name)[1:-1] for name in list(names)[:5]] + ["..."] * (len(names) > 5))


def is_plain(value: Any) -> bool:
    """Whether a table that anything may be noted in holds tables, lists, finite numbers and printable texts alone."""
    level = [value]
    while level:
        texts = [item for item in level if isinstance(item, str)]
        inner = [item for item in level if isinstance(item, Mapping | list | tuple)]
        others = [item for item in level if not isinstance(item, str | Mapping | list | tuple)]
        if not all(_is_text(text, MAX_TEXT) for text in texts) or not all(map(_is_number, others)):
            return False
        level = [part for item in inner for part in _parts(item)]
    return True


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and abs(value) < float("inf"))


def _parts(value: Any) -> list[Any]:
    return [*value, *value.values()] if isinstance(value, Mapping) else list(value)


NOTES = Rule("a table of numbers and texts, none with a control character",
             lambda value: isinstance(value, Mapping) and is_plain(value))
