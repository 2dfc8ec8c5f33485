"""A run goes on in a new process after a volume that ended one: a file that kills a reader, or takes all memory
(torch-free, for this process must outlive the one that computes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from SAMoraLib.inference.reporter import Reporter
from SAMoraLib.request import Job, Request
from SAMoraLib.system.child import START, ChildDied, run_in_child
from SAMoraLib.system.signals import describe_exit

READING, SEGMENTING, DONE, REFUSED = "reading", "segmenting", "done", "refused"

Tell = Callable[[Any], None]
Predict = Callable[[Request, bool, Tell], int]


class Course:
    """How far a process came, by what it told: the number of a job, and a word of the above."""

    def __init__(self) -> None:
        self.number, self.stage, self.refused = -1, DONE, 0
        self.begun: set[int] = set()

    def hear(self, told: Sequence[Any]) -> None:
        self.number, self.stage = told
        self.refused += self.stage == REFUSED
        self.begun.add(self.number)


def is_worth_it(request: Request, start: str = START) -> bool:
    """Whether a process more costs nothing, or saves other volumes: a new interpreter takes half a second."""
    return start == "fork" or len(request.jobs) > 1


def predict_and_restart(predict: Predict, request: Request, as_json: bool, start: str = START) -> int:
    """Predict in a child process, and in another one what is left where a volume ended it.

    Args:
        predict: segments the volumes of a request, tells of each as ``Course`` hears it, and returns how many were
            refused; of a module, and may load what it likes.

    Returns:
        How many volumes were refused, or ended a process.

    Raises:
        ValueError, OSError, ImportError, MemoryError: as ``predict``, or a process ended before its first volume.
        KeyboardInterrupt: the run was told to stop.
    """
    refused, jobs = 0, request.jobs
    while jobs:
        course = Course()
        try:
            returned = run_in_child(partial(predict, replace(request, jobs=jobs), as_json), course.hear, start)
            return refused + int(returned)
        except ChildDied as death:
            if course.number < 0:
                raise OSError(f"The process that segments {describe_exit(death.code)} before its first volume; close "
                              "other programs and try again, or install SAMora's packages again.") from death
            refused += course.refused
            if course.stage in (READING, SEGMENTING):
                refused += 1
                job = jobs[course.number]
                Reporter(as_json).failure(str(job.input), sentence(job, course.stage, death.code))
        jobs = tuple(job for number, job in enumerate(jobs) if number not in course.begun)  # not always in their order
    return refused


def sentence(job: Job, stage: str, code: int) -> str:
    """Which volume ended a process, and what to do about it."""
    name, how = job.input.name, describe_exit(code)
    if code == -9:
        return (f"'{name}' could not be segmented: the process {how} while {stage} it; close other programs, or crop "
                "or resample it.")
    if stage == READING:
        return f"'{name}' cannot be read: the process {how} while reading it; it is damaged, so export it again."
    return (f"'{name}' could not be segmented: the process {how} while segmenting it; try a smaller batch size or "
            "another device.")
