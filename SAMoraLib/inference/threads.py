"""As many threads as there are free processors, looked at again while the work goes on.

torch takes as many as there are processors, and its threads wait for each other: where other programs have some of
them, each step is as slow as the slowest thread. Four runs at once on two processors took six times as long so.
"""

from __future__ import annotations

import os

import torch

from SAMoraLib.system.processors import Moment, free_between, look

CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # by which somebody has chosen already, as torchrun does
SECONDS = 1.0  # between two looks


class FreeThreads:
    """Chooses the threads of torch.

    Args:
        number: as many as these, whatever is free; None: by what is free, unless the environment says how many.
        since: when the program began, so that what others did while it loaded counts.
    """

    def __init__(self, number: int | None = None, since: Moment | None = None) -> None:
        if number is not None:
            torch.set_num_threads(number)
        is_chosen = number is not None or any(map(os.environ.get, CHOSEN))
        self._most = torch.get_num_threads()
        self._before = None if is_chosen else since or look()

    def adapt(self) -> None:
        """Take what was free since the last look; between two batches, or at the beginning."""
        if self._before is None or (now := look()) is None or now.time - self._before.time < SECONDS:
            return
        free, self._before = free_between(self._before, now), now
        if free is None:
            return
        number = max(1, min(self._most, round(free)))
        if number != torch.get_num_threads():
            torch.set_num_threads(number)
