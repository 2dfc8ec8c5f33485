"""What one trial measured, and what is seen of a process from outside (Linux)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """Numbers by name, and whether they are what has to hold."""

    holds: bool
    measured: dict[str, float]


def family(pid: int) -> list[int]:
    """A process and those that it started; none of one that has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def resident_mb(pid: int, peak: bool = False) -> float:
    """Memory of a running process and those that it started in MB, now or at most so far."""
    return sum(_resident_mb(each, peak) for each in family(pid))


def handles(pid: int) -> int:
    """Files, pipes and sockets that a running process and those that it started hold open."""
    return sum(map(_handles, family(pid)))


def _resident_mb(pid: int, peak: bool) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def _handles(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0
