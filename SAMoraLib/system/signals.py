"""Signals that ask a program to end, answered as an interruption: what is half done is removed (torch-free)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Control C is Python's own already; Windows has no SIGHUP.
SIGNALS = [getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]
STOPPED = 128  # and the signal's number: the exit code, as a shell says it
TIDYING_SECONDS = 5.0  # in which further signals are taken for echoes of the first


class Stopped(KeyboardInterrupt):
    """A signal other than SIGINT that asks for the end; as that one, it passes every ``except Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """129, 130 or 143 by SIGHUP, SIGINT or SIGTERM."""
    return STOPPED + int(getattr(stop, "number", signal.SIGINT))


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise ``Stopped`` in the main thread, as SIGINT raises KeyboardInterrupt.

    A signal that whoever started the program had it ignore, as ``nohup`` does, stays ignored. A closing terminal and a
    cluster send several, which must not interrupt the tidying up.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listening = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    last = float("-inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last >= TIDYING_SECONDS:  # else it is busy with ending
            last = time.monotonic()
            raise Stopped(number)

    try:
        for number in listening:
            signal.signal(number, stop)
        yield
    finally:
        for number in listening:
            signal.signal(number, before[number] or signal.SIG_DFL)  # None: a handler that Python does not know
