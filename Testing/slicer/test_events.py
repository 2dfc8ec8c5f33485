"""Lines of a child: events where all is there that belongs to them, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from SAMoraSlicer.events import LONGEST_TEXT, MOST_ORGANS, is_event, read_event

ORGAN = {"name": "liver", "title": "Liver", "voxels": 3, "volume_ml": 1.5, "mean_intensity": -12.0,
         "confidence": 0.9, "found": True}
RESULT = {"event": "result", "volume": "a.nrrd", "output": "b.nrrd", "seconds": 2.0, "organs": [ORGAN]}
GOOD = [
    {"event": "ready", "device": "cpu", "model": "m", "volumes": 1},
    {"event": "progress", "volume": "a.nrrd", "fraction": 0.5, "stage": "reading"},
    {"event": "progress", "fraction": 1, "stage": "downloading"},
    {"event": "notice", "message": "Memory ran out."}, {"event": "error", "volume": None, "message": "It is so."},
    RESULT, {**RESULT, "organs": [{**ORGAN, "mean_intensity": None, "confidence": None}]},
    {"event": "result", "output": "model.safetensors"}, {"event": "devices", "devices": [["cpu", "CPU"]]},
    {"event": "of another version", "anything": [1]},
]
WRONG: list[Any] = [None, [], {}, "", "text", 10**15, -1, True, [[1]], {"event": 1}]


@pytest.mark.parametrize("event", GOOD, ids=lambda event: event["event"])
def test_what_children_say_is_taken_as_it_is(event: dict[str, Any]) -> None:
    assert read_event(json.dumps(event)) == event


@pytest.mark.parametrize("event", GOOD[:-1], ids=lambda event: event["event"])
def test_what_lacks_a_field_is_none(event: dict[str, Any]) -> None:
    needed = [name for name in event if not is_event({key: value for key, value in event.items() if key != name})]
    assert "event" in needed and len(needed) >= 2


@pytest.mark.parametrize("event", GOOD[:-1], ids=lambda event: event["event"])
def test_fields_of_a_wrong_type_are_refused_or_harmless(event: dict[str, Any]) -> None:
    """Whatever stands in a field, what passes has the types that its readers rely on."""
    for name in event:
        for value in WRONG:
            read = read_event(json.dumps({**event, name: value}))
            if read is not None and name in ("fraction", "seconds"):
                assert isinstance(read[name], (int, float)) and not isinstance(read[name], bool) and read[name] >= 0
            if read is not None and name in ("message", "stage", "device", "output", "event"):
                assert isinstance(read[name], str)
            if read is not None and name in ("organs", "devices"):
                assert isinstance(read[name], list)


@pytest.mark.parametrize(("name", "value"), [
    ("name", 1), ("title", None), ("found", 1), ("voxels", "=1"), ("volume_ml", None), ("volume_ml", -1.0),
    ("mean_intensity", "x"), ("confidence", 1.5), ("confidence", [])])
def test_a_row_of_a_table_has_its_types(name: str, value: Any) -> None:
    assert read_event(json.dumps({**RESULT, "organs": [{**ORGAN, name: value}]})) is None


@pytest.mark.parametrize("line", [
    "", "plain", "1", "[]", '"event"', "{", '{"event": "ready", "device": "cpu"', '{"event": "progress"}',
    '{"event": "progress", "fraction": NaN, "stage": "a"}', '{"event": "progress", "fraction": 1e999, "stage": "a"}',
    '{"event": "notice", "message": "a", "message": "b"}', '{"event": "notice", "message": "\\ud800"}',
    '{"event": "notice", "message": "a", "more": ' + "[" * 2000 + "]" * 2000 + "}", "[" * 100_000])
def test_any_other_line_is_none(line: str) -> None:
    assert read_event(line) is None


def test_what_is_shown_is_bounded() -> None:
    event = read_event(json.dumps({"event": "error", "message": "x" * 100_000}))
    assert event is not None and len(event["message"]) == LONGEST_TEXT
    assert read_event(json.dumps({**RESULT, "organs": [ORGAN] * (MOST_ORGANS + 1)})) is None
