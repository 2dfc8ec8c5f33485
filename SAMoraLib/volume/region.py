"""A box in the patient, turned in any way, and the voxels in it (torch-free)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from SAMoraLib.volume.volume import Volume

ROUNDING_MM = 1e-4  # a voxel centre on a face of the region is inside in every orientation of the volume


@dataclass(frozen=True)
class Region:
    """A box, or where a transform has sheared it a parallelepiped.

    Attributes:
        centre: LPS mm.
        edges: 3 x 3, row by row; its columns are the three edges from one corner, LPS mm.

    Raises:
        ValueError: a number is missing or not finite, or the box is flat.
    """

    centre: tuple[float, float, float]
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.centre) != 3 or len(self.edges) != 9 or not np.isfinite([*self.centre, *self.edges]).all():
            raise ValueError(f"A region has a centre of 3 numbers and edges of 9, got {self.centre} and {self.edges}; "
                             "give them in LPS mm.")
        lengths = np.linalg.norm(self._edges, axis=0)
        if not lengths.all() or abs(np.linalg.det(self._edges / lengths)) < 1e-6:
            sides = " x ".join(f"{length:g}" for length in lengths)
            raise ValueError(f"The region is flat ({sides} mm); give it some extent in every direction.")

    @classmethod
    def between(cls, low: Sequence[float], high: Sequence[float]) -> Region:
        """The box from corner ``low`` to corner ``high``, its edges along x, y and z of LPS, mm."""
        centre = (np.array(low) + np.array(high)) / 2
        return cls(tuple(centre.tolist()), tuple(np.diag(np.subtract(high, low, dtype=float)).ravel().tolist()))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Region:
        """Rebuild a region.

        Raises:
            TypeError, KeyError: not a table of numbers under the names of the fields.
            ValueError: as the constructor.
        """
        return cls(tuple(map(float, data["centre"])), tuple(map(float, data["edges"])))  # type: ignore[arg-type]

    @property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest x, y, z in it, LPS mm."""
        half = np.abs(self._edges).sum(axis=1) / 2
        return np.array(self.centre) - half, np.array(self.centre) + half

    @property
    def _edges(self) -> np.ndarray:
        return np.reshape(self.edges, (3, 3))

    def mask(self, volume: Volume) -> np.ndarray:
        """Which voxel centres lie in the box or on its faces: (D, H, W) bool, in the stored order.

        Raises:
            ValueError: none does.
        """
        self._require_overlap(volume)
        to_box = np.linalg.inv(self._edges)  # the box becomes -1/2..1/2 along each edge
        rounding = ROUNDING_MM * np.linalg.norm(to_box, axis=1)
        i, j, k = (to_box @ volume.ijk_to_lps[:3, :3]).T
        depth, height, width = volume.array.shape
        first_slice = (to_box @ np.subtract(volume.origin, self.centre)
                       + np.arange(height)[:, None, None] * j + np.arange(width)[:, None] * i)  # (H, W, 3)
        inside = np.empty((depth, height, width), bool)
        for number in range(depth):  # one slice at a time: coordinates of all voxels would take gigabytes
            inside[number] = (np.abs(first_slice + number * k) <= 0.5 + rounding).all(axis=-1)
        if not inside.any():
            raise ValueError("The region holds no voxel of the volume; move or enlarge it.")
        return inside

    def _require_overlap(self, volume: Volume) -> None:
        ends = [(0, size - 1) for size in volume.array.shape]
        corners = np.array([(i, j, k, 1) for k, j, i in product(*ends)])
        points = (corners @ volume.ijk_to_lps.T)[:, :3]
        ranges = zip("xyz", points.min(axis=0), points.max(axis=0), *self.extent, strict=True)
        for axis, first, last, start, stop in ranges:
            if stop < first - ROUNDING_MM or start > last + ROUNDING_MM:
                raise ValueError(f"The region {axis} {start:g}..{stop:g} mm does not meet the volume, whose {axis} "
                                 f"runs from {first:.1f} to {last:.1f} mm (LPS); move it.")
