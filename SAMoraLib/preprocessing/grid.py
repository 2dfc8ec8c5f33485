"""A prepared volume on the grid that a 3D model sees, resampled as its slices are asked for.

Legend: D slices of the volume; d x h x w the grid; C channels.
"""

from __future__ import annotations

import numpy as np

from SAMoraLib.preprocessing.slices import PreparedVolume, normalise, resample_slice


def grid_shape(prepared: PreparedVolume, spacing: float) -> tuple[int, int, int]:
    """(d, h, w): steps of ``spacing`` mm along every axis; with 0 the volume's own slices at the slab's size."""
    if not spacing:
        return len(prepared.array), prepared.image_size, prepared.image_size
    across, down, along = prepared.canonical.spacing
    height, width = prepared.box.shape
    lengths = len(prepared.array) * along, height * down, width * across
    depth, height, width = (max(1, round(length / spacing)) for length in lengths)
    return depth, height, width


def grid_slices(prepared: PreparedVolume, spacing: float, start: int, stop: int) -> np.ndarray:
    """Slices start..stop (exclusive) of the grid, (n, C, h, w) float32 in [0, 1]; linear, averaged where it shrinks."""
    if not spacing:
        return prepared.slices(start, stop)
    depth, *size = grid_shape(prepared, spacing)
    weights = linear_weights(len(prepared.array), depth)[start:stop]
    slices = np.zeros((stop - start, 1, *size), np.float32)
    for number in np.flatnonzero(weights.any(axis=0)):
        image = resample_slice(prepared.box.crop(normalise(prepared.array[number], prepared.window)), tuple(size))
        for place in np.flatnonzero(weights[:, number]):
            slices[place] += weights[place, number] * image
    return np.clip(slices, 0, 1)  # the weights add up to 1 within rounding


def grid_labels(labels: np.ndarray, prepared: PreparedVolume, spacing: float) -> np.ndarray:
    """Canonical labels (D, H, W) on the grid, nearest: (d, h, w), 0 beyond the image."""
    depth, *size = grid_shape(prepared, spacing)
    numbers, rows, columns = (((np.arange(count) + 0.5) * length / count).astype(int)
                              for count, length in zip((depth, *size), (len(labels), *prepared.box.shape), strict=True))
    return np.stack([prepared.box.crop(labels[number])[rows[:, None], columns] for number in numbers])


def linear_weights(before: int, after: int) -> np.ndarray:
    """(after, before) float32: how much each sample of an axis counts for each of ``after`` samples of the same length.

    A triangle as wide as two steps of the coarser of the two grids, as torch's interpolation with ``antialias``.
    """
    scale = before / after
    centres = (np.arange(after)[:, None] + 0.5) * scale - 0.5
    weights = np.clip(1 - np.abs(np.arange(before) - centres) / max(scale, 1), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def positions(of: slice, before: int, after: int) -> np.ndarray:
    """Where samples ``of`` of an axis of ``before`` lie among ``after`` samples of the same length."""
    centres = (np.arange(of.start, of.stop) + 0.5) * after / before - 0.5
    return np.clip(centres, 0, after - 1)
