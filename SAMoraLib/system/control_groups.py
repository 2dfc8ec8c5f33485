"""The control groups around this process, as containers and cluster jobs have them on Linux (torch-free)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def control_groups(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Version (1 or 2) and folder of each group that may have a say in ``controller``, from the innermost outwards."""
    for line in lines_of(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        inside = PurePosixPath(path.lstrip("/"))  # in a container it may be the host's, and only the mount is there
        for folder in dict.fromkeys((inside, *inside.parents, PurePosixPath())):
            yield (1 if controllers else 2), mount / folder


def lines_of(path: Path) -> list[str]:
    """[] where there is no such file, or none that may be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def number_in(path: Path) -> int | None:
    """None where there is no such file, or it says "max", which is no limit, or -1."""
    lines = lines_of(path)
    return int(lines[0]) if lines and lines[0].isdecimal() else None
