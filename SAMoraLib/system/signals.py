"""Signals that ask a program to end, answered as an interruption: what is half done is removed (torch-free)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)]  # Windows: two
STOPPED = 128  # and the signal's number: the exit code, as a shell says it
TIDYING_SECONDS = 5.0  # in which further signals are taken for echoes of the first


class Stopped(KeyboardInterrupt):
    """A signal other than SIGINT that asks for the end; as that one, it passes every ``except Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def stop_by(number: int) -> KeyboardInterrupt:
    """What a signal that asks for the end raises."""
    return KeyboardInterrupt() if number == signal.SIGINT else Stopped(number)


def exit_code(stop: KeyboardInterrupt) -> int:
    """129, 130 or 143 by SIGHUP, SIGINT or SIGTERM."""
    return STOPPED + int(getattr(stop, "number", signal.SIGINT))


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Inside, ``stop_at_signals`` holds, in the main thread."""
    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        stop_at_signals()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: a handler that Python does not know


def stop_at_signals() -> None:
    """From now on SIGTERM and SIGHUP raise ``Stopped`` in the main thread, and SIGINT KeyboardInterrupt.

    A signal that whoever started the program had it ignore, as ``nohup`` does, stays ignored. A terminal, a parent and
    a cluster send several at the same time, which must not interrupt the tidying up: the first counts. A later one
    counts again, for an interruption can be lost where Python cannot raise it.
    """
    last = float("-inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last >= TIDYING_SECONDS:  # else it is busy with ending
            last = time.monotonic()
            raise stop_by(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def describe_exit(code: int) -> str:
    """In words how a program ended that should not have ended yet."""
    if code in (-9, STOPPED + 9):  # or as a launcher passes it on
        return "was ended by the system (signal 9), most often because memory ran out"
    if code >= 0:
        return f"ended by itself (exit code {code})"
    name = signal.strsignal(-code) if -code in signal.valid_signals() else None
    return f"was ended by signal {-code}" + (f" ({name})" if name else "")
