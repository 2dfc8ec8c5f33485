"""A point as the decimal sign while a C++ library reads or writes numbers as text (torch-free).

ITK prints and parses headers by the process's locale, which anybody may have set: Qt's QApplication takes the user's.
With a German one a spacing becomes "1,75", which no program reads back.
"""

from __future__ import annotations

import locale
import threading
from collections.abc import Iterator
from contextlib import contextmanager

POINT = "C"  # the locale that every system has

_lock = threading.Lock()
_inside = 0  # threads and levels that need the point now
_before = POINT


@contextmanager
def decimal_point() -> Iterator[None]:
    """Inside, numbers have a point, whatever the locale; afterwards the locale is the one before. Also a decorator.

    The locale is the whole process's: where threads are inside at once, the last one that leaves restores it.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = locale.setlocale(locale.LC_NUMERIC)
            locale.setlocale(locale.LC_NUMERIC, POINT)
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            locale.setlocale(locale.LC_NUMERIC, _before)
