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


def resident_mb(pid: int, peak: bool = False) -> float:
    """Memory of a running process in MB, now or at most so far; 0 of one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def handles(pid: int) -> int:
    """Files, pipes and sockets that a running process holds open; 0 of one that has ended."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0
