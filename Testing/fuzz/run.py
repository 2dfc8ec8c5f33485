"""Inputs are read in child processes: what ends one, or never ends, is one finding, and the next child goes on.

A child is a fork, so that torch is loaded once. It has limits of memory and of processor time, no core dumps, and
neither input nor output. It tells what became of each input; at which one it died is known by what it did not tell.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TextIO

from Testing.fuzz.findings import CRASH, HANG, MEMORY, WRONG, Finding, fault_of, place_in, traceback_of
from Testing.fuzz.formats import Format
from Testing.fuzz.mutate import MARK, Mutant

TOLD = "told"  # what faulthandler writes of a child's end
LOOK_SECONDS = 0.2
MOST_TEXT = 20_000
VARYING = re.compile(r"[\d'(:]")  # where what is wrong begins to differ from input to input
FORK: Any = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Limits:
    """Of one input.

    Attributes:
        memory: bytes that a child may have beside those that it begins with.
        processor_seconds: of computing.
        seconds: of waiting.
    """

    memory: int = 1 << 30
    processor_seconds: float = 5.0
    seconds: float = 60.0


@dataclass(frozen=True)
class Task:
    """Inputs of one format, for one child."""

    kind: Format
    seed: int
    numbers: Sequence[int]


@dataclass(frozen=True)
class Outcome:
    """What became of one input: it was accepted, or refused in a sentence, or is a finding."""

    format: str
    number: int
    accepted: bool = False
    finding: Finding | None = None


class Child:
    """A process at work on a task.

    Attributes:
        connection: by which it tells its outcomes; it ends when the child does.
        done: how many it has told.
    """

    def __init__(self, task: Task, limits: Limits) -> None:
        self.task, self.limits, self.done = task, limits, 0
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.connection, theirs = FORK.Pipe(duplex=False)
        self.process = FORK.Process(target=_read_all, args=(theirs, task, limits, self.folder), daemon=True)
        self.process.start()
        theirs.close()
        self._heard = time.monotonic()

    @property
    def is_late(self) -> bool:
        return time.monotonic() - self._heard > self.limits.seconds

    def receive(self) -> Outcome | None:
        """The next outcome; None when there is none to come."""
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.done += 1
        self._heard = time.monotonic()
        return outcome

    def end(self) -> None:
        """Whatever it does; of one that is late faulthandler first says where it was."""
        if self.is_late:
            os.kill(self.process.pid, signal.SIGABRT)
        self.process.join(1)
        self.process.kill()
        self.process.join()
        self.connection.close()

    def death(self) -> Outcome:
        """Why it has ended before its time."""
        kind, seed, number = self.task.kind, self.task.seed, self.task.numbers[self.done]
        told = self.folder / TOLD
        text = told.read_text(errors="replace") if told.exists() else ""
        fault, what = _cause(self.process.exitcode, self.is_late)
        finding = Finding(kind.name, seed, number, fault, what, text, place_in(text, innermost_first=True),
                          kind.mutant(seed, number).how)
        return Outcome(kind.name, number, finding=finding)

    def rest(self) -> Task:
        """What is left after the input at which it died."""
        return replace(self.task, numbers=self.task.numbers[self.done + 1:])


def _cause(exit_code: int, is_late: bool) -> tuple[str, str]:
    if is_late:
        return HANG, "no answer"
    if exit_code == -signal.SIGPROF:
        return HANG, "no end"
    if exit_code == -signal.SIGKILL:
        return MEMORY, "killed by the system"
    return CRASH, signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def outcomes(tasks: Iterable[Task], limits: Limits, workers: int = 1) -> Generator[Outcome, None, None]:
    """Read the inputs of all tasks, in ``workers`` children at a time; of one task in order."""
    waiting, children = deque(tasks), list[Child]()
    for task in waiting:
        task.kind.seeds()  # before the forks, for all of them
    try:
        while waiting or children:
            while waiting and len(children) < workers:
                children.append(Child(waiting.popleft(), limits))
            ready = wait([child.connection for child in children], LOOK_SECONDS)
            for child in list(children):
                outcome = child.receive() if child.connection in ready else None
                if outcome is not None:
                    yield outcome
                elif child.connection in ready or child.is_late:
                    children.remove(child)
                    yield from _ended(child, waiting)
    finally:
        for child in children:
            child.process.kill()
            child.end()
            shutil.rmtree(child.folder, ignore_errors=True)


def _ended(child: Child, waiting: deque[Task]) -> Iterator[Outcome]:
    """The input at which a child has died, if it has; another one is to go on."""
    child.end()
    if child.done < len(child.task.numbers):
        yield child.death()
        if (rest := child.rest()).numbers:
            waiting.appendleft(rest)
    shutil.rmtree(child.folder, ignore_errors=True)


def _read_all(connection: Connection, task: Task, limits: Limits, folder: Path) -> None:
    """The child; it leaves without Python's own end, which would wait for what the fork has lost."""
    told = confine(limits, folder / TOLD)
    for number in task.numbers:
        try:
            connection.send(read_one(task, number, limits, folder / "input"))
        except OSError:  # nobody listens any more
            break
    told.flush()
    os._exit(0)


def confine(limits: Limits, told: Path) -> TextIO:
    """Take from this process its streams, most of the memory, and core dumps; let its violent end be told.

    Returns:
        Where that is written, to be kept open.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers for all
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    sys.stdin = sys.stdout = sys.stderr = os.fdopen(nothing, "r+")  # whatever they were
    file = told.open("w")
    faulthandler.enable(file)
    faulthandler.register(signal.SIGPROF, file, all_threads=False, chain=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    own = Path("/proc/self/statm")
    if own.exists():
        most = int(own.read_text().split()[0]) * resource.getpagesize() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return file


def read_one(task: Task, number: int, limits: Limits, folder: Path) -> Outcome:
    """Write an input, read it, look at what was accepted."""
    mutant = task.kind.mutant(task.seed, number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.chdir(folder)  # where a name without a folder leads, and what runs would leave its mark
    mutant.write(folder)
    accepted, fault, text = False, None, ""
    signal.setitimer(signal.ITIMER_PROF, limits.processor_seconds)
    try:
        result = task.kind.read(folder)
        accepted = True
        if text := _wrong(task.kind, mutant, folder, result):
            fault = WRONG, VARYING.split(text)[0].strip()
    except BaseException as error:
        fault = fault_of(error)
        text = traceback_of(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if (folder / MARK).exists():
        fault = WRONG, "code in the file was run"
    if fault is None:
        return Outcome(task.kind.name, number, accepted)
    finding = Finding(task.kind.name, task.seed, number, *fault, text[-MOST_TEXT:], place_in(text), mutant.how)
    return Outcome(task.kind.name, number, accepted, finding)


def _wrong(kind: Format, mutant: Mutant, folder: Path, result: object) -> str:
    """What the format's check says; where it fails, what was accepted cannot be used."""
    try:
        return kind.wrong(mutant, folder, result)
    except Exception as error:
        return f"accepted and then {type(error).__name__}: {error}"
