"""A three-dimensional image on an oriented grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they lie in the patient, in ITK's conventions.

    Attributes:
        array: (D, H, W), indexed [k, j, i] as by SimpleITK's ``GetArrayFromImage``.
        spacing: mm along i, j, k.
        origin: LPS mm of the centre of voxel (0, 0, 0).
        direction: 3 x 3, row by row; its columns are the unit vectors of i, j, k in LPS.
        modality: CT, MR, ... where the file says so, as DICOM does; else empty.

    Raises:
        ValueError: the array does not have three axes.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    modality: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"A volume has three axes, got an array of shape {self.array.shape}; "
                             "give a slice as (1, H, W).")

    def with_array(self, array: np.ndarray) -> Volume:
        """The same grid with other voxels.

        Raises:
            ValueError: the array has another shape.
        """
        if array.shape != self.array.shape:
            raise ValueError(f"Voxels of shape {array.shape} do not fit a grid of shape {self.array.shape}; "
                             "resample them to this grid first.")
        return replace(self, array=array)

    @property
    def voxel_volume_ml(self) -> float:
        return float(np.prod(self.spacing)) / 1000

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """(4, 4): homogeneous voxel index (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        matrix[:3, 3] = self.origin
        return matrix
