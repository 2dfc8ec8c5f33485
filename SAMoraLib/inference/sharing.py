"""Several runs with ``--resume`` on one output folder: every volume is segmented by one of them, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from SAMoraLib.request import Job
from SAMoraLib.system.folder_lock import claimed
from SAMoraLib.volume.label_file import is_label_volume


def in_turn(jobs: Iterable[Job], notice: Callable[[str], None]) -> Iterator[Job]:
    """The jobs that are not done, each held against other runs while the caller works on it.

    What another run is busy with comes last, for that run may have been killed; what it is still busy with then is left
    to it, and told.
    """
    busy: list[Job] = []
    yield from _free(jobs, busy.append)
    yield from _free(busy, lambda job: notice(f"'{job.input.name}' is left to another run, which is busy with it."))


def _free(jobs: Iterable[Job], tell_busy: Callable[[Job], None]) -> Iterator[Job]:
    for job in jobs:
        with claimed(job.output) as is_ours:
            if not is_ours:
                tell_busy(job)
            elif not is_label_volume(job.output):  # looked at again: another run may just have written it
                yield job
