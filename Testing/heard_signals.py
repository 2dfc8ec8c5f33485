"""Tests begun by nohup, or by a shell in the background, have signals ignored; what they start would hear none."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def heard_signals() -> Iterator[None]:
    """What a test sends arrives at itself and its children."""
    defaults = {"SIGHUP": signal.SIG_DFL, "SIGINT": signal.default_int_handler}
    before = {name: signal.signal(getattr(signal, name), to) for name, to in defaults.items() if hasattr(signal, name)}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)
