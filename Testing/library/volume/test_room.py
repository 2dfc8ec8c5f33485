"""Memory is asked before it is taken."""

from __future__ import annotations

import pytest

from SAMoraLib.volume import room
from Testing.refusals import refusal


def test_more_than_is_free_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available_bytes", lambda: 1 << 31)
    room.require_room("v.nrrd", 1 << 31)
    message = refusal(lambda: room.require_room("v.nrrd", (1 << 31) + 1))
    assert "To read 'v.nrrd' takes 2.0 GiB, and 2.0 GiB of memory are free" in message


def test_where_the_system_does_not_say_all_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available_bytes", lambda: None)
    room.require_room("v.nrrd", 1 << 60)
