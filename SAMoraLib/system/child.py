"""Work in a child process that may die of what it reads, and whoever waits lives on to tell (torch-free).

On Linux the child is a copy of this process, made within a millisecond, so that it has to be made before threads are
and before torch is imported; elsewhere it is a new interpreter.
"""

from __future__ import annotations

import _thread
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from SAMoraLib.system.out_of_memory import is_out_of_memory
from SAMoraLib.system.parent import GRACE_SECONDS, INTERRUPTED
from SAMoraLib.system.signals import (
    SIGNALS,
    STOPPED,
    TIDYING_SECONDS,
    describe_exit,
    exit_code,
    stop_at_signals,
    stop_by,
)
from SAMoraLib.system.streams import unfailing_streams

START = "fork" if sys.platform == "linux" else "spawn"  # macOS's own libraries do not work in a copy
RAISED: dict[str, type[Exception]] = {"ValueError": ValueError, "OSError": OSError, "MemoryError": MemoryError}
ASKED_AGAIN_SECONDS = 2 * TIDYING_SECONDS
ASKED = 3  # times: what is busy outside of Python hears nothing

Tell = Callable[[Any], None]
Work = Callable[[Tell], Any]


class ChildDied(Exception):
    """A child ended without a result.

    Attributes:
        code: its exit code; below 0 the signal that ended it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(describe_exit(code))
        self.code = code


def run_in_child(work: Work, hear: Tell, start: str = START) -> Any:
    """What ``work`` returns, in JSON's types; ``hear`` is given what it tells, in the same types, at once.

    Args:
        work: is given the function by which it tells; of a module, so that another interpreter finds it.

    Raises:
        ChildDied: it ended by a signal, by its own will or by an error that is none of the following.
        ValueError, OSError, ImportError, MemoryError: ``work`` raised it.
        KeyboardInterrupt: one of both was told to stop, by SIGINT or as ``Stopped`` says, and the child has ended.
    """
    context: Any = multiprocessing.get_context(start)
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(work, writer), daemon=True)
    child.start()
    writer.close()
    try:
        last = _listen(reader, hear)
        child.join()
    except KeyboardInterrupt:
        _stop(child)
        raise
    finally:
        reader.close()
    return _result(last, child.exitcode)


def _listen(reader: Connection, hear: Tell) -> Any:
    """Pass on what is told until the child is silent; its last message, where that is how it ended."""
    while True:
        try:
            message = json.loads(reader.recv_bytes())
        except (EOFError, OSError):  # also of a child that died within a message
            return None
        if "told" not in message:
            return message
        hear(message["told"])


def _result(last: Any, code: int) -> Any:
    if code - STOPPED in SIGNALS:
        raise stop_by(code - STOPPED)
    if last is None:
        raise ChildDied(code)
    if kind := last.get("raised"):
        raise RAISED[kind](last["text"]) if kind in RAISED else ImportError(last["text"], name=last["name"])
    return last["returned"]


def _stop(child: BaseProcess) -> None:
    """Let the child remove what is half done; a later interruption, or if it does not hear, ends it at once."""
    try:
        for _ in range(ASKED):
            if os.name == "posix":
                child.terminate()  # elsewhere the console has told it, too, and this would leave it no time
            child.join(ASKED_AGAIN_SECONDS)
            if not child.is_alive():
                return
    except KeyboardInterrupt:
        pass
    child.kill()
    child.join()


def _run(work: Work, writer: Connection) -> None:
    """In the child."""

    def send(**message: Any) -> None:
        writer.send_bytes(json.dumps(message).encode())

    try:
        _hear_parent()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        with unfailing_streams():
            send(returned=work(lambda told: send(told=told)))
    except KeyboardInterrupt as stop:
        sys.exit(exit_code(stop))
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError, SystemError) as error:
        if (kind := _kind(error)) is None:
            raise
        send(raised=kind, text=str(error), name=getattr(error, "name", None))


def _kind(error: Exception) -> str | None:
    """As what it is raised again; None for a fault of ours."""
    if is_out_of_memory(error):
        return "MemoryError"
    return next((kind.__name__ for kind in (ImportError, ValueError, OSError) if isinstance(error, kind)), None)


def _hear_parent() -> None:
    """Stop at signals until the process has ended, and at the parent's also where whoever started that ignores it."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_at_signals()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if hasattr(signal, "pthread_kill"):  # which also wakes a thread that waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(INTERRUPTED)  # whatever the main thread is busy with
