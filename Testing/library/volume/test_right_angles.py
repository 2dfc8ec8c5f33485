"""Where rounding ends and shear begins."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.volume.right_angles import are_perpendicular, require_right_angles

OBLIQUE = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, -OBLIQUE, OBLIQUE * (0.3, 2, 7), OBLIQUE.astype(np.float32),
                                  OBLIQUE[:, :2]])
def test_axes_of_any_length_and_handedness_pass(axes: np.ndarray) -> None:
    assert are_perpendicular(axes)


@pytest.mark.parametrize(("cosine", "passes"), [(5e-4, True), (2e-3, False), (-2e-3, False)])
def test_a_thousandth_is_the_limit(cosine: float, passes: bool) -> None:
    axes = np.eye(3)
    axes[0, 1] = cosine
    assert are_perpendicular(axes) is passes


@pytest.mark.parametrize("damage", [0.0, np.nan, np.inf])
def test_an_axis_without_length_is_refused(damage: float) -> None:
    axes = np.eye(3)
    axes[1, 1] = damage
    with pytest.raises(ValueError, match=r"axes of 'scan\.nii' are not at right angles"):
        require_right_angles(axes, "scan.nii")
