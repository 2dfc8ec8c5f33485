"""Which voxel sizes can be true: a header that says otherwise is of another unit, or damaged."""

from __future__ import annotations

from collections.abc import Sequence

SMALLEST_MM, LARGEST_MM = 0.02, 50.0  # beyond what CT and MR of a body have; metres and micrometres lie outside


def require_voxel_size(spacing: Sequence[float], name: str) -> None:
    """Refuse what is no voxel size of a patient, in mm.

    Raises:
        ValueError: an edge is not finite, or not from 0.02 to 50 mm.
    """
    if not all(SMALLEST_MM <= size <= LARGEST_MM for size in spacing):
        sizes = " x ".join(f"{size:g}" for size in spacing)
        raise ValueError(f"'{name}' has voxels of {sizes} mm, which cannot be: its header is damaged or in another "
                         f"unit; give it the true voxel size, of {SMALLEST_MM:g} to {LARGEST_MM:g} mm along each edge.")
