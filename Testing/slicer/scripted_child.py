"""A child process that is none: it says what a test lets it say, when the test lets it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SAMoraSlicer.process import ChildProcess


class ScriptedChild(ChildProcess):
    """In place of a ``ChildProcess``: no program, no thread and no waiting.

    Attributes:
        command: what it was started with.
        request: what the file after ``--request`` held; {} without one.
        cancelled: whether it was told to end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.command: list[str] = []
        self.request: dict[str, Any] = {}
        self.cancelled = False
        self._code: int | None = None
        self._said: list[dict[str, Any]] = []

    def say(self, event: str, **values: Any) -> None:
        self._said.append({"event": event, **values})

    def end(self, code: int, *last_words: str) -> None:
        self._code = code
        self._lines.extend(last_words)

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        if "--request" in self.command:
            path = Path(self.command[self.command.index("--request") + 1])
            self.request = json.loads(path.read_text(encoding="utf-8"))

    def poll(self) -> int | None:
        return self._code

    def events(self) -> list[dict[str, Any]]:
        arrived, self._said = self._said, []
        return arrived

    def cancel(self) -> None:
        self.cancelled = True
