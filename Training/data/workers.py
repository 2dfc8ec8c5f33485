"""Jobs shared among processes, which end with the one that started them and say nothing of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Job = TypeVar("Job")
WAITED_OUT = ("SIGINT", "SIGHUP")  # a terminal sends them to all its processes: a worker ends its job, and then


def do_all(work: Callable[[Job], object], jobs: Sequence[Job], workers: int, title: str, unit: str = "case") -> None:
    """Do every job, ``workers`` at a time; where the program is stopped, those that have begun are the last.

    Raises:
        Exception: that of the first job that failed.
    """
    with ProcessPoolExecutor(workers, initializer=_leave_signals_to_the_first) as pool:
        try:
            for _ in tqdm(pool.map(work, jobs), total=len(jobs), desc=title, unit=unit, disable=not jobs):
                pass
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _leave_signals_to_the_first() -> None:
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    for name in WAITED_OUT:
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_with_the_first() -> None:
    """Also where that one is killed, and can end nobody."""
    if (first := multiprocessing.parent_process()) is not None:
        first.join()
        os._exit(1)
