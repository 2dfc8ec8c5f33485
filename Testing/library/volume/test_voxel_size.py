"""Voxel sizes that can be, and those that tell of another unit."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.volume.voxel_size import LARGEST_MM, SMALLEST_MM, require_voxel_size
from Testing.refusals import refusal


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 5.0), (SMALLEST_MM, 1, LARGEST_MM), (0.05, 0.05, 0.05), (1, 1, 20)])
def test_what_ct_and_mr_have_passes(spacing: tuple[float, ...]) -> None:
    require_voxel_size(spacing, "v")


@pytest.mark.parametrize("size", [0.0, -1.0, SMALLEST_MM * 0.99, LARGEST_MM * 1.01, np.nan, np.inf, 0.0007, 700.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_cannot_be_is_refused_along_every_axis(size: float, axis: int) -> None:
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = size
    message = refusal(lambda: require_voxel_size(spacing, "v"))
    assert f"{size:g}" in message and "0.02 to 50 mm" in message
