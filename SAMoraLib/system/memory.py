"""What Linux says of memory: of the machine, of the container or job that this process is in, and of the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from SAMoraLib.system.control_groups import control_groups, lines_of, number_in

ROOT = Path("/")  # of the files below
ADDRESS_SPACE = "Max address space"
# In a control group's folder: its limit, what it takes, and the key in memory.stat of what it would give back at once.
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_bytes(root: Path = ROOT) -> int | None:
    """What may still be taken: free on the machine, and allowed to this process and to every control group around it,
    as containers and cluster jobs have them. None where the system does not say.
    """
    rooms = (_kilobytes(root / "proc/meminfo", "MemAvailable:"), address_space_left(root), *_rooms(root))
    return min((room for room in rooms if room is not None), default=None)


def address_space_left(root: Path = ROOT) -> int | None:
    """What this process may still map, where ``ulimit -v`` or a cluster's queue limits it; None without a limit."""
    line = next((line for line in lines_of(root / "proc/self/limits") if line.startswith(ADDRESS_SPACE)), "")
    limit, *_ = line.removeprefix(ADDRESS_SPACE).split() or ("",)
    taken = _kilobytes(root / "proc/self/status", "VmSize:")
    if not limit.isdecimal() or taken is None:  # "unlimited" is none
        return None
    return max(0, int(limit) - taken)


def resident_bytes(root: Path = ROOT) -> int:
    """Of this process; 0 where the system does not say."""
    return _kilobytes(root / "proc/self/status", "VmRSS:") or 0


def _kilobytes(path: Path, name: str) -> int | None:
    """A line like "MemAvailable:  1234 kB", in bytes."""
    return next((int(line.split()[1]) * 1024 for line in lines_of(path) if line.startswith(name)), None)


def _rooms(root: Path) -> Iterator[int | None]:
    """What each control group leaves."""
    for version, folder in control_groups("memory", root):
        yield _room(folder, *(VERSION_1 if version == 1 else VERSION_2))


def _room(folder: Path, limit_name: str, usage_name: str, cached_key: str) -> int | None:
    """None without a limit."""
    limit, usage = (number_in(folder / name) for name in (limit_name, usage_name))
    if limit is None or usage is None:
        return None
    counted = (line.split() for line in lines_of(folder / "memory.stat"))
    cached = next((int(number) for key, number in counted if key == cached_key), 0)
    return max(0, limit - usage + cached)
