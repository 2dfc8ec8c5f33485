"""Libraries that print on standard error by themselves, while what they say is said better elsewhere (torch-free)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STANDARD_ERROR = 2


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, whatever this process writes to standard error goes nowhere, C's own output too, as decoders have it."""
    sys.stderr.flush()
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_ERROR)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
