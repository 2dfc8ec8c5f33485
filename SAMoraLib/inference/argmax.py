"""Each pixel's class from logits at another resolution, without interpolating where only background can be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from SAMoraLib.preprocessing.grid import positions

Forbid = Callable[[Tensor, slice, slice], None]  # changes logits (K, rows, columns) at these pixels, never background's


def argmax_resized(logits: Tensor, shape: tuple[int, int], forbid: Forbid) -> tuple[Tensor, Tensor]:
    """Logits (K, s, t) -> class (h, w) uint8 of each pixel of ``shape`` and, but for background, its probability.

    Logits are interpolated bilinearly, as by ``interpolate(..., align_corners=False)``. Where all four neighbours of a
    pixel are highest for the background, so is every mean of them: only the rows and columns between the first and the
    last neighbour of another class are computed.
    """
    classes = torch.zeros(shape, dtype=torch.uint8, device=logits.device)
    probabilities = torch.zeros(shape, device=logits.device)
    organs = logits.max(dim=0).indices > 0
    found = [np.flatnonzero(organs.any(dim=axis).cpu().numpy()) for axis in (1, 0)]
    if len(found[0]):
        rows, columns = (_touched(hit, size, count) for hit, size, count in
                         zip(found, shape, logits.shape[1:], strict=True))
        fine = _between(logits, columns, shape[1], axis=2)
        fine = _between(fine, rows, shape[0], axis=1)
        forbid(fine, rows, columns)
        highest, best = fine.max(dim=0)
        classes[rows, columns] = best.to(torch.uint8)
        probabilities[rows, columns] = fine.sub_(highest).exp_().sum(dim=0).reciprocal_()
    return classes, probabilities


def _touched(hit: np.ndarray, size: int, count: int) -> slice:
    """Of ``size`` pixels those with a neighbour from the first to the last of ``hit``, among ``count``."""
    places = positions(slice(0, size), size, count)
    inside = np.flatnonzero((np.ceil(places) >= hit[0]) & (np.floor(places) <= hit[-1]))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _between(logits: Tensor, pixels: slice, size: int, axis: int) -> Tensor:
    """Logits at these of ``size`` pixels along an axis."""
    places = positions(pixels, size, logits.shape[axis])
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, logits.shape[axis] - 1)
    low, high = (logits.index_select(axis, torch.from_numpy(at).to(logits.device)) for at in (below, above))
    weights = torch.from_numpy((places - below).astype(np.float32)).to(logits.device)
    return low.lerp_(high, weights[:, None] if axis == 1 else weights)
