"""How many processors are free for this process: idle, or busy with it already (torch-free).

As Linux counts their time, between two moments: so nothing waits to find out, and programs that begin together see each
other, which the load average does not show them for a minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from SAMoraLib.system.control_groups import control_groups, lines_of, number_in

ROOT = Path("/")
NICE, IDLE, WAITING = 1, 3, 4  # columns of /proc/stat


@dataclass(frozen=True)
class Moment:
    """Clocks, in seconds.

    Attributes:
        idle: of all processors that this process may use, and what programs took that give way to it.
        total: of these processors.
        own: what this process took.
        groups: of each control group that has a limit, what it took.
    """

    time: float
    idle: float
    total: float
    own: float
    groups: tuple[float, ...] = ()


def look(root: Path = ROOT) -> Moment | None:
    """Now; None where the system does not say."""
    columns = [_counted(line) for line in lines_of(root / "proc/stat") if _is_ours(line)]
    if not columns:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    gives_way = [IDLE, WAITING] if os.nice(0) else [IDLE, WAITING, NICE]
    idle = sum(processor[column] for processor in columns for column in gives_way) / ticks
    total = sum(map(sum, columns)) / ticks
    return Moment(time.monotonic(), idle, total, time.process_time(), tuple(used for _, used in _limits(root)))


def free_between(before: Moment, after: Moment, root: Path = ROOT) -> float | None:
    """How many processors this process could have had; None where that cannot be told."""
    seconds = after.time - before.time
    if seconds <= 0 or after.total <= before.total:
        return None
    own = (after.own - before.own) / seconds
    free = (after.idle - before.idle) / seconds + own
    for (allowed, _), used_before, used in zip(_limits(root), before.groups, after.groups, strict=False):
        free = min(free, allowed - (used - used_before) / seconds + own)
    return max(0.0, free)


def _is_ours(line: str) -> bool:
    name, *_ = line.split(" ")
    return name[:3] == "cpu" and name[3:].isdecimal() and int(name[3:]) in os.sched_getaffinity(0)


def _counted(line: str) -> list[int]:
    """User, nice, system, idle, waiting, two kinds of interrupts, and what other machines on the same computer took."""
    return [int(number) for number in line.split()[1:9]]


def _limits(root: Path) -> Iterator[tuple[float, float]]:
    """Processors that each control group allows, where it does not allow all, and the seconds that it has used."""
    for version, folder in control_groups("cpu", root):
        if version == 2:
            quota, _, period = next(iter(lines_of(folder / "cpu.max")), "").partition(" ")
            used = next((int(line.split()[1]) / 1e6 for line in lines_of(folder / "cpu.stat")
                         if line.startswith("usage_usec ")), None)
        else:
            quota, period = (str(number_in(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
            nanoseconds = number_in(folder / "cpuacct.usage")
            used = None if nanoseconds is None else nanoseconds / 1e9
        if quota.isdecimal() and period.isdecimal() and used is not None:
            yield int(quota) / int(period), used
