"""Lists of models that anybody may have written: each field as it should be, or a cause."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from SAMoraSlicer.model_list import LIST_BYTES, Model, from_entry, is_device, read_list, to_download

ENTRY = {"id": "abdomen-ct", "title": "Abdomen CT", "size_bytes": 1000, "sha256": "0" * 64,
         "urls": ["https://example.org/a"]}


@pytest.mark.parametrize(("changes", "cause"), [
    ({"id": name}, "is not an id") for name in (
        "../evil", "a/b", "a\\b", ".hidden", "-a", "a b", "a\n", "CON", "nul", "com1.old", "Aux", "LPT9", "ä", "a\0",
        "a.safetensors", "\u202eevil")] + [
    ({"id": "a" * 101}, "is not an id"), ({"id": ""}, "has no id"), ({"title": ""}, "has no title"),
    ({"id": None}, "id is None"), ({"id": ["a"]}, "id is \\['a'\\]"), ({"title": 5}, "title is 5"),
    ({"modality": 5}, "modality is 5"), ({"licence": {}}, "licence is {}"),
    ({"organs": "liver"}, "organs is"), ({"organs": [1]}, "organs is"), ({"organs": [""]}, "organs is"),
    ({"organs": ["a"] * 257}, "organs is"), ({"organs": [["a"]]}, "organs is"),
    ({"size_bytes": 1.5}, "size_bytes is 1.5"), ({"size_bytes": -1}, "size_bytes is -1"),
    ({"size_bytes": 1 << 41}, "size_bytes is"), ({"size_bytes": "9"}, "size_bytes is '9'"),
    ({"size_bytes": True}, "size_bytes is True"), ({"size_bytes": 0}, "lacks its urls"),
    ({"sha256": "A" * 64}, "lacks its urls"), ({"sha256": "0" * 63}, "lacks its urls"), ({"sha256": 0}, "sha256 is 0"),
    ({"cpu_seconds": -1}, "cpu_seconds is -1"), ({"gpu_seconds": 1e300}, "gpu_seconds is"),
    ({"cpu_seconds": "5"}, "cpu_seconds is '5'"), ({"urls": []}, "lacks its urls"), ({"urls": {}}, "urls is {}"),
    ({"urls": ["https://example.org/a"] * 17}, "urls is"), ({"urls": [None]}, "None is no web address"),
    ({"urls": ["--to=/home/user/notes"]}, "is no web address"), ({"urls": ["file:///etc/passwd"]}, "is no web address"),
    ({"urls": ["https://me:word@example.org/a"]}, "is no web address"),
    ({"urls": ["https://example.org/a", "https://example.org/\r\nX: y"]}, "is no web address"),
    ({"file": "/etc/passwd"}, "'file' is no field"), ({"path": "/etc/passwd"}, "'path' is no field"),
    ({"problem": ""}, "'problem' is no field"), ({"x" * 10_000: 1}, "is no field")])
def test_an_entry_is_taken_as_it_should_be_or_not_at_all(changes: dict[str, Any], cause: str) -> None:
    wrong, other = to_download([ENTRY | changes, ENTRY], ())
    assert re.search(cause, wrong.problem) and len(wrong.problem) < 600 and wrong.problem.isprintable()
    assert not wrong.urls and not other.problem, "the other one can be used"


def test_a_whole_entry_is_a_model() -> None:
    whole = ENTRY | {"organs": ["liver"], "modality": "CT", "cpu_seconds": 5, "gpu_seconds": None, "licence": "CC-BY"}
    expected = Model("abdomen-ct", "Abdomen CT", modality="CT", organs=("liver",), licence="CC-BY", size_bytes=1000,
                     sha256="0" * 64, urls=("https://example.org/a",), cpu_seconds=5)
    assert to_download([whole], ()) == [expected]


def test_what_is_only_shown_is_cut_and_an_unknown_modality_is_none() -> None:
    long = {"title": "a" * 300, "licence": "b" * 300, "description": "c" * 3000, "organs": ["d" * 300]}
    model, = to_download([ENTRY | long | {"modality": "CT, MR"}], ())
    assert (model.problem, model.modality, len(model.licence), len(model.description)) == ("", "", 200, 2000)


@pytest.mark.parametrize("changes", [
    {"size_bytes": 1 << 40}, {"size_bytes": 1}, {"cpu_seconds": 1e6, "gpu_seconds": 0}, {"organs": ["a"] * 256},
    {"organs": []}, {"urls": [f"https://example.org/{number}" for number in range(16)]},
    {"id": "a" * 100, "title": "t" * 201}, {"cpu_seconds": None, "measured_on": ""}])
def test_an_entry_may_be_as_large_as_is_said(changes: dict[str, Any]) -> None:
    [model] = to_download([ENTRY | changes], ())
    assert model.problem == "" and not model.usable
    for name, value in changes.items():
        assert getattr(model, name) == (tuple(value) if isinstance(value, list) else
                                        value[:200] if isinstance(value, str) else value)


def test_entries_are_counted_from_the_first() -> None:
    wrong = to_download([ENTRY, {"id": "x"}, ENTRY | {"id": "b"}, {}], ())
    assert [model.id for model in wrong] == ["abdomen-ct", "Models.json, entry 2", "b", "Models.json, entry 4"]
    assert wrong[1].problem.startswith("Entry 2 of the list of models cannot be used (an entry has no title); correct")


def test_a_list_has_up_to_500_entries(tmp_path: Path) -> None:
    path = tmp_path / "Models.json"
    for count in (500, 501):
        path.write_text(json.dumps({"models": [{}] * count}), encoding="utf-8")
        if count == 500:
            assert read_list(path) == [{}] * 500
    with pytest.raises(ValueError, match="it has 501 entries, and 500 can be shown"):
        read_list(path)


def test_texts_stay_on_their_line_and_steer_no_terminal() -> None:
    model = from_entry(ENTRY | {"title": "a\x1b[2Jb", "description": "a\nb\u202e", "organs": ["liver\x07"]})
    assert (model.title, model.description, model.organs) == ("a\\x1b[2Jb", "a\\nb\\u202e", ("liver\\x07",))


@pytest.mark.parametrize(("second", "taken"), [
    ({"id": "abdomen-ct"}, ()), ({"id": "Abdomen-CT", "title": "other"}, ()), ({"id": "b", "title": "Other"}, ("b",)),
    ({"id": "b", "title": "Demonstration"}, ("demonstration",))])
def test_no_two_models_have_a_name(second: dict[str, str], taken: tuple[str, ...]) -> None:
    first, other = to_download([ENTRY, ENTRY | second], taken)
    assert not first.problem and "another model has the id or title" in other.problem


def test_two_models_may_have_a_title() -> None:
    assert [model.problem for model in to_download([ENTRY, ENTRY | {"id": "b"}], ())] == ["", ""]


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"5", b'"models"', b'{"models": {}}', b'{"models": null}', b'{"models": [1]}', b"{}", b"\xff\xfe",
    b'{"models": ' + b"[" * 100_000, b'{"models": [], "models": []}', b'{"models": [{"cpu_seconds": Infinity}]}',
    b'{"models": [{"size_bytes": 1' + b"0" * 5000 + b"}]}", b" " * (LIST_BYTES + 1),
    b'{"models": [' + b"{}," * 500 + b"{}]}"])
def test_what_is_no_list_is_a_cause(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Models.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        read_list(path)


def test_the_entries_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "Models.json"
    path.write_text(json.dumps({"models": [ENTRY]}), encoding="utf-8")
    assert read_list(path) == [ENTRY]


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Models.json")
    with pytest.raises(ValueError, match="it is not a regular file"):
        read_list(tmp_path / "Models.json")


@pytest.mark.parametrize(("name", "expected"), [("con", True), ("CON.safetensors", True), ("lpt1.a.b", True),
                                                ("console", False), ("com", False), ("acon", False), ("com10", False)])
def test_names_that_windows_keeps_for_devices(name: str, expected: bool) -> None:
    assert is_device(name) is expected
