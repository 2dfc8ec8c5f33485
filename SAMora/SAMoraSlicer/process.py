"""A child process that tells of its work in JSON lines: polled, never waited for, and ended with all that it started.

Neither Slicer nor Qt is needed, so that the panel, the console and a batch without them share it.
"""

from __future__ import annotations

import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import SAMoraLib
from SAMoraLib.system.parent import VARIABLE as END_WITH_PARENT
from SAMoraLib.system.streams import one_line
from SAMoraSlicer.events import LONGEST_LINE, read_event
from SAMoraSlicer.report import anonymous

LIBRARY = Path(SAMoraLib.__file__).resolve().parents[1]  # the folder that holds SAMoraLib
MODULE = Path(__file__).resolve().parents[1]  # the folder that holds SAMoraSlicer: the same one when installed
GRACE_SECONDS = 0.5  # for a child to remove its half files, and for what it started to end with it
LOG_LINES = 400
LINE_BYTES = LONGEST_LINE
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS",
                      "SLURM_LOCALID")
WINDOWS = sys.platform == "win32"
NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # which Windows alone knows


def python_command() -> list[str]:
    """The Python that has Slicer's packages: PythonSlicer, or outside Slicer the running one."""
    return [shutil.which("PythonSlicer") or sys.executable]


def child_environment() -> dict[str, str]:
    """This process's environment, with the packages of this module importable and every text in UTF-8; without the
    variables by which a launcher's processes share volumes: a child does all of its own.
    """
    paths = [str(LIBRARY), str(MODULE), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}


class ChildProcess:
    """A program, started once, whose standard output is events (``events.py``), one a line.

    Everything else that it says is kept as ``log``. It does not outlive this object or this process.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        self._readers: list[threading.Thread] = []
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._ended_at: float | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start the program and return at once.

        It works in the folder that holds SAMoraLib: ``-m SAMoraLib`` then finds it even where PythonSlicer's launcher
        sets PYTHONPATH anew.

        Raises:
            OSError: the program cannot be started.
        """
        self._command = list(command)
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=LIBRARY, env={**(environment or child_environment()), END_WITH_PARENT: "1"},
                start_new_session=not WINDOWS,  # a group of its own, which can be ended as a whole
                creationflags=NO_WINDOW)
        except OSError as error:
            raise OSError(f"'{self._command[0]}' cannot be started ({error.strerror}); check that it is there and may "
                          "be run.") from error
        weakref.finalize(self, _end_tree_of, self._process)
        readers = ((_read_events, self._process.stdout, self._events, self._lines),
                   (_read_log, self._process.stderr, self._lines))  # not self, which they would keep alive
        self._readers = [threading.Thread(target=read, args=arguments, daemon=True) for read, *arguments in readers]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """The last lines that were no events."""
        return "\n".join(self._lines)

    def events(self) -> list[dict[str, Any]]:
        """What has arrived since the last call."""
        arrived = []
        while not self._events.empty():
            arrived.append(self._events.get())
        return arrived

    def poll(self) -> int | None:
        """The exit code, once the program has ended and all that it said can be had; None before."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._ended_at = self._ended_at or time.monotonic()
        if self._is_heard:  # something that it started still holds its output
            if time.monotonic() - self._ended_at < GRACE_SECONDS:
                return None
            _end_group(self._process.pid)
            self._wait_until_silent()
        return code

    def cancel(self) -> None:
        """End the program and all that it started, in less than 2 s; nothing if it has ended."""
        if self._process is None or self.poll() is not None:
            return
        if not WINDOWS:
            _signal_group(self._process.pid, signal.SIGINT)
            self._wait_until_silent()
        _end_group(self._process.pid)
        self._process.wait()
        self._wait_until_silent()

    def report(self, private: Iterable[str | Path] = (), **facts: Any) -> str:
        """What a person who is asked for help needs to know, as text; of paths and private names nothing.

        Args:
            private: paths and names that must not be told, in whichever spelling (``report.anonymous``).
        """
        facts = {"SAMora": SAMoraLib.__version__, "Python": platform.python_version(), "system": platform.platform(),
                 **facts}
        words = [one_line(word) for word in self._command]
        told = "\n".join(f"{name}: {value}" for name, value in facts.items())
        # In one go, which takes a moment beside thousands of names. A path in a word never ends in the next one.
        said = "\n".join([*words, told, f"exit code: {self.poll()}", "log:", self.log])
        masked = anonymous(said, private).split("\n")
        return "\n".join([f"command: {' '.join(masked[:len(words)])}", *masked[len(words):]])

    @property
    def _is_heard(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def _wait_until_silent(self) -> None:
        end = time.monotonic() + GRACE_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, end - time.monotonic()))


def _read_events(stream: BinaryIO, events: queue.SimpleQueue[dict[str, Any]], lines: deque[str]) -> None:
    for line in _lines_of(stream):
        event = read_event(line)
        if event is None:
            lines.append(line)
        else:
            events.put(event)


def _read_log(stream: BinaryIO, lines: deque[str]) -> None:
    lines.extend(_lines_of(stream))


def _lines_of(stream: BinaryIO) -> Iterator[str]:
    while line := stream.readline(LINE_BYTES):
        yield line.decode("utf-8", errors="replace").rstrip()


def _end_tree_of(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _end_group(process.pid)
        process.wait()


def _end_group(pid: int) -> None:
    """End a process and all that it started, now."""
    if WINDOWS:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False,
                       creationflags=NO_WINDOW)
    else:
        _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass  # all of it has ended
    except PermissionError:
        pass  # macOS says so of a group of which only the dead remain
