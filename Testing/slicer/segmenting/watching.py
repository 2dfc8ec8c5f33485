"""Following a run from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def step_until(run: Any, condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert run.step() and time.monotonic() < end, (run.state, run.errors)
        time.sleep(0.01)


def only_error(run: Any) -> str:
    """The one sentence of a run that ended badly."""
    [message] = run.errors.values()
    assert message.endswith(".") and "\n" not in message and "volume-" not in message
    return message
