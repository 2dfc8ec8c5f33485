"""Windows of a token grid without the padding that the packages add: what is beyond the grid is never computed.

Where windows do not fit, the grid is taken apart into up to four regions: whole windows, those cut off on the right,
those cut off below, and the corner. In each of them all windows have one shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor


def regions(height: int, width: int, window: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each region; with ``window`` 0 the grid is one."""
    return itertools.product(_strips(height, window or height), _strips(width, window or width))


def _strips(side: int, window: int) -> list[slice]:
    whole = side - side % window
    return [strip for strip in (slice(0, whole), slice(whole, side)) if strip.stop > strip.start]


def partition(region: Tensor, window: int) -> Tensor:
    """Tokens of a region (B, H, W, C) -> its windows (B * windows, h, w, C), as large as ``window`` or as is left."""
    rows, columns = (min(side, window or side) for side in region.shape[1:3])
    return region.unflatten(2, (-1, columns)).unflatten(1, (-1, rows)).transpose(2, 3).flatten(0, 2)


def unpartition(windows: Tensor, region: Tensor) -> Tensor:
    """The inverse of ``partition``, for the region (B, H, W, any)."""
    rows = windows.shape[1]
    grid = windows.unflatten(0, (len(region), region.shape[1] // rows, -1))
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)
