"""Whether memory holds what a header announces, before any is taken."""

from __future__ import annotations

from SAMoraLib.system.memory import available_bytes

GIB = 1 << 30


class NoRoom(ValueError):
    """Memory does not hold a file, which may be whole."""


def require_room(name: str, size: int) -> None:
    """Refuse to read more than what is free.

    Raises:
        NoRoom: the system says how much is free, and it is less than ``size`` bytes.
    """
    free = available_bytes()
    if free is not None and size > free:
        raise NoRoom(f"To read '{name}' takes {size / GIB:.1f} GiB, and {free / GIB:.1f} GiB of memory are free; close "
                     "other programs, or crop or resample it, or, if it should be smaller, export it again.")
