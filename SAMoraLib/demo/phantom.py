"""A seeded synthetic abdomen in HU with its labels, for the demo, the tests and base training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SAMoraLib.demo.organs import paint_organs
from SAMoraLib.demo.painting import paint_ct, paint_random
from SAMoraLib.demo.shapes import Canvas
from SAMoraLib.demo.tissues import LABEL_OF_STRUCTURE, STRUCTURE, STRUCTURES
from SAMoraLib.demo.torso import paint_torso
from SAMoraLib.volume import Volume

__all__ = ["STRUCTURES", "Phantom", "make_phantom", "paint_ct", "paint_random"]


@dataclass(frozen=True)
class Phantom:
    """One synthetic patient.

    Attributes:
        ct: int16 HU.
        labels: uint8 Synapse labels on the grid of ``ct``.
        structures: (D, H, W) uint8 on the same grid: every tissue, as an index into ``STRUCTURES``.
    """

    ct: Volume
    labels: Volume
    structures: np.ndarray


@dataclass(frozen=True)
class _Grid:
    """Where an array lies, as in ``Volume``, with the direction as a (3, 3) matrix of LPS columns."""

    spacing: np.ndarray
    origin: np.ndarray
    direction: np.ndarray

    def volume(self, array: np.ndarray) -> Volume:
        spacing, origin, direction = (tuple(values.ravel().tolist())
                                      for values in (self.spacing, self.origin, self.direction))
        return Volume(array, spacing, origin, direction)


def make_phantom(seed: int, spacing: tuple[float, float, float] = (2.0, 2.0, 5.0), oriented: bool = False,
                 all_organs: bool = True) -> Phantom:
    """The synthetic abdomen number ``seed``: 400 x 320 x 220 mm from the lung bases to below the kidneys.

    The anatomy depends on the seed alone: other spacings and orientations sample the same patient.

    Args:
        seed: non-negative; the same seed gives the same phantom.
        spacing: voxel size in mm along the patient's left, posterior and superior.
        oriented: store the volume along a random permutation of flipped axes, tilted by up to 10 degrees; by
            default the axes are left, posterior, superior (identity direction in LPS).
        all_organs: never leave the gallbladder out (otherwise one in 50 patients has none).

    Raises:
        ValueError: a spacing is not a positive number of mm.
    """
    if not all(np.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"A phantom cannot have spacing {spacing}; give three positive sizes in mm.")
    anatomy, appearance, pose = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    canvas = Canvas(anatomy, spacing)
    paint_organs(canvas, paint_torso(canvas), all_organs)
    _keep_largest_parts(canvas.structures)
    structures, ct = canvas.structures, paint_ct(canvas.structures, spacing, appearance)
    grid = _Grid(np.array(spacing, float), np.array([axis[0] for axis in canvas.axes]), np.eye(3))
    if oriented:
        grid, (structures, ct) = _reorient(grid, (structures, ct), pose)
    return Phantom(grid.volume(ct), grid.volume(LABEL_OF_STRUCTURE[structures]), structures)


def _keep_largest_parts(structures: np.ndarray) -> None:
    """Turn the crumbs that other organs cut off into fat, so that every organ is one piece."""
    from scipy.ndimage import find_objects, label

    labels = LABEL_OF_STRUCTURE[structures]
    for value, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        parts, _ = label(labels[box] == value)
        sizes = np.bincount(parts.ravel())[1:]
        crumbs = (parts > 0) & (parts != 1 + sizes.argmax())
        structures[box][crumbs] = STRUCTURE["visceral_fat"]


def _reorient(grid: _Grid, arrays: tuple[np.ndarray, ...],
              rng: np.random.Generator) -> tuple[_Grid, list[np.ndarray]]:
    """Store ``arrays`` along a random signed permutation of the axes of a grid tilted in the world."""
    from scipy.spatial.transform import Rotation

    order, flipped = rng.permutation(3), rng.random(3) < 0.5
    axis = rng.standard_normal(3)
    tilt = Rotation.from_rotvec(np.deg2rad(rng.uniform(2, 10)) * axis / np.linalg.norm(axis)).as_matrix()
    # Arrays are (k, j, i), geometry is (i, j, k): array axis a belongs to grid axis 2 - a.
    backwards = tuple((2 - np.flatnonzero(flipped)).tolist())
    turned = [np.flip(array.transpose(2 - order[::-1]), backwards).copy() for array in arrays]
    last = np.array(arrays[0].shape[::-1])[order] - 1
    steps = (grid.direction * grid.spacing)[:, order]
    origin = tilt @ (grid.origin + steps @ (last * flipped))
    direction = tilt @ grid.direction[:, order] * np.where(flipped, -1, 1)
    return _Grid(grid.spacing[order], origin, direction), turned
