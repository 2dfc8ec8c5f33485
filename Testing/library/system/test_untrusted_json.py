"""What Python's reader of JSON lets through, and ours refuses with a cause."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SAMoraLib.system.untrusted_json import MAX_DEPTH, MAX_INTEGER, parse_json, read_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20)


@given(PLAIN)
def test_what_json_holds_is_read_as_pythons_own_reader_does(data: object) -> None:
    assert parse_json(json.dumps(data)) == data
    assert parse_json(json.dumps(data, ensure_ascii=False).encode()) == data


@pytest.mark.parametrize(("text", "cause"), [
    ("[" * 100_000, "nested deeper than 32"),
    ("[" * 100_000 + "]" * 100_000, "nested deeper than 32"),
    ('{"a":' * 40 + "1" + "}" * 40, "nested deeper than 32"),
    ('{"a": 1, "b": 2, "a": 3}', "'a' twice"),
    ('{"x": {"a": 1, "a": 1}}', "'a' twice"), ('{"b": 1, "a": 1, "c": 1, "a": 1}', "'a' twice"),
    ("NaN", "NaN is not a number"), ("[-Infinity]", "-Infinity is not a number"),
    ("1e999", "1e999 is too large"), ("-1e999", "too large"), (str(2**63 + 1), "too large"), ("9" * 5000, "too large"),
    (r'"\ud800"', "is not text"), (r'{"\udfff": 1}', "is not text"),
    ("", "Expecting value"), ("{} {}", "Extra data"), (b"\xff\xfe", "utf-8"),
])
def test_what_later_code_stumbles_over_is_refused(text: str | bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse_json(text)


def test_the_deepest_nesting_and_the_largest_numbers_are_read() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deep)).replace(" ", "") == deep
    assert parse_json(f"[{-2**63}, {2**63}, 1.7e308]") == [-2**63, 2**63, 1.7e308]


def test_a_long_text_is_not_parsed_and_its_file_read_no_further(tmp_path) -> None:
    assert parse_json("[1]", 3) == [1]
    with pytest.raises(ValueError, match="longer than 2 bytes"):
        parse_json("[1]", 2)
    path = tmp_path / "long.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would fill any memory
    with pytest.raises(ValueError, match="longer than 1000 bytes"):
        read_json(path, 1000)


def test_bytes_of_a_file_name_that_are_no_text_are_kept() -> None:
    name = os.fsdecode(b"patient-\xe9.nii.gz")
    assert parse_json(json.dumps({"input": name})) == {"input": name}


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"models": []}', encoding="utf-8-sig")
    assert read_json(path) == {"models": []}


def test_a_pipe_and_a_folder_are_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="not a regular file"):
            read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
