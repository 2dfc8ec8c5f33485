"""Imports that the garbage collector leaves alone (torch-free)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """What is made inside is kept until the program ends, and never searched for garbage.

    Modules live as long as the program, and torch alone is some hundred thousand objects: searching them again and
    again while they are imported, and once more at the end, takes a third of the time of a program that does no more.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
