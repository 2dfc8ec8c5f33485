"""How every command here ends: well, with the one sentence of what it refused, or told to stop.

| exit code | means |
|---|---|
| 0 | done |
| 1 | refused or failed; the last line says why |
| 2 | the command line was not understood |
| 129, 130, 143 | told to stop by SIGHUP, SIGINT (control C) or SIGTERM; the same command goes on |
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from SAMoraLib.system.streams import unfailing_streams

# Windows has no SIGHUP.
SIGNALS = [getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]
STOPPED = 128  # and the signal's number, as a shell says it


class Stopped(KeyboardInterrupt):
    """A signal other than SIGINT that asks for the end; as that one, it passes every ``except Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def program(printing_is_all: bool = False) -> Iterator[None]:
    """Inside, printing never fails, a ValueError or OSError ends the program with its sentence and exit code 1, and a
    signal as an interruption does: what is half done is removed, other processes are ended.

    Args:
        printing_is_all: see ``unfailing_streams``.
    """
    with unfailing_streams(printing_is_all), stopping_at_signals():
        try:
            yield
        except (ValueError, OSError) as error:
            raise SystemExit(str(error)) from error
        except KeyboardInterrupt as stop:
            print("Stopped; the same command goes on from here.", file=sys.stderr)
            raise SystemExit(STOPPED + getattr(stop, "number", signal.SIGINT)) from None


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise ``Stopped``, once, as SIGINT raises KeyboardInterrupt.

    A signal that whoever started the program had it ignore, as ``nohup`` does, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listening = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        listening = []
    for number in listening:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in listening:
            signal.signal(number, before[number])


def _stop(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:  # a closing terminal sends several, which would interrupt the tidying up
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
