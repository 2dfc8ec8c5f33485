"""Volumes to slices in [0, 1] at the slab's size; shared by inference and training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from SAMoraLib.preprocessing.body import Body, Box, body_box, body_slices, find_body
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Reorientation, Volume, to_canonical


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A volume in canonical orientation, with what its slices need to become a model's input.

    Voxels stay as they were read: windowing and resampling happen slice by slice, so memory does not grow.

    Attributes:
        canonical: the volume with i to left, j to posterior (or where the preprocessing says), k to superior.
        reorientation: the way back to the volume's own grid.
        box: the part of every slice that fills the slab.
        window: intensities that become 0 and 1.
        image_size: side S of the slab, pixels.
        worth_a_look: (D,) bool, the slices that may show the body.
        offsets: for each channel, how many slices above the slice itself it is taken.
    """

    canonical: Volume
    reorientation: Reorientation
    box: Box
    window: tuple[float, float]
    image_size: int
    worth_a_look: np.ndarray
    offsets: tuple[int, ...] = (0,)

    @property
    def array(self) -> np.ndarray:
        """(D, H, W), canonical, as read."""
        return self.canonical.array

    def slices(self, start: int, stop: int) -> np.ndarray:
        """Slices start..stop (exclusive), see ``slices_of``."""
        return self.slices_of(np.arange(start, stop))

    def slices_of(self, numbers: np.ndarray) -> np.ndarray:
        """Slices ``numbers`` (N,) as (N, C, S, S) float32 in [0, 1]; what lies beyond the image is 0.

        Channel c shows the slice ``offsets[c]`` above, or the volume's last one in that direction.
        """
        numbers = with_neighbours(numbers, self.offsets, len(self.array))
        wanted, places = np.unique(numbers, return_inverse=True)
        images = [resample_slice(self.box.crop(normalise(self.array[number], self.window)), self.image_size)
                  for number in wanted]
        return np.stack(images)[places.reshape(numbers.shape)]


def prepare_volume(volume: Volume, preprocessing: Preprocessing) -> PreparedVolume:
    """Orient a volume, find the body and the intensity window; nothing is resampled yet."""
    canonical, reorientation = to_canonical(volume, preprocessing.rows, preprocessing.columns)
    body = find_body(canonical, preprocessing)
    return PreparedVolume(canonical, reorientation, slice_box(canonical, body, preprocessing),
                          intensity_window(canonical, body, preprocessing), preprocessing.image_size,
                          slices_worth_a_look(canonical, body, preprocessing),
                          channel_offsets(canonical.spacing[2], preprocessing.neighbours))


def slices_worth_a_look(canonical: Volume, body: Body, preprocessing: Preprocessing) -> np.ndarray:
    """(D,) bool: in CT those from the body's first to its last; in MR all, for there the last ones may be dark."""
    count = len(canonical.array)
    return body_slices(body, count) if preprocessing.modality == "CT" else np.ones(count, bool)


def channel_offsets(spacing: float, neighbours: float) -> tuple[int, ...]:
    """Slices between a slice and what its channels show: the nearest to ``neighbours`` mm, and never itself."""
    if not neighbours:
        return (0,)
    offset = max(1, round(neighbours / spacing))
    return (-offset, 0, offset)


def with_neighbours(numbers: np.ndarray, offsets: tuple[int, ...], count: int) -> np.ndarray:
    """Slice numbers (N,) -> those of their channels (N, C), kept within the ``count`` slices of the volume."""
    return np.clip(numbers[:, None] + np.array(offsets), 0, count - 1)


def slice_box(canonical: Volume, body: Body, preprocessing: Preprocessing) -> Box:
    """The part of every slice that the model sees: a square around the body, or all of it, stretched (SAMed)."""
    if preprocessing.crop == "body":
        return body_box(body, canonical)
    _, height, width = canonical.array.shape
    return Box(0, height, 0, width)


def intensity_window(canonical: Volume, body: Body, preprocessing: Preprocessing) -> tuple[float, float]:
    """Intensities that become 0 and 1: fixed HU, or percentiles of the body's voxels."""
    if preprocessing.intensity == "hu_window":
        return preprocessing.low, preprocessing.high
    low, high = np.percentile(body.voxels(canonical.array), (preprocessing.low, preprocessing.high))
    return float(low), float(high)


def normalise(array: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Clip to the window and scale to [0, 1], float32. An empty window gives 0 up to it and 1 above."""
    low, high = window
    if not low < high:
        return (array > high).astype(np.float32)
    return ((np.clip(array, low, high) - low) / (high - low)).astype(np.float32)


def resample_slice(image: np.ndarray, size: int | tuple[int, ...]) -> np.ndarray:
    """(h, w) float32 in [0, 1] -> ``size``, a number for a square: linear, averaged where it shrinks."""
    resized = F.interpolate(torch.from_numpy(image)[None, None], size, mode="bilinear", align_corners=False,
                            antialias=True)
    return resized[0, 0].clamp_(0, 1).numpy()  # the weights add up to 1 within rounding


def resample_labels(labels: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Canonical labels (D, H, W) of the box at the slab's size, nearest: (D, size, size), 0 beyond the image.

    Pixel centres lie where ``PreparedVolume.slices`` puts them.
    """
    rows, columns = (((np.arange(size) + 0.5) * length / size).astype(int) for length in box.shape)
    return box.crop(labels)[:, rows[:, None], columns]
