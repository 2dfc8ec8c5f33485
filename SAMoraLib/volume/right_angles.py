"""Grids whose axes are perpendicular: the only ones that the formats and ITK agree about."""

from __future__ import annotations

import numpy as np

ORTHOGONAL = 1e-3  # largest cosine between two axes: 0.2 mm in 200; headers keep about seven digits


def are_perpendicular(axes: np.ndarray) -> bool:
    """Whether the columns of ``axes`` (3, n), of any length but 0, are at right angles."""
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and lengths.all()):
        return False
    unit = axes / lengths
    return bool(np.allclose(unit.T @ unit, np.eye(axes.shape[1]), atol=ORTHOGONAL))


def require_right_angles(axes: np.ndarray, name: str) -> None:
    """Refuse a sheared grid.

    Args:
        axes: (3, n) columns of any length.
        name: of the file, for the message.

    Raises:
        ValueError: two axes are not at right angles, or one has no length.
    """
    if not are_perpendicular(axes):
        raise ValueError(sheared(name))


def sheared(name: str) -> str:
    """The sentence with which a sheared grid is refused."""
    return (f"The axes of '{name}' are not at right angles (a sheared grid, as with gantry tilt); resample it to "
            "a straight grid first, e.g. with Slicer's 'Resample Scalar Volume'.")
