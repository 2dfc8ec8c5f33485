"""Runs of a grid as child processes, several at a time, each on its own device; what is finished is not run again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from SAMoraLib.system.files import write_json
from SAMoraLib.system.folder_lock import FolderInUse, FolderLock
from SAMoraLib.system.untrusted_json import read_json
from Training.grids.plan import PlannedRun

PAUSE = 0.2  # seconds between two looks at the children
LAST_WORDS = 4000  # bytes of a log that are searched for its last line
GRACE_SECONDS = 60.0  # for a child to remove half files


@dataclass
class Progress:
    """What became of each run, by name."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # and why

    def is_over(self, run: PlannedRun) -> bool:
        return run.name in self.finished or run.name in self.failed


@dataclass
class Child:
    """A run at work."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    device: str | None
    started: float


def execute(runs: Sequence[PlannedRun], output: Path, slots: Sequence[str | None]) -> Progress:
    """Run everything whose needs are finished, as many at once as there are ``slots``; failures do not stop the others.

    Args:
        output: the grid's folder: ``logs/NAME.log``, and ``finished/NAME.json`` with the command that finished.
        slots: what each child sees as CUDA_VISIBLE_DEVICES; None leaves it as it is.

    Raises:
        ValueError: another process, or a child that outlived its grid, is at work in ``output``.
    """
    progress, free = Progress(), list(slots)
    children: list[Child] = []
    with _alone(output) as lock:
        try:
            while any(not progress.is_over(run) for run in runs):
                _start_ready(runs, output, free, children, progress, lock)
                time.sleep(PAUSE if children else 0)
                for child in [child for child in children if child.process.poll() is not None]:
                    children.remove(child)
                    free.append(child.device)
                    _note_end(child, output, progress)
        finally:  # interrupted: each child goes on from its last saved state next time
            _end(children)
    return progress


def _end(children: Sequence[Child]) -> None:
    for child in children:
        child.process.terminate()
    for child in children:
        try:
            child.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _start_ready(runs: Sequence[PlannedRun], output: Path, free: list[str | None], children: list[Child],
                 progress: Progress, lock: int | None) -> None:
    at_work = {child.run.name for child in children}
    for run in runs:
        if progress.is_over(run) or run.name in at_work:
            continue
        if lost := [name for name in run.needs if name in progress.failed]:
            progress.failed[run.name] = f"not started, it needs {', '.join(lost)}"
        elif is_finished(run, output):
            progress.finished.append(run.name)
        elif free and all(name in progress.finished for name in run.needs):
            children.append(_start(run, output, free.pop(0), lock))


def is_finished(run: PlannedRun, output: Path) -> bool:
    """Whether exactly this command has finished before, and its folder is still there; not if nobody can tell."""
    path = _marker(run, output)
    try:
        return path.is_file() and _folder(run).is_dir() and read_json(path) == [run.script, *run.arguments]
    except ValueError:
        return False


def _marker(run: PlannedRun, output: Path) -> Path:
    return output / "finished" / f"{run.name}.json"


def _folder(run: PlannedRun) -> Path:
    """Where the run writes; its ``output`` may be another run's subfolder."""
    return Path(next(argument for argument in run.arguments if argument.startswith("--output=")).split("=", 1)[1])


def _start(run: PlannedRun, output: Path, device: str | None, lock: int | None) -> Child:
    log = output / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})
    on = "" if device is None else f" on device {device}"
    print(f"{run.name}: started{on}, log in {log}", flush=True)
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-m", f"Training.{run.script}", *run.arguments], env=environment,
                                   stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                   pass_fds=() if lock is None else (lock,))
    return Child(run, process, device, time.monotonic())


def _note_end(child: Child, output: Path, progress: Progress) -> None:
    minutes = (time.monotonic() - child.started) / 60
    if child.process.returncode == 0:
        write_json(_marker(child.run, output), [child.run.script, *child.run.arguments])
        progress.finished.append(child.run.name)
        print(f"{child.run.name}: finished after {minutes:.1f} minutes", flush=True)
    else:
        progress.failed[child.run.name] = _last_line(output / "logs" / f"{child.run.name}.log")
        print(f"{child.run.name}: FAILED: {progress.failed[child.run.name]}", flush=True)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:  # of any size
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_WORDS))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


@contextmanager
def _alone(output: Path) -> Iterator[int | None]:
    """Hold the grid's lock, which the children inherit: killed or not, nobody writes where one of them still does."""
    lock = FolderLock(output)
    try:
        lock.take()
    except FolderInUse as error:
        raise ValueError(f"'{output}' is in use by another grid, or by a run that outlived its own; wait until it "
                         "ends, or end it.") from error
    try:
        yield lock.descriptor
    finally:
        lock.release()
