"""Several runs with ``--resume`` on one output folder: every volume is segmented by one of them, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from SAMoraLib.request import Job
from SAMoraLib.system.folder_lock import claimed
from SAMoraLib.volume.label_file import is_label_volume


def in_turn(jobs: Sequence[Job], notice: Callable[[str], None]) -> Iterator[tuple[int, Job]]:
    """The jobs that are not done, with their numbers, each held against other runs while the caller works on it.

    What another run is busy with comes last, for that run may have been killed; what it is still busy with then is left
    to it, and told.
    """
    busy: list[int] = []
    yield from _free(jobs, range(len(jobs)), busy.append)
    yield from _free(jobs, busy, lambda number: notice(f"'{jobs[number].input.name}' is left to another run, which is "
                                                       "busy with it."))


def _free(jobs: Sequence[Job], numbers: Iterable[int], tell_busy: Callable[[int], None]) -> Iterator[tuple[int, Job]]:
    for number in numbers:
        with claimed(jobs[number].output) as is_ours:
            if not is_ours:
                tell_busy(number)
            elif not is_label_volume(jobs[number].output):  # looked at again: another run may just have written it
                yield number, jobs[number]
