"""YAML of unknown origin: what is read, and what is refused before anything is made of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.system.untrusted_json import MAX_INTEGER
from Testing.folders import ROOT
from Training.settings import untrusted_yaml
from Training.settings.untrusted_yaml import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True))
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(MAX_DEPTH + 1))


@pytest.mark.parametrize(("text", "said"), [
    ("a: 1\nb: [x, 2.5, true, ~]\nc: {d: e}\n", {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "e"}}),
    ("[1e-3, 1E5, .5, 1., -2.0e-3, +3]", [0.001, 1e5, 0.5, 1.0, -0.002, 3]),
    ("a: &this {b: 1}\nc: *this\n", {"a": {"b": 1}, "c": {"b": 1}}),
    ("day: 2024-01-01", {"day": "2024-01-01"}), ("a: =", {"a": "="}),
    ("{a: 1, <<: {a: 2}}", {"a": 1, "<<": {"a": 2}}), ("", None), ("[" * MAX_DEPTH + "]" * MAX_DEPTH, ...),
])
def test_what_json_can_say_in_yamls_spelling(text: str, said: Any) -> None:
    assert said is ... or parse_yaml(text) == said


@pytest.mark.parametrize(("text", "cause"), [
    ("a: !!python/object/apply:os.system [x]", "it has the tag 'tag:yaml.org,2002:python/object/apply:os.system' in "),
    ("a:\n  !!python/name:os.system", "tag 'tag:yaml.org,2002:python/name:os.system' in line 2; leave tags out"),
    ("!own {a: 1}", "the tag '!own'"), ("a: !!binary aGk=", "the tag"), ("a: !!set {b}", "the tag"), ("! a", "the tag"),
    (LAUGHS, "it has more than 10000 values, its aliases written out"),
    ("a: &a [*a]", "it has the alias 'a' in line 1 of what is not said before"), ("a: *b", "the alias 'b' in line 1"),
    (CHAIN, f"it is nested deeper than {MAX_DEPTH} levels"),
    ("[" * 100_000, f"it is nested deeper than {MAX_DEPTH} levels"), ("- " * 100_000, "nested deeper"),
    ("{a: " * 50_000, "nested deeper"), ("[" * (MAX_DEPTH + 1), "nested deeper"),
    ("[" + "1," * 20_000 + "]", "more than 10000 values"), ("a" * (MAX_BYTES + 1), f"it is longer than {MAX_BYTES} "),
    ("a: 1\nb: 2\na: 3", "it has 'a' twice"), ("{a: {b: 1, 'b': 2}}", "it has 'b' twice"),
    ("1: a", "it has the key 1, which is no text; put quotes about it"), ("? [a]\n: b", r"it has the key \['a'\]"),
    ("no: a", "it has the key False"), ("~: a", "it has the key None"),
    ("a: .inf", ".inf is not a finite number"), ("a: -.INF", "not a finite"), ("a: .nan", ".nan is not a finite"),
    ("a: 1e999", "1e999 is not a finite number"), ("a: " + "9" * 30, "is too large a number"),
    ("a: 0x" + "f" * 30, "is too large a number"), ("a: " + "9" * 100_000, "is too large a number"),
    ("a: 1\n---\nb: 2", "it holds a second document in line 2"), ("a: b: c", "it is not YAML: mapping values are not"),
    ("a: [", "it is not YAML"), ("a:\n\t- b", "in line 2"), ("a: \x07", "characters that YAML does not allow"),
    ('a: "\\ud800"', "is not text"),
])
def test_what_is_refused_and_why(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause) as error:
        parse_yaml(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_a_refusal_tells_nothing_of_the_files_lines(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("user: me\npassword: 'hunter2\nmore: [\n", encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_yaml(path)
    assert "hunter2" not in str(error.value) and "more" not in str(error.value)


def test_a_file_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\n")
    assert read_yaml(path) == {"a": "é"}
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(ValueError, match="utf-8"):
        read_yaml(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ValueError, match="it is longer than"):
        read_yaml(path)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match="it is not a regular file"):
            read_yaml(path)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none")


@pytest.mark.parametrize("path", sorted((ROOT / "Training").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_committed_files_are_read(path: Path) -> None:
    assert isinstance(read_yaml(path), dict)


@pytest.mark.parametrize(("limit", "text", "value"), [
    ("MAX_BYTES", "a: bcd", {"a": "bcd"}), ("MAX_VALUES", "[a, {b: 1}, c]", ["a", {"b": 1}, "c"]),
    ("MAX_DEPTH", "a: [{b: 1}]", {"a": [{"b": 1}]}),
    ("MAX_DEPTH", "a: &x [1]\nb: {c: *x}", {"a": [1], "b": {"c": [1]}}),
], ids=["letters", "values", "levels", "levels of an alias"])
def test_a_text_may_be_as_large_as_is_said(limit: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six letters; six values in the text; three collections one in the other, in the text and around a value."""
    largest = {"MAX_BYTES": 6, "MAX_VALUES": 7, "MAX_DEPTH": 5}[limit]
    monkeypatch.setattr(untrusted_yaml, limit, largest)
    assert parse_yaml(text) == value
    monkeypatch.setattr(untrusted_yaml, limit, largest - 1)
    with pytest.raises(ValueError, match=r"it is longer than 5 characters|has more than 6 values|it is nested deeper"):
        parse_yaml(text)


def test_a_file_may_be_as_long_as_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes("a: é".encode())
    monkeypatch.setattr(untrusted_yaml, "MAX_BYTES", 5)
    assert read_yaml(tmp_path / "a") == {"a": "é"}
    monkeypatch.setattr(untrusted_yaml, "MAX_BYTES", 4)
    with pytest.raises(ValueError, match="it is longer than 4 bytes"):
        read_yaml(tmp_path / "a")


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_whole_number(sign: int) -> None:
    assert parse_yaml(f"a: {sign * MAX_INTEGER}") == {"a": sign * MAX_INTEGER}
    with pytest.raises(ValueError, match="is too large a number"):
        parse_yaml(f"a: {sign * (MAX_INTEGER + 1)}")
