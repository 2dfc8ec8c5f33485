"""Every test is guarded; and before any imports segment_anything: its torchvision may not match torch."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from SAMoraLib.packages.torchvision import importable_torchvision
from Testing.guard import guarded, own_folders  # noqa: F401  fixtures

with importable_torchvision():
    import segment_anything  # noqa: F401  whole: a test may ask for what is not used here


@pytest.fixture(autouse=True)
def heard_signals() -> Iterator[None]:
    """What a test sends arrives at itself and its children, also where the tests were begun by nohup, or by a shell in
    the background, which have signals ignored.
    """
    defaults = {"SIGHUP": signal.SIG_DFL, "SIGINT": signal.default_int_handler}
    before = {name: signal.signal(getattr(signal, name), to) for name, to in defaults.items() if hasattr(signal, name)}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)
