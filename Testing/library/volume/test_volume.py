"""The volume type against points worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.volume import Volume

# i runs posterior, j runs to the right, k runs superior.
TURNED = Volume(np.zeros((2, 3, 4), np.int16), (2.0, 3.0, 5.0), (10.0, 20.0, 30.0), (0, -1, 0, 1, 0, 0, 0, 0, 1))


def test_the_matrix_leads_from_voxel_to_patient() -> None:
    assert TURNED.ijk_to_lps @ (0, 0, 0, 1) == pytest.approx((10, 20, 30, 1))
    assert TURNED.ijk_to_lps @ (3, 1, 1, 1) == pytest.approx((10 - 3, 20 + 6, 30 + 5, 1))


def test_a_voxel_is_measured_in_ml() -> None:
    assert TURNED.voxel_volume_ml == pytest.approx(0.03)


def test_other_voxels_keep_the_grid() -> None:
    other = TURNED.with_array(np.ones((2, 3, 4), np.uint8))
    assert (other.spacing, other.origin, other.direction) == (TURNED.spacing, TURNED.origin, TURNED.direction)
    assert other.array.dtype == np.uint8


def test_voxels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 5\) do not fit a grid of shape \(2, 3, 4\)"):
        TURNED.with_array(np.ones((2, 3, 5)))


def test_a_flat_array_is_no_volume() -> None:
    with pytest.raises(ValueError, match="three axes"):
        Volume(np.zeros((3, 4)), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
