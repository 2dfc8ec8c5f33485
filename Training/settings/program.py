"""How every command here ends: well, with the one sentence of what it refused, or told to stop.

| exit code | means |
|---|---|
| 0 | done |
| 1 | refused or failed; the last line says why |
| 2 | the command line was not understood |
| 129, 130, 143 | told to stop by SIGHUP, SIGINT (control C) or SIGTERM; the same command goes on |
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from SAMoraLib.system.signals import exit_code, stopping_at_signals
from SAMoraLib.system.streams import unfailing_streams


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
            raise SystemExit(exit_code(stop)) from None
