"""Whole volumes with a model that sees blocks: overlapping windows, blended by a Gaussian (TP-Mamba, section 2.3).

The paper says that windows slide and no more. Weights are MONAI's Gaussian without its floor under the corners, so that
they are products of one factor per axis, and so are their sums. Windows are gone through layer by layer, and a slice is
given away as soon as no further layer reaches it: K channels of float32 exist for one window's depth and for the slices
that are given away, never for the volume.

Legend: d x h x w grid of the volume, D slices and S side of a window, K channels of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.inference.slabs import Logits
from SAMoraLib.model import SegmentationModel
from SAMoraLib.preprocessing.grid import positions

OVERLAP = 0.5  # of two neighbouring windows: every voxel lies well inside one of them
SIGMA = 0.125  # of the Gaussian, in sides of the window
LEAST = 1e-3  # factor at a window's end, at least, relative to the middle's


@dataclass(frozen=True)
class Windows:
    """A volume on its grid, and the model.

    Attributes:
        images: first slice and the one after the last -> (n, C, h, w).
        grid: d, h, w.
        count: slices of the volume itself.
        batch_size: slices that are given away at once.
    """

    model: SegmentationModel
    images: Callable[[int, int], Tensor]
    grid: tuple[int, int, int]
    count: int
    batch_size: int

    @property
    def depth(self) -> int:
        """D, less where the volume has fewer slices."""
        return min(self.model.variant.depth, self.grid[0])


def sliding_window(windows: Windows, begin: int, end: int) -> Logits:
    """The volume's slices begin..end (exclusive), interpolated between those of the grid; logits are (n, K, h, w)."""
    places = positions(slice(begin, end), windows.count, windows.grid[0])
    first, last = int(places[0]), int(np.ceil(places[-1]))
    slices = _between(_blended(windows, first, last), first, places)
    while batch := list(islice(slices, windows.batch_size)):
        yield slice(begin, begin + len(batch)), torch.stack(batch)
        begin += len(batch)


def starts(length: int, window: int) -> list[int]:
    """Where windows begin along an axis, the last one at its end; 0 alone where one window holds it all."""
    step = max(1, round(window * (1 - OVERLAP)))
    last = max(0, length - window)
    return [*range(0, last, step), last]


def bell(window: int) -> Tensor:
    """(window,): a Gaussian about the middle, 1 there."""
    offsets = torch.arange(window) - (window - 1) / 2
    return torch.exp(-0.5 * (offsets / (SIGMA * window)) ** 2).clamp_min(LEAST)


def _between(planes: Iterator[Tensor], first: int, places: np.ndarray) -> Iterator[Tensor]:
    """Planes at ascending ``places``, from planes ``first``, ``first`` + 1, ..."""
    below = above = next(planes)
    number = first  # of ``above``
    for place in places.tolist():
        while number < place:
            below, above, number = above, next(planes), number + 1
        yield torch.lerp(below, above, place - (number - 1))


def _blended(windows: Windows, first: int, last: int) -> Iterator[Tensor]:
    """Grid slices first..last in order, (K, h, w)."""
    depth = windows.depth
    weights = bell(depth)
    layers = [start for start in starts(windows.grid[0], depth) if start <= last and first < start + depth]
    total = torch.zeros(windows.grid[0])
    for start in layers:
        total[start:start + depth] += weights
    device = _device(windows.model)
    waiting: Tensor | None = None  # what the layers so far give to slices that the next one reaches, too
    for start, following in zip(layers, [*layers[1:], windows.grid[0]], strict=True):
        layer = _layer(windows, start).mul_(weights.to(device)[:, None, None, None])
        if waiting is not None:
            layer[:len(waiting)] += waiting
        done = min(following - start, depth)
        for number in range(max(first, start), min(last + 1, start + done)):
            yield layer[number - start] / total[number]
        waiting = layer[done:].clone()
        del layer


def _layer(windows: Windows, start: int) -> Tensor:
    """The windows that begin at slice ``start``, blended in the plane: (D, K, h, w)."""
    (_, height, width), side = windows.grid, windows.model.image_size
    images = windows.images(start, start + windows.depth)
    images = F.pad(images, (0, max(0, side - width), 0, max(0, side - height))).transpose(0, 1)
    rows, columns = starts(height, side), starts(width, side)
    sums: Tensor | None = None
    for row in rows:
        for column in columns:
            window = images[None, :, :, row:row + side, column:column + side].to(_device(windows.model))
            logits = windows.model(window).logits[0].float().transpose(0, 1)
            if sums is None:
                sums = logits.new_zeros(*logits.shape[:2], *images.shape[-2:])
            sums[..., row:row + side, column:column + side].addcmul_(logits, _plane(bell(side), bell(side), logits))
    assert sums is not None
    padded_height, padded_width = images.shape[-2:]
    total = _plane(_total(rows, side, padded_height), _total(columns, side, padded_width), sums)
    return sums.div_(total)[..., :height, :width]


def _device(model: SegmentationModel) -> torch.device:
    return next(model.parameters()).device


def _plane(down: Tensor, across: Tensor, like: Tensor) -> Tensor:
    return (down[:, None] * across).to(like.device)


def _total(axis: list[int], side: int, length: int) -> Tensor:
    """The weights of all windows of an axis; as weights are products, so are their sums over windows in rows."""
    total = torch.zeros(length)
    for start in axis:
        total[start:start + side] += bell(side)
    return total
