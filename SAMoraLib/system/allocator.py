"""Memory that one step frees, kept for the next step (torch-free).

glibc maps every large array afresh and gives it back when it is freed, so that the system has to find and clear its
pages again at every layer: a sixth of an encoder's time at eight slices of 224 pixels. Programs that do nothing but
segment or train call ``keep_freed_memory``; a program that has other things to do, such as 3D Slicer, is left alone.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30  # bytes that may lie idle
LARGEST = 256 << 20  # larger arrays, which are volumes and no activations, still come and go by themselves
OLDER_LARGEST = 32 << 20  # the most that some versions of glibc take


def keep_freed_memory() -> bool:
    """Tell the allocator; False where it is not glibc's and knows no such thing."""
    mallopt = _of_libc("mallopt")
    if mallopt is None:
        return False
    taken = mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, OLDER_LARGEST)
    return bool(taken and mallopt(M_TRIM_THRESHOLD, KEPT))


def give_back_freed_memory() -> None:
    """Before what is taken is counted: what lies idle is none of it."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
