"""What the fields of a record may hold, and what is said of those that hold something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from SAMoraLib import fields
from SAMoraLib.fields import Rule, check_fields, known_fields, shown
from Testing.refusals import refusal

NAN, INF = float("nan"), float("inf")
STEERING = ["\x1b[31m", "\x00", "\x07", "\x7f", "\x9b2J", "a\u202eb", "\u2066", "\u2028", "\r"]


@pytest.mark.parametrize(("rule", "good", "bad"), [
    (fields.whole(1, 9), [1, 9], [0, 10, True, 3.0, "3", None, NAN, [], 10**30]),
    (fields.number(0, 9), [0, 9.0, 0.5], [-1, 9.1, True, NAN, INF, "3", None, {}, 10**400]),
    (fields.FLAG, [True, False], [0, 1, "true", None]),
    (fields.line(3, 1), ["a", "abc", "日本語"], ["", "abcd", "a\nb", "\t", 3, None, b"a", *STEERING]),
    (fields.line(), ["", "a" * 500], ["a" * 501]),
    (fields.TEXT, ["", "a\n\tb", "日本語", "a" * 10_000], ["a" * 10_001, 3, None, *STEERING]),
    (fields.one_of(("a", "b")), ["a"], ["c", "", None, ["a"], 3, "ab"]),
    (fields.tuple_of(fields.whole(0, 5), 1, 2), [(1,), (1, 5)], [(), (1, 2, 3), (6,), [1], 3, "1", None]),
    (fields.optional(fields.FLAG), [None, True], [0, "", ()]),
    (fields.NOTES, [{}, {"a": [1, {"b": "c"}, None, True]}],
     [[], None, "a", {"a": NAN}, {"a": [INF]}, {"\x1b": 1}, {"a": [{"b": "\x9b"}]}, {"a": {3}}, {"a": b"b"}]),
])
def test_a_rule_tells_values(rule: Rule, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check_fields("record", {"a": value}, {"a": rule})
    for value in bad:
        message = refusal(lambda value=value: check_fields("record", {"the_field": value}, {"the_field": rule}))
        assert message == f"The record's the field is {shown(value)}; give {rule.wanted}."
        assert message.isprintable() and len(message) < 300


@pytest.mark.parametrize("value", ["a" * 10**6, 10**4000, list(range(10**6)), {str(n): n for n in range(999)},
                                   "\x1b[2J", [[[[[[[[[1]]]]]]]]]])
def test_a_value_of_any_size_is_shown_in_a_few_printable_letters(value: Any) -> None:
    assert len(shown(value)) < 120 and shown(value).isprintable()


def test_a_value_is_shown_whole_to_the_eightieth_letter() -> None:
    whole, longer = ["a" * 36, "b" * 36], ["a" * 37, "b" * 36]
    assert shown(whole) == repr(whole) and len(repr(whole)) == 80
    assert shown(longer) == f"{repr(longer)[:80]}..."


@pytest.mark.parametrize(("least", "most", "count"), [(3, 3, "3"), (1, 2, "1 to 2")])
def test_a_count_is_told_once(least: int, most: int, count: str) -> None:
    assert fields.tuple_of(fields.FLAG, least, most).wanted == f"a list of {count} values, each true or false"


@dataclass
class Record:
    first: int
    second: tuple[int, ...] = ()


def test_a_table_becomes_the_fields_of_a_record() -> None:
    assert known_fields(Record, {"first": 1, "second": [2, 3]}) == {"first": 1, "second": (2, 3)}
    assert "lacks the field 'first'" in refusal(lambda: known_fields(Record, {"second": []}))
    assert "lacks the field 'second'" in refusal(lambda: known_fields(Record, {"first": 1}, ["second"]))
    assert "has unknown record fields third; it was written by a newer version" in refusal(
        lambda: known_fields(Record, {"first": 1, "third": 3}))
    many = refusal(lambda: known_fields(Record, {f"\x1b{n}": n for n in range(9999)}))
    assert len(many) < 300 and many.isprintable()
    for count, listed in ((5, "a, b, c, d, e;"), (6, "a, b, c, d, e, ...;")):
        table = {"first": 1, **dict.fromkeys("abcdef"[:count])}
        assert f"unknown record fields {listed}" in refusal(lambda table=table: known_fields(Record, table))
    for table in (None, 3, "first", [1], True):
        assert "give a table of its fields" in refusal(lambda table=table: known_fields(Record, table))


@pytest.mark.parametrize("letters", STEERING)
def test_a_name_is_spelt_out_where_it_would_steer(letters: str) -> None:
    assert fields.spelt_out(f"ü\udcff {letters}\n") not in (letters, "")
    assert fields.NAME.holds(fields.spelt_out(f"ü\udcff {letters}\n")) and fields.spelt_out("ü\udcff b") == "ü\udcff b"
