"""Work shared among the processes of torchrun or SLURM: each item is done once, by one of them (torch-free).

Nothing is sent between the processes: each knows its own number and takes its share. So one that dies takes no other
along, and the next run does what is left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

# (this process, all processes, this process on its computer): as torchrun says it, and SLURM's srun. SLURM_NTASKS would
# be there in a batch script without srun, too, which is one process.
LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))

Item = TypeVar("Item")


def rank_and_world(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """(number of this process, number of processes); (0, 1) where no launcher started it.

    Raises:
        ValueError: the launcher's variables contradict each other.
    """
    for rank_name, world_name, _ in LAUNCHERS:
        if rank_name in environment and world_name in environment:
            values = environment[rank_name], environment[world_name]
            if not all(value.isdecimal() for value in values) or int(values[0]) >= int(values[1]):
                raise ValueError(f"{rank_name} is '{values[0]}' and {world_name} '{values[1]}', which no launcher "
                                 "sets; start with torchrun or srun, or unset both.")
            return int(values[0]), int(values[1])
    return 0, 1


def local_rank(environment: Mapping[str, str] = os.environ) -> int | None:
    """Number of this process on its computer, to choose a card by; None where no launcher started it."""
    for names in LAUNCHERS:
        if all(name in environment for name in names):
            return int(environment[names[2]])
    return None


def share_of(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """Every ``world``-th item: the shares of all ranks are disjoint and together are all items."""
    return list(items[rank::world])
