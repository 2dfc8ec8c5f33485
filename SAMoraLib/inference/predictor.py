"""Segment a whole volume with a slice model, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from torch import nn

from SAMoraLib.card import Card
from SAMoraLib.inference.preprocess import PreparedVolume, prepare_volume
from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Volume

ROUNDING_MM = 1e-4  # a voxel centre on a face of the region is inside in every orientation of the volume

Progress = Callable[[float, str], None]
Region = Sequence[tuple[float, float]]  # (min, max) of x, y, z in LPS mm


class Predictor:
    """A loaded model, ready for any number of volumes.

    Args:
        model: maps slabs (B, 1, 1, S, S) to a ``SAMoraLib.model.Prediction``.
        card: labels and preprocessing of the model.
        batch_size: slices that run at once.

    Raises:
        ValueError: the card has no labels or no preprocessing.
    """

    def __init__(self, model: nn.Module, card: Card, device: str | torch.device = "cpu", batch_size: int = 8) -> None:
        if card.labels is None or card.preprocessing is None:
            raise ValueError(f"The card of '{card.name}' has no labels or preprocessing; it is not a trained model.")
        self.model = model.to(device).eval()
        self.labels: LabelSet = card.labels
        self.preprocessing = card.preprocessing
        self.device, self.batch_size = device, batch_size

    def predict(self, volume: Volume, organs: Sequence[str] | None = None, region: Region | None = None,
                progress: Progress | None = None) -> Volume:
        """Label every voxel.

        Args:
            organs: names to keep; the others still compete for voxels, and become background. All by default.
            region: box in LPS mm; slices outside are not run and voxels outside are 0. Inside, the result is the same
                as without a region.
            progress: called with the fraction done and the stage; an exception in it cancels.

        Returns:
            uint8 label values on the grid of ``volume``.

        Raises:
            ValueError: an unknown organ, or a region that does not meet the volume.
        """
        kept = self._kept_values(organs)
        inside = region_mask(volume, region) if region is not None else None
        report = progress or (lambda fraction, stage: None)
        report(0.0, "preprocessing")
        prepared = prepare_volume(volume, self.preprocessing)
        wanted = np.arange(len(prepared.array))
        if inside is not None:
            inside = prepared.reorientation.apply(inside)
            wanted = np.flatnonzero(inside.any(axis=(1, 2)))
        labels = np.zeros(prepared.array.shape, np.uint8)
        for start in range(0, len(wanted), self.batch_size):
            report(start / len(wanted), "segmenting")
            self._segment(prepared, wanted[start:start + self.batch_size], labels)
        labels = kept[labels]
        if inside is not None:
            labels[~inside] = 0
        report(1.0, "done")
        return volume.with_array(prepared.reorientation.restore(labels))

    def _kept_values(self, organs: Sequence[str] | None) -> np.ndarray:
        """Label value -> itself, or 0 where the organ was not asked for."""
        wanted = self.labels.names if organs is None else organs
        kept = np.zeros(len(self.labels) + 1, np.uint8)
        for name in wanted:
            value = self.labels.by_name(name).value
            kept[value] = value
        return kept

    @torch.inference_mode()
    def _segment(self, prepared: PreparedVolume, numbers: np.ndarray, labels: np.ndarray) -> None:
        """Run the consecutive slices ``numbers`` and write their classes into ``labels``.

        Logits go straight to the box's own pixels and are arg-maxed there, so that K float volumes never exist.
        """
        first, last = int(numbers[0]), int(numbers[-1]) + 1
        images = torch.from_numpy(prepared.slices(first, last)).to(self.device)
        logits = self.model(images[:, :, None]).resized(prepared.box.shape)[:, :, 0]
        prepared.box.paste(logits.argmax(dim=1).to(torch.uint8).cpu().numpy(), labels[first:last])


def region_mask(volume: Volume, region: Region) -> np.ndarray:
    """Which voxel centres lie in the box or on its faces: (D, H, W) bool, in the stored order.

    Raises:
        ValueError: none does.
    """
    depth, height, width = volume.array.shape
    low, high = np.array(region, dtype=float).T
    _require_overlap(volume, low, high)
    low, high = low - ROUNDING_MM, high + ROUNDING_MM
    origin, (i, j, k) = volume.ijk_to_lps[:3, 3], volume.ijk_to_lps[:3, :3].T
    first_slice = origin + np.arange(height)[:, None, None] * j + np.arange(width)[:, None] * i  # (H, W, 3)
    inside = np.empty((depth, height, width), bool)
    for number in range(depth):  # one slice at a time: coordinates of all voxels would take gigabytes
        points = first_slice + number * k
        inside[number] = ((points >= low) & (points <= high)).all(axis=-1)
    if not inside.any():
        raise ValueError("The region holds no voxel of the volume; move or enlarge it.")
    return inside


def _require_overlap(volume: Volume, low: np.ndarray, high: np.ndarray) -> None:
    corners = np.array([(i, j, k, 1) for k, j, i in product(*((0, size - 1) for size in volume.array.shape))])
    points = (corners @ volume.ijk_to_lps.T)[:, :3]
    for axis, first, last, start, stop in zip("xyz", points.min(axis=0), points.max(axis=0), low, high, strict=True):
        if stop < first - ROUNDING_MM or start > last + ROUNDING_MM:
            raise ValueError(f"The region {axis} {start:g}..{stop:g} mm does not meet the volume, whose {axis} "
                             f"runs from {first:.1f} to {last:.1f} mm (LPS).")
