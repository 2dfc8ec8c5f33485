"""End with the program that started this one, also when that was killed and could end nothing itself (torch-free)."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable

from SAMoraLib.system.signals import exit_code, stopping_at_signals
from SAMoraLib.system.streams import unfailing_streams

VARIABLE = "SAMORA_END_WITH_PARENT"  # set by a parent that holds the other end of standard input as long as it lives
STANDARD_INPUT = 0
GRACE_SECONDS = 2.0  # to remove half files
INTERRUPTED = 130


def run_as_child(program: Callable[[], int]) -> int:
    """Run a program that ends with its parent: its own exit code, or that of the signal by which it was told to stop,
    which is ``INTERRUPTED`` for the parent's end.
    """
    with unfailing_streams(), stopping_at_signals():
        end_with_parent()
        try:
            return program()
        except KeyboardInterrupt as stop:
            return exit_code(stop)


def end_with_parent() -> None:
    """Watch standard input, where the parent asked for it: its end is the parent's."""
    if os.environ.pop(VARIABLE, ""):
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A job in a shell's background ignores interruptions, and its children inherit it: none could clean up.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # Not sys.stdin, whose lock this thread would hold for ever: Python asks for it when it ends, and aborts.
    try:
        while os.read(STANDARD_INPUT, 1):
            pass
    except OSError:
        pass  # closed is ended, too
    _thread.interrupt_main()
    time.sleep(GRACE_SECONDS)
    os._exit(INTERRUPTED)  # whatever the main thread is busy with
