"""Types of what files of unknown origin say."""

from __future__ import annotations

from typing import Any

import pytest

from Training.data.typed import fields, list_of, table_of, typed


@pytest.mark.parametrize(("value", "kind"), [("a", str), (1, int), (1, float), (1.5, float), ({}, dict), ([], list)])
def test_a_value_of_its_kind(value: Any, kind: type) -> None:
    assert typed(value, kind, "it") is value


@pytest.mark.parametrize(("value", "kind", "cause"), [
    (1, str, "it is 1 instead of text"), ("1", int, "it is '1' instead of a whole number"),
    (1.5, int, "it is 1.5 instead of a whole number"), (True, int, "it is True instead of a whole number"),
    (False, float, "it is False instead of a number"), (None, dict, "it is null instead of a table"),
    ([1], dict, "it is a list instead of a table"), ({"a": 1}, list, "it is a table instead of a list"),
    ("\x1b[31m" * 99, int, r"it is '\\x1b.{1,60} instead"),
])
def test_another_kind(value: Any, kind: type, cause: str) -> None:
    with pytest.raises(ValueError, match=f"^{cause}"):
        typed(value, kind, "it")


def test_what_lists_and_tables_hold() -> None:
    assert list_of([1, 2], int, "numbers") == [1, 2] and table_of({"a": "b"}, str, "names") == {"a": "b"}
    with pytest.raises(ValueError, match=r"^item 1 of numbers is 'b' instead of a whole number"):
        list_of([1, "b"], int, "numbers")
    with pytest.raises(ValueError, match=r"^names's 'a' is 1 instead of text"):
        table_of({"a": 1}, str, "names")
    with pytest.raises(ValueError, match=r"^numbers is 'ab' instead of a list"):
        list_of("ab", str, "numbers")


def test_the_fields_of_a_table() -> None:
    def known(table: object) -> dict[str, Any]:
        return fields(table, "it", {"a": int}, {"b": str})

    assert known({"a": 1}) == {"a": 1} and known({"a": 1, "b": None}) == {"a": 1}
    assert known({"a": 1, "b": "c"}) == {"a": 1, "b": "c"}
    for table, cause in (({}, "it lacks a"), ({"a": None}, "a of it is null instead"),
                         ({"a": 1, "b": 2}, "b of it is 2"), ({"a": 1, "c": 2}, "it has the unknown field 'c'"),
                         ([], "it is a list instead of a table")):
        with pytest.raises(ValueError, match=f"^{cause}"):
            known(table)
